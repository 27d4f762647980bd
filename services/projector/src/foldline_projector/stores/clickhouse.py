"""ClickHouse store: one row a document, and versions where other stores compare.

Order: documents, then parked and released records, then positions, each in one insert that is on
disk and visible to every reader when it is acknowledged. A crash in between leaves documents ahead of
positions, where applying the events again changes nothing.

Concurrency: ClickHouse has no compare-and-set. A batch's positions are read and compared before
anything is written, which fences a zombie that wakes up; one that is past the comparison already
writes rows whose versions are too low to count (see `clickhouse_tables`). A zombie that is ahead of the
owner may move the position forward, together with documents that are there; the owner is then fenced.

Failure: a server that is away or overloaded is `RetryLater`; every insert may be repeated.
A read model with a reference section is refused: two sections with a version each do not fit one
ReplacingMergeTree row.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_projector.projection import Projection
from foldline_projector.stores import records
from foldline_projector.stores.clickhouse_tables import (
    GENERATION_COLUMNS,
    KINDS,
    PARKED_COLUMNS,
    POSITION_COLUMNS,
    PROJECTION_COLUMNS,
    RELEASED_COLUMNS,
    document_columns,
    document_table,
    in_utc,
    state_tables,
)
from foldline_projector.stores.port import (
    Batch,
    Body,
    Document,
    Fenced,
    Move,
    ParkedRecord,
    Position,
    Reference,
    RetryLater,
    Section,
    TopicPartition,
)

AWAY_SECONDS = 1.0
CONNECT_SECONDS = 5
TIMEOUT_SECONDS = 30
#: Keys in one statement: a statement must stay under the server's 256 KiB.
KEYS_AT_ONCE = 2_000
#: Server errors that pass with time: timeouts, too many queries or parts, memory, network, read-only.
PATIENCE = frozenset({159, 164, 202, 203, 209, 210, 241, 242, 252, 279, 319, 999})
Row = Sequence[Any]


class ClickHouseStore:
    """One projection generation in one ClickHouse database."""

    def __init__(self, url: str, projection: Projection, generation: int) -> None:
        self._projection = projection
        self._model = projection.read_model
        if self._model.reference is not None:
            raise ValueError(f"{self._model.name}: ClickHouse holds no reference sections")
        self._generation = generation
        self._url = url
        self._database = unquote(urlsplit(url).path).strip("/").replace("`", "")
        if not self._database:
            raise ValueError("the ClickHouse URL must name a database in its path")
        self._columns = document_columns(self._model)
        self._connected: Any = None

    def prepare(self, partitions: Mapping[str, int], fold_version: int) -> None:
        """See the port."""
        documents = self._table(self._model.documents(self._generation))
        with _verdicts():
            for statement in state_tables(self._database):
                self._client.command(statement)
            self._client.command(document_table(documents, self._model))
            self._settle_generation(partitions, fold_version)
            name = self._model.name
            if not self._select(PROJECTIONS, PROJECTION_COLUMNS, {"projection": name}):
                self._insert(PROJECTIONS, PROJECTION_COLUMNS, [(name, self._generation)])

    def _settle_generation(self, partitions: Mapping[str, int], fold_version: int) -> None:
        """The first row stands against a rival's, so it is read back after writing."""
        columns = {"fold_version": GENERATION_COLUMNS["fold_version"]}
        if not self._select(GENERATIONS, columns, self._owner()):
            row = records.generation_fields(
                self._projection, self._generation, partitions, fold_version
            )
            row["partitions"] = json.dumps(row["partitions"])
            values = [row[name] for name in GENERATION_COLUMNS]
            self._insert(GENERATIONS, GENERATION_COLUMNS, [values])
        stored = self._select(GENERATIONS, columns, self._owner())[0][0]
        documents = self._model.documents(self._generation)
        records.require_fold_version(documents, stored, fold_version)

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """See the port."""
        table = self._model.documents(self._generation)
        wanted = list(keys)
        with _verdicts():
            rows = [
                row
                for start in range(0, len(wanted), KEYS_AT_ONCE)
                for row in self._select(
                    table, self._columns, {"key": wanted[start : start + KEYS_AT_ONCE]}
                )
            ]
        return {row[0]: self._document(row) for row in rows}

    def load_references(self, keys: Collection[str]) -> dict[str, Reference]:  # noqa: ARG002
        """See the port. There are none."""
        return {}

    def save(self, batch: Batch) -> None:
        """See the port."""
        if batch.references:
            raise ValueError(f"{self._model.name}: ClickHouse holds no reference sections")
        documents = self._model.documents(self._generation)
        with _verdicts():
            self._check(batch.moves)
            self._insert(documents, self._columns, [self._row(each) for each in batch.documents])
            self._insert(PARKED, PARKED_COLUMNS, [self._parking(each) for each in batch.parked])
            released = [(*self._key(at), offset, 1, 1) for at, offset in batch.released]
            self._insert(PARKED, RELEASED_COLUMNS, released)
            positions = [self._position(at, move) for at, move in batch.moves.items()]
            self._insert(POSITIONS, POSITION_COLUMNS, positions)

    def _check(self, moves: Mapping[TopicPartition, Move]) -> None:
        stored = self._positions() if moves else {}
        for at, move in moves.items():
            offset = stored[at].offset if at in stored else None
            if offset != move.expected:
                raise Fenced(f"{self._model.name}: {at} is at {offset}, expected {move.expected}")

    def patch_references(self, reference: Reference, limit: int) -> int:  # noqa: ARG002
        """See the port. No document names a reference."""
        return 0

    def positions(self) -> dict[TopicPartition, Position]:
        """See the port."""
        with _verdicts():
            return self._positions()

    def _positions(self) -> dict[TopicPartition, Position]:
        rows = self._select(POSITIONS, POSITION_COLUMNS, self._owner())
        return {TopicPartition(*row[2:4]): _position_of(row[4:]) for row in rows}

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """See the port."""
        wanted = set(partitions)
        if not wanted:
            return []
        with _verdicts():
            rows = self._select(PARKED, PARKED_COLUMNS, self._owner(), {"value": "bytes"})
        found = [_parked_of(row[2:]) for row in rows]
        found.sort(key=lambda record: (record.at, record.offset))
        return [record for record in found if record.at in wanted]

    def close(self) -> None:
        """See the port."""
        if self._connected is not None:
            self._connected.close()

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

    def _table(self, name: str) -> str:
        return f"`{self._database}`.{name}"

    def _owner(self) -> dict[str, object]:
        return {"projection": self._model.name, "generation": self._generation}

    def _key(self, at: TopicPartition) -> tuple[str, int, str, int]:
        return (self._model.name, self._generation, *at)

    def _select(
        self,
        table: str,
        columns: Mapping[str, str],
        where: Mapping[str, object],
        formats: Mapping[str, str] | None = None,
    ) -> list[Row]:
        """The newest row of each key that matches; a list means any of its values."""
        names = ", ".join(f"`{name}`" for name in columns)
        conditions = " AND ".join(
            f"`{name}` {'IN' if isinstance(value, list) else '='} %({name})s"
            for name, value in where.items()
        )
        statement = f"SELECT {names} FROM {self._table(table)} FINAL WHERE {conditions}"
        answer = self._client.query(statement, dict(where), column_formats=formats)
        return list(answer.result_rows)

    def _insert(self, table: str, columns: Mapping[str, str], rows: Sequence[Row]) -> None:
        """One insert, by columns. The types are given, which saves asking the server for them."""
        if not rows:
            return
        self._client.insert(
            table,
            [list(values) for values in zip(*rows, strict=True)],
            column_names=list(columns),
            database=self._database,
            column_type_names=list(columns.values()),
            column_oriented=True,
        )

    def _row(self, document: Document) -> Row:
        section = document.primary
        if section is None or document.reference is not None:
            raise ValueError(f"{document.key}: ClickHouse holds primary sections only")
        values = [
            None if value is None else KINDS[column.type].to_store(value)
            for column in self._model.primary_columns
            for value in [section.body[column.field]]
        ]
        return [document.key, document.partition, section.version, section.event_id, *values]

    def _document(self, row: Row) -> Document:
        key, partition, version, event_id, *values = row
        body: Body = {
            column.field: None if value is None else KINDS[column.type].to_body(value)
            for column, value in zip(self._model.primary_columns, values, strict=True)
        }
        return Document(key, partition, Section(version, event_id, body))

    def _position(self, at: TopicPartition, move: Move) -> Row:
        position = move.position
        return (
            *self._key(at),
            position.offset,
            position.end,
            position.recorded_at,
            position.oldest_recorded_at,
            position.as_of,
            position.incarnation,
        )

    def _parking(self, record: ParkedRecord) -> Row:
        return (
            *self._key(record.at),
            record.offset,
            record.kind,
            record.aggregate_id,
            record.version,
            record.event_id,
            record.reason,
            record.detail,
            record.value,
            record.recorded_at,
        )


