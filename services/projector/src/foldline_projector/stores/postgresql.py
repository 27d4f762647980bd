"""PostgreSQL store: typed rows, one transaction a batch.

Order: a batch's positions, documents, reference sources and parked records commit in one
transaction. Positions come first, so a zombie is turned away before it writes anything.

Concurrency: documents are copied into a table of the session and merged by one statement, each
section guarded by its own version, in the order of keys, so that two writers take locks in the same
order. A position is updated only where it holds the expected offset; no such row is `Fenced`. A bulk
load goes the same guarded way. Indexes are built while writers of the generation wait, so a generation
is completed before a projector follows it.

Failure: a server that is away, fails over, or picks this transaction as a deadlock's victim is
`RetryLater`; a commit whose outcome is unknown is too, since positions are read again before
anything is retried. Any other error of the database crashes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg_pool import ConnectionPool

from foldline_contracts.readmodels import Column
from foldline_projector.projection import Projection
from foldline_projector.stores import postgresql_state as state
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
    Size,
    StateRecord,
    StateTable,
    TopicPartition,
)
from foldline_projector.stores.postgresql_state import Row
from foldline_projector.stores.postgresql_tables import KINDS, Layout, jsonb

Connection = psycopg.Connection[Row]

AWAY_SECONDS = 1.0
CONFLICT_SECONDS = 0.05
POOL_SECONDS = 5.0
CONNECT_SECONDS = 5
#: Lock for DDL that two owners would otherwise run at once and collide in the catalogue: alone for the
#: shared tables, and with the name of its documents for a generation's.
PREPARE_LOCK = 0x466F6C64
#: UTC, so that times come back as they went in; no write waits for ever on another's lock.
OPTIONS = "-c timezone=UTC -c lock_timeout=30s -c idle_in_transaction_session_timeout=60s"


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
            kwargs={"options": OPTIONS, "connect_timeout": CONNECT_SECONDS},
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

    def prepare(self) -> None:
        """See the port."""
        with self._transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (PREPARE_LOCK,))
            connection.execute(state.CREATE)

    def create(self, *, indexed: bool = True) -> None:
        """See the port."""
        with self._alone() as connection:
            connection.execute(self._layout.create())
            for index in self._layout.create_indexes() if indexed else ():
                connection.execute(index)

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """A transaction that no other change of this generation's objects runs beside."""
        name = self._model.documents(self._owner[1])
        with self._transaction() as connection:
            connection.execute(
                "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (PREPARE_LOCK, name)
            )
            yield connection

    def records(self, table: StateTable) -> list[StateRecord]:
        """See the port."""
        rows = self._select(state.select_records(table), (self._model.name,))
        return [state.record_of(table, row) for row in rows]

    def replace(self, table: StateTable, record: StateRecord, expected: int) -> bool:
        """See the port."""
        statement, parameters = state.replace_record(table, record, expected)
        with self._transaction() as connection:
            return connection.execute(statement, parameters).rowcount == 1

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
                self._merge_sources(cursor, batch.references)
            if batch.parked:
                rows = [(*self._owner, *state.parked_row(record)) for record in batch.parked]
                cursor.executemany(state.INSERT_PARKED, rows)
            if batch.released:
                rows = [(*self._owner, *at, offset) for at, offset in batch.released]
                cursor.executemany(state.DELETE_PARKED, rows)

    def _move(self, cursor: psycopg.Cursor[Row], moves: Mapping[TopicPartition, Move]) -> None:
        inserts: list[Row] = []
        updates: list[Row] = []
        for at, move in sorted(moves.items()):
            row = (*state.position_row(move.position), *self._owner, *at)
            if move.expected is None:
                inserts.append(row)
            else:
                updates.append((*row, move.expected))
        for statement, rows in ((state.INSERT_POSITION, inserts), (state.UPDATE_POSITION, updates)):
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

    def _merge_sources(self, cursor: psycopg.Cursor[Row], references: Sequence[Reference]) -> None:
        columns = [list(column) for column in zip(*map(_reference_row, references), strict=True)]
        cursor.execute(self._layout.upsert_references(), columns)

    def _row(self, document: Document) -> list[Any]:
        model = self._model
        row = [document.key, document.partition]
        row += _section_row(document.primary, model.primary_columns)
        if self._layout.reference:
            row += _section_row(document.reference, model.reference_columns)
        return row

    def fill(self, documents: Sequence[Document], references: Sequence[Reference]) -> None:
        """See the port. One transaction all the same: the merge is fastest as one statement."""
        with self._transaction() as connection, connection.cursor() as cursor:
            if documents:
                self._merge(cursor, documents)
            if references:
                self._merge_sources(cursor, references)

    def complete(self) -> None:
        """See the port. Indexes and statistics appear together."""
        with self._alone() as connection:
            for index in self._layout.create_indexes():
                connection.execute(index)
            connection.execute(self._layout.analyze())

    def scan(self, after: str | None, until: str | None, limit: int) -> list[Document]:
        """See the port. The order is the database's collation, as the primary key has it."""
        statement = self._layout.scan(after=after is not None, until=until is not None)
        bounds = [bound for bound in (after, until) if bound is not None]
        return [self._document(row) for row in self._select(statement, (*bounds, limit))]

    def size(self) -> Size:
        """See the port."""
        try:
            return Size(*self._select(self._layout.size(), ())[0])
        except errors.UndefinedTable:
            return Size(0, 0)

    def drop(self) -> None:
        """See the port. Positions go first, so that a late writer is fenced."""
        with self._alone() as connection:
            for delete in state.DELETE_OWN:
                connection.execute(delete, self._owner)
            connection.execute(self._layout.drop())

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
        return dict(map(state.position_of, self._select(state.SELECT_POSITIONS, self._owner)))

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """See the port."""
        wanted = list(partitions)
        topics, numbers = [at.topic for at in wanted], [at.partition for at in wanted]
        return [
            state.parked_of(row)
            for row in self._select(state.SELECT_PARKED, (*self._owner, topics, numbers))
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
