"""Read models in ClickHouse.

Rows are versions until they are merged, so every read says FINAL: it sees each key once, at its
newest version, the moment the insert was acknowledged. Several threads share one client, which
keeps no session; it is made when first needed, so the service starts without the store.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

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

_OWN = "projection = {projection:String} AND generation = {generation:Int64}"
_POINTER = f"SELECT * FROM {PROJECTIONS} FINAL WHERE projection = {{projection:String}}"
_GENERATIONS = f"""
    SELECT * FROM {GENERATIONS} FINAL WHERE projection = {{projection:String}}
    ORDER BY generation"""
_GENERATION = f"SELECT * FROM {GENERATIONS} FINAL WHERE {_OWN}"
_POSITIONS = f"SELECT * FROM {POSITIONS} FINAL WHERE {_OWN}"
_PARKED_COUNT = f"""
    SELECT uniqExact(kind, aggregate_id) AS parked, toString(now64(6, 'UTC')) AS now
    FROM {PARKED} FINAL WHERE {_OWN}"""
_PARKED_AMONG = f"""
    SELECT DISTINCT kind, aggregate_id FROM {PARKED} FINAL
    WHERE {_OWN} AND aggregate_id IN {{keys:Array(String)}}"""
#: Unknown table, column or database.
_MISSING = ("Code: 60", "Code: 81", "Code: 47", "UNKNOWN_TABLE", "UNKNOWN_DATABASE")

Row = dict[str, Any]


class ClickHouseStore:
    """A client of one database."""

    def __init__(self, url: str, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the ClickHouse URL must look like http://host:8123/database")
        self._settings: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port or (8443 if parts.scheme == "https" else 8123),
            "secure": parts.scheme == "https",
            "username": unquote(parts.username or "default"),
            "password": unquote(parts.password or ""),
            "database": parts.path.strip("/") or "default",
            "connect_timeout": min(2.0, timeout),
            "send_receive_timeout": timeout,
            "query_retries": 0,
            "autogenerate_session_id": False,
        }
        self._lock = Lock()
        self._made: Any = None

    @contextmanager
    def guard(self) -> Iterator[None]:
        """See the port."""
        try:
            yield
        except DatabaseError as error:
            if any(sign in str(error) for sign in _MISSING):
                raise NotPrepared("a table of the projection is missing in ClickHouse") from error
            raise StoreUnavailable("ClickHouse", error) from error
        except (ClickHouseError, OSError) as error:
            raise StoreUnavailable("ClickHouse", error) from error

    def fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """The rows of one statement."""
        with self.guard():
            return list(self._client().query(sql, parameters=dict(parameters)).named_results())

    def ping(self) -> None:
        """See the port."""
        self.fetch("SELECT 1 AS one", {})

    def close(self) -> None:
        """See the port."""
        with self._lock:
            if self._made is not None:
                self._made.close()
            self._made = None

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = clickhouse_connect.get_client(**self._settings)
            return self._made


class ClickHouseReader:
    """One read model in ClickHouse."""

    def __init__(self, store: ClickHouseStore, model: ReadModel) -> None:
        self.store = store
        self.model = model

    def ping(self) -> None:
        """See the port."""
        self.store.ping()

    def generation(self, number: int | None = None) -> Generation:
        """See the port."""
        named: Row = {"projection": self.model.name}
        pointer = next(iter(self.store.fetch(_POINTER, named)), None)
        wanted = number or (pointer and pointer["active_generation"])
        rows = self.store.fetch(_GENERATION, {**named, "generation": wanted}) if wanted else []
        return chosen(self.model.name, number, next(iter(rows), None), pointer)

    def generations(self) -> list[Generation]:
        """See the port."""
        found = self.store.fetch(_GENERATIONS, {"projection": self.model.name})
        return [generation_from(row) for row in found]

    def observe(self, generation: Generation) -> Observation:
        """See the port."""
        of = self._of(generation)
        positions = self.store.fetch(_POSITIONS, of)
        state = self.store.fetch(_PARKED_COUNT, of)[0]
        return observation_from(generation, positions, state["parked"], state["now"] + "Z")

    def seen(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """See the port."""
        return self._versions(self.model.documents(generation.number), "primary_version", keys)

    def seen_references(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """See the port."""
        return self._versions(self.model.references(generation.number), "fanned_out_version", keys)

    def parked_among(
        self, generation: Generation, aggregates: Collection[Aggregate]
    ) -> set[Aggregate]:
        """See the port."""
        keys = [aggregate.key for aggregate in aggregates]
        found = self.store.fetch(_PARKED_AMONG, {**self._of(generation), "keys": keys})
        return {Aggregate(row["kind"], row["aggregate_id"]) for row in found} & set(aggregates)

    def parked(
        self, generation: Generation, aggregate_id: str | None, limit: int
    ) -> list[ParkedEvent]:
        """See the port. Bytes come as base64, because a String column is read as text."""
        one = "" if aggregate_id is None else "AND aggregate_id = {id:String}"
        found = self.store.fetch(
            f"SELECT * REPLACE (base64Encode(value) AS value) FROM {PARKED} FINAL WHERE {_OWN} "
            f"{one} ORDER BY topic, partition, record_offset LIMIT {{limit:Int64}}",
            {**self._of(generation), "id": aggregate_id or "", "limit": limit},
        )
        return [parked_from(row) for row in found]

    def _of(self, generation: Generation) -> Row:
        return {"projection": self.model.name, "generation": generation.number}

    def _versions(self, table: str, column: str, keys: Collection[str]) -> dict[str, int]:
        found = self.store.fetch(
            f"SELECT key, max({column}) AS version FROM {table} "
            "WHERE key IN {keys:Array(String)} GROUP BY key",
            {"keys": list(keys)},
        )
        return {row["key"]: int(row["version"] or 0) for row in found}
