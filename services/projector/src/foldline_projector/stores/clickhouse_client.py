"""A ClickHouse database as its store talks to it: newest rows out, rows in, and what errors mean.

A read says FINAL, so it sees each key once, at its newest version. An insert is one block, on disk
and visible to every reader when it is acknowledged; it may be repeated, since every table decides by
versions which row stays. Nothing is tried again here: what can pass with time is RetryLater.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from foldline_projector.stores.port import RetryLater

AWAY_SECONDS = 1.0
CONNECT_SECONDS = 5
TIMEOUT_SECONDS = 30
#: Server errors that pass with time: timeouts, too many queries or parts, memory, network, read-only.
PATIENCE = frozenset({159, 164, 202, 203, 209, 210, 241, 242, 252, 279, 319, 999})
Row = Sequence[Any]


class Database:
    """One database, by one client that several threads may share."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = unquote(urlsplit(url).path).strip("/").replace("`", "")
        if not self.name:
            raise ValueError("the ClickHouse URL must name a database in its path")
        self._connected: Any = None

    @property
    def _client(self) -> Any:
        """Connected at first use, so that a server that is away is a verdict and not a crash.

        Without a session the client may be used by several threads, and nothing ties it to a node.
        """
        if self._connected is None:
            self._connected = clickhouse_connect.get_client(
                dsn=self._url,
                secure=self._url.startswith("https:"),
                autogenerate_session_id=False,
                connect_timeout=CONNECT_SECONDS,
                send_receive_timeout=TIMEOUT_SECONDS,
                query_retries=0,
            )
        return self._connected

    def table(self, name: str) -> str:
        """The table's name within a statement."""
        return f"`{self.name}`.{name}"

    def command(self, statement: str, values: Mapping[str, object] | None = None) -> None:
        """A statement that answers nothing."""
        self._client.command(statement, dict(values or {}))

    def query(
        self,
        statement: str,
        values: Mapping[str, object],
        formats: Mapping[str, str] | None = None,
    ) -> list[Row]:
        """The rows of a statement with its values."""
        answer = self._client.query(statement, dict(values), column_formats=formats)
        return list(answer.result_rows)

    def select(
        self,
        table: str,
        columns: Mapping[str, str],
        where: Mapping[str, object],
        formats: Mapping[str, str] | None = None,
    ) -> list[Row]:
        """The newest row of each key that matches; a list means any of its values."""
        conditions = " AND ".join(
            f"`{name}` {'IN' if isinstance(value, list) else '='} %({name})s"
            for name, value in where.items()
        )
        statement = (
            f"SELECT {listed(columns)} FROM {self.table(table)} FINAL WHERE {conditions}"
        )
        return self.query(statement, where, formats)

    def insert(
        self,
        table: str,
        columns: Mapping[str, str],
        rows: Sequence[Row],
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """One insert, by columns. The types are given, which saves asking the server for them."""
        if not rows:
            return
        self._client.insert(
            table,
            [list(values) for values in zip(*rows, strict=True)],
            column_names=list(columns),
            database=self.name,
            column_type_names=list(columns.values()),
            column_oriented=True,
            settings=dict(settings or {}),
        )

    def close(self) -> None:
        """Releases the connections."""
        if self._connected is not None:
            self._connected.close()


def listed(columns: Mapping[str, str]) -> str:
    """The columns as a statement lists them."""
    return ", ".join(f"`{name}`" for name in columns)


@contextmanager
def verdicts() -> Iterator[None]:
    """Client errors stop here: what can pass with time is RetryLater, the rest crashes."""
    try:
        yield
    except OperationalError as error:
        raise RetryLater(AWAY_SECONDS, f"ClickHouse: {error}") from error
    except DatabaseError as error:
        if error.code in PATIENCE:
            raise RetryLater(AWAY_SECONDS, f"ClickHouse: {error}") from error
        raise
