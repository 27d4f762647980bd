"""Read models in PostgreSQL.

Every statement runs in a read-only transaction of its own; `snapshot` gives several statements
one view of the data. Time-outs are short, because a request that cannot be served should say so
while its client still listens.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from foldline_contracts.readmodels import ReadModel
from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_query.freshness import Observation
from foldline_query.readers.port import (
    Aggregate,
    Generation,
    NotPrepared,
    ParkedEvent,
    StoreUnavailable,
)
from foldline_query.readers.rows import chosen, generation_from, observation_from, parked_from

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

_GENERATION = f"""
    SELECT g.*, p.active_generation, p.previous_generation, p.flipped_at FROM {PROJECTIONS} p
    JOIN {GENERATIONS} g ON g.projection = p.projection
    AND g.generation = coalesce(%s::bigint, p.active_generation)
    WHERE p.projection = %s"""
_GENERATIONS = f"SELECT * FROM {GENERATIONS} WHERE projection = %s ORDER BY generation"
_POSITIONS = f"SELECT * FROM {POSITIONS} WHERE projection = %s AND generation = %s"
_PARKED_COUNT = f"""
    SELECT count(DISTINCT (kind, aggregate_id)) AS parked, clock_timestamp() AS now
    FROM {PARKED} WHERE projection = %s AND generation = %s"""
_PARKED_AMONG = f"""
    SELECT DISTINCT kind, aggregate_id FROM {PARKED}
    WHERE projection = %s AND generation = %s AND aggregate_id = ANY(%s)"""
_PARKED = f"""
    SELECT * FROM {PARKED} WHERE projection = %s AND generation = %s
    AND (%s::text IS NULL OR aggregate_id = %s)
    ORDER BY topic, partition, record_offset LIMIT %s"""


class PostgresStore:
    """A pool of read-only connections."""

    def __init__(self, url: str, timeout: float, size: int = 16) -> None:
        options = f"-c statement_timeout={int(timeout * 1000)} -c TimeZone=UTC"
        self._timeout = timeout
        self._pool = ConnectionPool(
            url,
            connection_class=psycopg.Connection[Row],
            kwargs={
                "row_factory": dict_row,
                "connect_timeout": max(2, int(timeout)),
                "options": options,
                "tcp_user_timeout": int(timeout * 1000),
            },
            min_size=0,
            max_size=size,
            timeout=min(2.0, timeout),
            check=ConnectionPool.check_connection,
            configure=_read_only,
            open=True,
            reconnect_timeout=2.0,  # a store that comes back is used at once
            name="query",
        )

    @contextmanager
    def guard(self) -> Iterator[None]:
        """See the port."""
        try:
            yield
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise NotPrepared(str(error).splitlines()[0]) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise StoreUnavailable("PostgreSQL", error) from error

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection on which all statements see one state of the data."""
        with self.guard(), self._pool.connection() as connection:
            yield connection

    def fetch(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        """The rows of one statement."""
        with self.snapshot() as connection:
            return rows(connection, sql, parameters)

    def ping(self) -> None:
        """See the port."""
        self.fetch("SELECT 1", ())

    def close(self) -> None:
        """See the port."""
        self._pool.close()


def rows(connection: Connection, sql: str, parameters: Collection[Any]) -> list[Row]:
    """The rows of one statement on this connection; `sql` is made of constants and table names."""
    statement: LiteralString = sql
    return connection.execute(statement, tuple(parameters)).fetchall()


def _read_only(connection: psycopg.Connection[Any]) -> None:
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ


class PostgresReader:
    """One read model in PostgreSQL."""

    def __init__(self, store: PostgresStore, model: ReadModel) -> None:
        self.store = store
        self.model = model

    def ping(self) -> None:
        """See the port."""
        self.store.ping()

    def generation(self, number: int | None = None) -> Generation:
        """See the port."""
        found = self.store.fetch(_GENERATION, (number, self.model.name))
        row = found[0] if found else None
        return chosen(self.model.name, number, row, row)

    def generations(self) -> list[Generation]:
        """See the port."""
        return [generation_from(row) for row in self.store.fetch(_GENERATIONS, (self.model.name,))]

    def observe(self, generation: Generation) -> Observation:
        """See the port."""
        of = (self.model.name, generation.number)
        with self.store.snapshot() as connection:
            positions = rows(connection, _POSITIONS, of)
            state: Mapping[str, Any] = rows(connection, _PARKED_COUNT, of)[0]
        return observation_from(generation, positions, state["parked"], state["now"])

    def seen(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """See the port."""
        table = self.model.documents(generation.number)
        sql = f"SELECT key, primary_version FROM {table} WHERE key = ANY(%s)"
        found = self.store.fetch(sql, (list(keys),))
        return {row["key"]: row["primary_version"] or 0 for row in found}

    def seen_references(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """See the port."""
        table = self.model.references(generation.number)
        sql = f"SELECT key, fanned_out_version FROM {table} WHERE key = ANY(%s)"
        found = self.store.fetch(sql, (list(keys),))
        return {row["key"]: row["fanned_out_version"] or 0 for row in found}

    def parked_among(
        self, generation: Generation, aggregates: Collection[Aggregate]
    ) -> set[Aggregate]:
        """See the port."""
        keys = [aggregate.key for aggregate in aggregates]
        found = self.store.fetch(_PARKED_AMONG, (self.model.name, generation.number, keys))
        return {Aggregate(row["kind"], row["aggregate_id"]) for row in found} & set(aggregates)

    def parked(
        self, generation: Generation, aggregate_id: str | None, limit: int
    ) -> list[ParkedEvent]:
        """See the port."""
        given = (self.model.name, generation.number, aggregate_id, aggregate_id, limit)
        return [parked_from(row) for row in self.store.fetch(_PARKED, given)]
