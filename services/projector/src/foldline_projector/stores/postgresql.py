"""PostgreSQL store: typed rows, one transaction a batch.

Order: a batch's positions, documents, reference sources and parked records commit in one
transaction. Positions come first, so a zombie is turned away before it writes anything.

Concurrency: documents are copied into a table of the session and merged by one statement, each
section guarded by its own version, in the order of keys, so that two writers of documents take locks in
the same order; patches of references take them in any order and may deadlock. A position is updated
only where it holds the expected offset; no such row is `Fenced`.

Failure: a server that is away, fails over, or picks this transaction as a deadlock's victim is
`RetryLater`; a commit whose outcome is unknown is too, since positions are read again before
anything is retried. Any other error of the database crashes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg_pool import ConnectionPool

from foldline_contracts.readmodels import Column
from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_projector.projection import Projection
from foldline_projector.stores.port import (
    Batch,
    Body,
    Document,
    Fenced,
    FoldVersionMismatch,
    Move,
    ParkedRecord,
    Position,
    Reference,
    RetryLater,
    Section,
    TopicPartition,
)
from foldline_projector.stores.postgresql_tables import KINDS, STATE, Layout, jsonb

Row = tuple[Any, ...]
Connection = psycopg.Connection[Row]

AWAY_SECONDS = 1.0
CONFLICT_SECONDS = 0.05
POOL_SECONDS = 5.0
CONNECT_SECONDS = 5
#: One lock for all projections: DDL that two of them run at once would collide in the catalogue.
PREPARE_LOCK = 0x466F6C64
#: UTC, so that times come back as they went in; nothing waits for ever on a lock or a slow server.
OPTIONS = (
    "-c timezone=UTC -c lock_timeout=30s -c statement_timeout=30s"
    " -c idle_in_transaction_session_timeout=60s"
)
#: How long a server that is gone may leave what was sent unacknowledged.
TCP_TIMEOUT_MS = 30_000

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


class PostgresStore:
    """One projection generation in one PostgreSQL database."""

    def __init__(self, url: str, projection: Projection, generation: int) -> None:
        self._model = projection.read_model
        self._owner = (self._model.name, generation)
        self._layout = Layout(self._model, generation)
        try:
            psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise ValueError(f"not a PostgreSQL URL: {error}") from error
        self._pool = ConnectionPool(
            url,
            kwargs={
                "options": OPTIONS,
                "connect_timeout": CONNECT_SECONDS,
                "tcp_user_timeout": TCP_TIMEOUT_MS,
            },
            min_size=1,
            max_size=2,
            timeout=POOL_SECONDS,
            configure=self._configure,
            check=ConnectionPool.check_connection,
            open=False,
        )

    def _configure(self, connection: Connection) -> None:
        connection.execute(self._layout.create_incoming())
        connection.commit()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """One transaction on a live connection; foreign errors become verdicts."""
        self._pool.open()
        with _verdicts(), self._pool.connection() as connection:
            yield connection

    def prepare(self, partitions: Mapping[str, int], fold_version: int) -> None:
        """See the port."""
        name, generation = self._owner
        group = self._model.consumer_group(generation)
        with self._transaction() as connection:
            connection.execute("SET LOCAL statement_timeout = 0")  # an index takes what it takes
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (PREPARE_LOCK,))
            connection.execute(STATE)
            connection.execute(self._layout.create())
            connection.execute(
                f"INSERT INTO {GENERATIONS} (projection, generation, fold_version, consumer_group,"
                " state, partitions) VALUES (%s, %s, %s, %s, 'live', %s) ON CONFLICT DO NOTHING",
                (name, generation, fold_version, group, jsonb(dict(partitions))),
            )
            connection.execute(
                f"INSERT INTO {PROJECTIONS} VALUES (%s, %s) ON CONFLICT DO NOTHING", self._owner
            )
            stored = connection.execute(
                f"SELECT fold_version FROM {GENERATIONS} WHERE projection = %s AND generation = %s",
                self._owner,
            ).fetchone()
        if stored is None or stored[0] != fold_version:
            found = None if stored is None else stored[0]
            raise FoldVersionMismatch(
                f"{name} generation {generation} has fold version {found}, this code {fold_version}"
            )

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """See the port."""
        if not keys:
            return {}
        rows = self._select(self._layout.select(), (list(keys),))
        return {row[0]: self._document(row) for row in rows}

    def load_references(self, keys: Collection[str]) -> dict[str, Reference]:
        """See the port."""
        if not keys:
            return {}
        rows = self._select(self._layout.select_references(), (list(keys),))
        return {
            key: Reference(key, partition, Section(version, event_id, body), fanned_out)
            for key, partition, version, event_id, fanned_out, body in rows
        }

    def _select(self, query: str | sql.Composed, parameters: Sequence[Any]) -> list[Row]:
        with self._transaction() as connection, connection.cursor(binary=True) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def _document(self, row: Row) -> Document:
        split = 2 + len(self._layout.primary)
        primary = _section_of(row[2:split], self._model.primary_columns)
        reference = _section_of(row[split:], self._model.reference_columns)
        return Document(row[0], row[1], primary, reference)

    def save(self, batch: Batch) -> None:
        """See the port."""
        with self._transaction() as connection, connection.cursor() as cursor:
            self._move(cursor, batch.moves)
            if batch.documents:
                self._merge(cursor, batch.documents)
            if batch.references:
                references = sorted(batch.references, key=attrgetter("key"))
                rows = [_reference_row(reference) for reference in references]
                cursor.executemany(self._layout.upsert_reference(), rows)
            if batch.parked:
                rows = [(*self._owner, *_parked_row(record)) for record in batch.parked]
                cursor.executemany(INSERT_PARKED, rows)
            if batch.released:
                rows = [(*self._owner, *at, offset) for at, offset in batch.released]
                cursor.executemany(DELETE_PARKED, rows)

    def _move(self, cursor: psycopg.Cursor[Row], moves: Mapping[TopicPartition, Move]) -> None:
        inserts: list[Row] = []
        updates: list[Row] = []
        for at, move in sorted(moves.items()):
            row = (*_position_row(move.position), *self._owner, *at)
            if move.expected is None:
                inserts.append(row)
            else:
                updates.append((*row, move.expected))
        for statement, rows in ((INSERT_POSITION, inserts), (UPDATE_POSITION, updates)):
            if not rows:
                continue
            cursor.executemany(statement, rows)
            if cursor.rowcount != len(rows):
                raise Fenced(f"{len(rows) - cursor.rowcount} positions were moved by another owner")

    def _merge(self, cursor: psycopg.Cursor[Row], documents: Sequence[Document]) -> None:
        with cursor.copy(self._layout.copy()) as copy:
            copy.set_types([type_ for _, type_ in self._layout.columns])
            for document in documents:
                copy.write_row(self._row(document))
        if any(document.primary is not None for document in documents):
            cursor.execute(self._layout.merge())
        if any(document.primary is None for document in documents):
            cursor.execute(self._layout.merge_references())

    def _row(self, document: Document) -> list[Any]:
        model = self._model
        row = [document.key, document.partition]
        row += _section_row(document.primary, model.primary_columns)
        if self._layout.reference:
            row += _section_row(document.reference, model.reference_columns)
        return row

    def patch_references(self, reference: Reference, limit: int) -> int:
        """See the port."""
        section = reference.section
        values = _section_row(section, self._model.reference_columns)
        version = section.version
        parameters = [reference.key, version, limit, *values, version]
        with self._transaction() as connection:
            return connection.execute(self._layout.patch(), parameters).rowcount

    def positions(self) -> dict[TopicPartition, Position]:
        """See the port."""
        return {
            TopicPartition(topic, partition): Position(
                offset=offset,
                end=end,
                recorded_at=recorded_at,
                oldest_recorded_at=oldest,
                as_of=as_of,
                incarnation=incarnation,
            )
            for topic, partition, offset, end, recorded_at, oldest, as_of, incarnation in (
                self._select(SELECT_POSITIONS, self._owner)
            )
        }

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """See the port."""
        wanted = list(partitions)
        topics, numbers = [at.topic for at in wanted], [at.partition for at in wanted]
        return [
            _parked_of(row) for row in self._select(SELECT_PARKED, (*self._owner, topics, numbers))
        ]

    def close(self) -> None:
        """See the port."""
        self._pool.close()


@contextmanager
def _verdicts() -> Iterator[None]:
    """Errors of psycopg as the port's verdicts; what is unknown passes and crashes."""
    try:
        yield
    except (errors.DeadlockDetected, errors.SerializationFailure) as error:
        raise RetryLater(CONFLICT_SECONDS, str(error)) from error
    except (psycopg.OperationalError, errors.ReadOnlySqlTransaction) as error:
        raise RetryLater(AWAY_SECONDS, str(error)) from error


