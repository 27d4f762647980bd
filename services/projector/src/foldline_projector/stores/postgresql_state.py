"""A projection's state in PostgreSQL: tables, statements, and rows to the port's values and back.

A state record is replaced by one conditional statement: an insert that yields to an existing row, or an
update of the row with the expected revision. Of two writers at once the second waits for the first one's
commit and then finds no such row. No I/O here, and no promise of its own: the store's transactions decide.
"""

from collections.abc import Mapping
from typing import Any

from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_projector.stores.port import (
    ParkedRecord,
    Position,
    StateRecord,
    StateTable,
    TopicPartition,
)
from foldline_projector.stores.postgresql_tables import jsonb

Row = tuple[Any, ...]

CREATE = f"""
CREATE TABLE IF NOT EXISTS {PROJECTIONS} (
    projection text PRIMARY KEY,
    active_generation integer NOT NULL,
    previous_generation integer,
    flipped_at text,
    hold jsonb,
    revision bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS {GENERATIONS} (
    projection text NOT NULL,
    generation integer NOT NULL,
    fold_version integer NOT NULL,
    consumer_group text NOT NULL,
    state text NOT NULL,
    partitions jsonb NOT NULL,
    layout jsonb NOT NULL,
    rebuild jsonb,
    created_at text NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (projection, generation)
);
CREATE TABLE IF NOT EXISTS {POSITIONS} (
    projection text NOT NULL,
    generation integer NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    end_offset bigint NOT NULL,
    recorded_at timestamptz,
    oldest_recorded_at timestamptz,
    as_of timestamptz,
    incarnation bigint,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, generation, topic, partition)
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS {PARKED} (
    projection text NOT NULL,
    generation integer NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    kind text NOT NULL,
    aggregate_id text NOT NULL,
    version bigint,
    event_id text,
    reason text NOT NULL,
    detail text NOT NULL,
    value bytea NOT NULL,
    recorded_at timestamptz NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, generation, topic, partition, record_offset)
);
CREATE INDEX IF NOT EXISTS {PARKED}_aggregate
    ON {PARKED} (projection, generation, kind, aggregate_id);
"""

SELECT_POSITIONS = (
    "SELECT topic, partition, position, end_offset, recorded_at, oldest_recorded_at, as_of,"
    f" incarnation FROM {POSITIONS} WHERE projection = %s AND generation = %s"
)
INSERT_POSITION = (
    f"INSERT INTO {POSITIONS} (position, end_offset, recorded_at, oldest_recorded_at, as_of,"
    " incarnation, projection, generation, topic, partition)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
UPDATE_POSITION = (
    f"UPDATE {POSITIONS} SET position = %s, end_offset = %s, recorded_at = %s,"
    " oldest_recorded_at = %s, as_of = %s, incarnation = %s, updated_at = clock_timestamp()"
    " WHERE projection = %s AND generation = %s AND topic = %s AND partition = %s"
    " AND position = %s"
)
_PARKED_FIELDS = (
    "topic, partition, record_offset, kind, aggregate_id, version, event_id, reason, detail,"
    " value, recorded_at"
)
SELECT_PARKED = (
    f"SELECT {_PARKED_FIELDS} FROM {PARKED} WHERE projection = %s AND generation = %s"
    " AND (topic, partition) IN (SELECT * FROM unnest(%s::text[], %s::int4[]))"
    " ORDER BY topic, partition, record_offset"
)
INSERT_PARKED = (
    f"INSERT INTO {PARKED} (projection, generation, {_PARKED_FIELDS})"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (projection, generation, topic, partition, record_offset)"
    " DO UPDATE SET reason = excluded.reason, detail = excluded.detail"
)
DELETE_PARKED = (
    f"DELETE FROM {PARKED} WHERE projection = %s AND generation = %s"
    " AND topic = %s AND partition = %s AND record_offset = %s"
)
DELETE_OWN = tuple(
    f"DELETE FROM {table} WHERE projection = %s AND generation = %s"
    for table in (POSITIONS, PARKED)
)

KEYS: Mapping[StateTable, tuple[str, ...]] = {
    PROJECTIONS: ("projection",),
    GENERATIONS: ("projection", "generation"),
}
VALUES: Mapping[StateTable, tuple[str, ...]] = {
    PROJECTIONS: ("active_generation", "previous_generation", "flipped_at", "hold"),
    GENERATIONS: (
        "fold_version",
        "consumer_group",
        "state",
        "partitions",
        "layout",
        "rebuild",
        "created_at",
    ),
}
JSON_FIELDS = frozenset({"hold", "partitions", "layout", "rebuild"})


def select_records(table: StateTable) -> str:
    """The records of a projection; see `record_of`."""
    names = ", ".join((*KEYS[table], *VALUES[table], "revision"))
    return f"SELECT {names} FROM {table} WHERE projection = %s"


def record_of(table: StateTable, row: Row) -> StateRecord:
    """The record in a row of `select_records`."""
    return dict(zip((*KEYS[table], *VALUES[table], "revision"), row, strict=True))


def replace_record(table: StateTable, record: StateRecord, expected: int) -> tuple[str, Row]:
    """A statement and its parameters that write one row, or none when another writer was first."""
    key = [record[name] for name in KEYS[table]]
    values = [_column(name, record[name]) for name in VALUES[table]]
    if expected == 0:
        names = ", ".join((*VALUES[table], "revision", *KEYS[table]))
        marks = ", ".join(["%s"] * (len(values) + 1 + len(key)))
        insert = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        return insert, (*values, 1, *key)
    changes = ", ".join(f"{name} = %s" for name in (*VALUES[table], "revision"))
    found = " AND ".join(f"{name} = %s" for name in (*KEYS[table], "revision"))
    update = f"UPDATE {table} SET {changes} WHERE {found}"
    return update, (*values, expected + 1, *key, expected)


def _column(name: str, value: Any) -> Any:
    return jsonb(value) if name in JSON_FIELDS and value is not None else value


def position_row(position: Position) -> Row:
    """The values of a position, as its statements take them."""
    moments = (position.recorded_at, position.oldest_recorded_at, position.as_of)
    return (position.offset, position.end, *moments, position.incarnation)


def position_of(row: Row) -> tuple[TopicPartition, Position]:
    """Partition and position in a row of SELECT_POSITIONS."""
    topic, partition, offset, end, recorded_at, oldest, as_of, incarnation = row
    position = Position(
        offset=offset,
        end=end,
        recorded_at=recorded_at,
        oldest_recorded_at=oldest,
        as_of=as_of,
        incarnation=incarnation,
    )
    return TopicPartition(topic, partition), position


def parked_row(record: ParkedRecord) -> Row:
    """A parked record with its key, as INSERT_PARKED takes it after the owner."""
    event = (record.kind, record.aggregate_id, record.version, record.event_id)
    verdict = (record.reason, record.detail, record.value, record.recorded_at)
    return (*record.at, record.offset, *event, *verdict)


def parked_of(row: Row) -> ParkedRecord:
    """The parked record in a row of SELECT_PARKED."""
    topic, partition, offset, kind, aggregate_id, version, event_id, *rest = row
    reason, detail, value, recorded_at = rest
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
        recorded_at=recorded_at,
    )