def _position_of(row: Row) -> Position:
    offset, end, recorded_at, oldest_recorded_at, as_of, incarnation = row
    return Position(
        offset=offset,
        end=end,
        recorded_at=_moment(recorded_at),
        oldest_recorded_at=_moment(oldest_recorded_at),
        as_of=_moment(as_of),
        incarnation=incarnation,
    )


def _parked_of(row: Row) -> ParkedRecord:
    topic, partition, offset, *values, recorded_at = row
    kind, aggregate_id, version, event_id, reason, detail, value = values
    return ParkedRecord(
        at=TopicPartition(topic, partition),
        offset=offset,
        kind=kind,
        aggregate_id=aggregate_id,
        version=version,
        event_id=event_id,
        reason=reason,
        detail=detail,
        value=value,
        recorded_at=in_utc(recorded_at),
    )


def _moment(value: datetime | None) -> datetime | None:
    return None if value is None else in_utc(value)


@contextmanager
def _verdicts() -> Iterator[None]:
    """Client errors stop here: what can pass with time is RetryLater, the rest crashes."""
    try:
        yield
    except OperationalError as error:
        raise RetryLater(AWAY_SECONDS, f"ClickHouse: {error}") from error
    except DatabaseError as error:
        if error.code in PATIENCE:
            raise RetryLater(AWAY_SECONDS, f"ClickHouse: {error}") from error
        raise