def _section_row(section: Section | None, columns: Sequence[Column]) -> list[Any]:
    if section is None:
        return [None] * (2 + len(columns))
    body = section.body
    values = [
        None if body[column.field] is None else KINDS[column.type].to_store(body[column.field])
        for column in columns
    ]
    return [section.version, section.event_id, *values]


def _section_of(values: Sequence[Any], columns: Sequence[Column]) -> Section | None:
    if not values or values[0] is None:
        return None
    body: Body = {
        column.field: None if value is None else KINDS[column.type].to_body(value)
        for column, value in zip(columns, values[2:], strict=True)
    }
    return Section(values[0], values[1], body)


def _reference_row(reference: Reference) -> Row:
    section = reference.section
    marks = (section.version, section.event_id, reference.fanned_out_version)
    return (reference.key, reference.partition, *marks, jsonb(section.body))


def _position_row(position: Position) -> Row:
    moments = (position.recorded_at, position.oldest_recorded_at, position.as_of)
    return (position.offset, position.end, *moments, position.incarnation)


def _parked_row(record: ParkedRecord) -> Row:
    event = (record.kind, record.aggregate_id, record.version, record.event_id)
    verdict = (record.reason, record.detail, record.value, record.recorded_at)
    return (*record.at, record.offset, *event, *verdict)


def _parked_of(row: Row) -> ParkedRecord:
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
