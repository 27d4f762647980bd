"""Tables of the ClickHouse store: DDL, column types and the values in them.

Every table is a ReplacingMergeTree whose version decides, without any compare-and-set, which of
two rows of one key stays, whatever the order in which they arrive; readers use FINAL. The versions
are computed by the table itself, so no writer can disagree on them:

- documents: the greater `primary_version`; among equals the row that was written first.
- positions: the greater offset, then the later watermark; so a zombie never takes one back.
- parked records: a released one beats a parked one for good.
- generations and projections: the greater `revision`; among equals the row that was written first
  (which `clickhouse_state` seldom needs: of equal revisions these tables keep one insert).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from foldline_contracts import money, times
from foldline_contracts.readmodels import ColumnType, ReadModel
from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_projector.stores.port import StateTable

MOMENT = "DateTime64(6, 'UTC')"
NULLABLE_MOMENT = f"Nullable({MOMENT})"
#: An acknowledged insert is on disk, not in the page cache.
_DURABLE = "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
_CLOCK = f"{MOMENT} DEFAULT now64(6, 'UTC')"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a column type is declared, and how its values go in and come back."""

    type: str
    to_store: Callable[[Any], Any]
    to_body: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


KINDS: Mapping[ColumnType, Kind] = {
    "text": Kind("Nullable(String)", _same, _same),
    "money": Kind("Nullable(Decimal(38, 4))", money.parse, money.to_text),
    "time": Kind(NULLABLE_MOMENT, times.from_text, lambda moment: times.to_text(in_utc(moment))),
    "date": Kind("Nullable(Date32)", date.fromisoformat, date.isoformat),
    "integer": Kind("Nullable(Int64)", _same, _same),
    "json": Kind("Nullable(String)", _json, json.loads),
}

#: Columns that are written and read, in order. Those that the table fills itself are in the DDL.
DOCUMENT_COLUMNS: Mapping[str, str] = {
    "key": "String",
    "partition": "UInt32",
    "primary_version": "UInt64",
    "primary_event_id": "String",
}
_PLACE = {"projection": "String", "generation": "UInt32", "topic": "String", "partition": "UInt32"}
POSITION_COLUMNS: Mapping[str, str] = {
    **_PLACE,
    "position": "UInt64",
    "end_offset": "UInt64",
    "recorded_at": NULLABLE_MOMENT,
    "oldest_recorded_at": NULLABLE_MOMENT,
    "as_of": NULLABLE_MOMENT,
    "incarnation": "Nullable(UInt64)",
}
PARKED_COLUMNS: Mapping[str, str] = {
    **_PLACE,
    "record_offset": "UInt64",
    "kind": "String",
    "aggregate_id": "String",
    "version": "Nullable(UInt64)",
    "event_id": "Nullable(String)",
    "reason": "String",
    "detail": "String",
    "value": "String",
    "recorded_at": MOMENT,
}
RELEASED_COLUMNS: Mapping[str, str] = {
    **_PLACE,
    "record_offset": "UInt64",
    "revision": "UInt8",
    "released": "UInt8",
}
RECORD_COLUMNS: Mapping[StateTable, Mapping[str, str]] = {
    PROJECTIONS: {
        "projection": "String",
        "active_generation": "UInt32",
        "previous_generation": "Nullable(UInt32)",
        "flipped_at": "Nullable(String)",
        "hold": "Nullable(String)",
        "revision": "UInt64",
    },
    GENERATIONS: {
        "projection": "String",
        "generation": "UInt32",
        "fold_version": "UInt32",
        "consumer_group": "String",
        "state": "String",
        "partitions": "String",
        "layout": "Nullable(String)",
        "rebuild": "Nullable(String)",
        "created_at": "String",
        "revision": "UInt64",
    },
}
RECORD_KEYS: Mapping[StateTable, tuple[str, ...]] = {
    PROJECTIONS: ("projection",),
    GENERATIONS: ("projection", "generation"),
}
#: Fields of state records that are JSON text here.
JSON_FIELDS = frozenset({"hold", "partitions", "layout", "rebuild"})
#: Deduplication tokens that a table of state records remembers.
TOKENS = 10_000


def document_columns(model: ReadModel) -> dict[str, str]:
    """Columns of a read model's documents and their types."""
    own = {column.name: KINDS[column.type].type for column in model.primary_columns}
    return {**DOCUMENT_COLUMNS, **own}


def document_table(table: str, model: ReadModel) -> str:
    """The statement that creates a generation's documents. They have no partition key, since a
    row's replacement is found within its own partition only.
    """
    own = {"written_at": _CLOCK, "row_version": _first_of("primary_version")}
    columns = {**document_columns(model), **own}
    return _create(table, columns, "row_version", "key")


def state_tables(database: str) -> list[str]:
    """The statements that create the tables that all projections share."""
    place = "projection, generation, topic, partition"
    position = {
        **POSITION_COLUMNS,
        "updated_at": _CLOCK,
        "row_version": "UInt128 MATERIALIZED bitShiftLeft(toUInt128(position), 64)"
        " + toUInt64(ifNull(toUnixTimestamp64Micro(as_of), 0))",
    }
    parked = {**PARKED_COLUMNS, "parked_at": _CLOCK, "revision": "UInt8", "released": "UInt8"}
    name = f"`{database}`.{{}}".format
    return [
        *(_record_table(name(table), table) for table in RECORD_COLUMNS),
        _create(name(POSITIONS), position, "row_version", place),
        _create(name(PARKED), parked, "revision, released", f"{place}, record_offset"),
    ]


def _record_table(name: str, table: StateTable) -> str:
    own = {
        "writers": "Array(String)",
        "written_at": _CLOCK,
        "row_version": _first_of("revision"),
    }
    columns = {**RECORD_COLUMNS[table], **own}
    window = "non_replicated_deduplication_window", "replicated_deduplication_window"
    tokens = "".join(f", {each} = {TOKENS}" for each in window)
    return _create(name, columns, "row_version", ", ".join(RECORD_KEYS[table])) + tokens


def _first_of(version: str) -> str:
    """A row version that grows with `version`; among equals the row that was written first has it."""
    return (
        f"UInt128 MATERIALIZED bitShiftLeft(toUInt128({version}), 64)"
        " + bitNot(toUInt64(toUnixTimestamp64Micro(written_at)))"
    )


def _create(table: str, columns: Mapping[str, str], version: str, key: str) -> str:
    declared = ", ".join(f"`{name}` {type_}" for name, type_ in columns.items())
    engine = f"ENGINE = ReplacingMergeTree({version}) ORDER BY ({key}) {_DURABLE}"
    return f"CREATE TABLE IF NOT EXISTS {table} ({declared}) {engine}"


def in_utc(moment: datetime) -> datetime:
    """A moment as the client gives it, which leaves UTC out, with its zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
