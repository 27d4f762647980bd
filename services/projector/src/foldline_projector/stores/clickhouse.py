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

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from clickhouse_connect.driver.exceptions import DatabaseError

from foldline_contracts.state import PARKED, POSITIONS
from foldline_projector.projection import Projection
from foldline_projector.stores import clickhouse_state
from foldline_projector.stores.clickhouse_client import Database, Row, listed, verdicts
from foldline_projector.stores.clickhouse_tables import (
    KINDS,
    PARKED_COLUMNS,
    POSITION_COLUMNS,
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
    Section,
    Size,
    StateRecord,
    StateTable,
    TopicPartition,
)

#: Keys in one statement: a statement must stay under the server's 256 KiB.
KEYS_AT_ONCE = 2_000
UNKNOWN_TABLE = 60


class ClickHouseStore:
    """One projection generation in one ClickHouse database."""

    def __init__(self, url: str, projection: Projection, generation: int) -> None:
        self._model = projection.read_model
        if self._model.reference is not None:
            raise ValueError(f"{self._model.name}: ClickHouse holds no reference sections")
        self._generation = generation
        self._database = Database(url)
        self._documents = self._model.documents(generation)
        self._columns = document_columns(self._model)

    def prepare(self) -> None:
        """See the port."""
        with verdicts():
            for statement in state_tables(self._database.name):
                self._database.command(statement)

    def create(self, *, indexed: bool = True) -> None:  # noqa: ARG002
        """See the port. A table's order is its only index, and costs a load nothing."""
        with verdicts():
            table = self._database.table(self._documents)
            self._database.command(document_table(table, self._model))

    def records(self, table: StateTable) -> list[StateRecord]:
        """See the port."""
        with verdicts():
            return clickhouse_state.records(self._database, table, self._model.name)

    def replace(self, table: StateTable, record: StateRecord, expected: int) -> bool:
        """See the port."""
        with verdicts():
            return clickhouse_state.replace(self._database, table, record, expected)

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """See the port."""
        wanted = list(keys)
        with verdicts():
            rows = [
                row
                for start in range(0, len(wanted), KEYS_AT_ONCE)
                for row in self._database.select(
                    self._documents, self._columns, {"key": wanted[start : start + KEYS_AT_ONCE]}
                )
            ]
        return {row[0]: self._document(row) for row in rows}

    def load_references(self, keys: Collection[str]) -> dict[str, Reference]:  # noqa: ARG002
        """See the port. There are none."""
        return {}

    def save(self, batch: Batch) -> None:
        """See the port."""
        with verdicts():
            self._check(batch.moves)
            self._write(batch.documents, batch.references)
            self._database.insert(
                PARKED, PARKED_COLUMNS, [self._parking(each) for each in batch.parked]
            )
            released = [(*self._key(at), offset, 1, 1) for at, offset in batch.released]
            self._database.insert(PARKED, RELEASED_COLUMNS, released)
            positions = [self._position(at, move) for at, move in batch.moves.items()]
            self._database.insert(POSITIONS, POSITION_COLUMNS, positions)

    def _check(self, moves: Mapping[TopicPartition, Move]) -> None:
        stored = self._positions() if moves else {}
        for at, move in moves.items():
            offset = stored[at].offset if at in stored else None
            if offset != move.expected:
                raise Fenced(f"{self._model.name}: {at} is at {offset}, expected {move.expected}")

    def fill(self, documents: Sequence[Document], references: Sequence[Reference]) -> None:
        """See the port. One insert, for which the row versions are the guard, as in `save`."""
        with verdicts():
            self._write(documents, references)

    def _write(self, documents: Sequence[Document], references: Sequence[Reference]) -> None:
        if references:
            raise ValueError(f"{self._model.name}: ClickHouse holds no reference sections")
        rows = [self._row(each) for each in documents]
        self._database.insert(self._documents, self._columns, rows)

    def complete(self) -> None:
        """See the port. Everything is visible at once, and parts are merged by the server."""

    def scan(self, after: str | None, until: str | None, limit: int) -> list[Document]:
        """See the port. Keys are ordered by their bytes, as the table is."""
        bounds = {"`key` > %(after)s": after, "`key` <= %(until)s": until}
        where = " AND ".join(text for text, key in bounds.items() if key is not None) or "1"
        statement = (
            f"SELECT {listed(self._columns)} FROM {self._database.table(self._documents)} FINAL "
            f"WHERE {where} ORDER BY `key` LIMIT %(limit)s"
        )
        values = {"after": after, "until": until, "limit": limit}
        with verdicts():
            return [self._document(row) for row in self._database.query(statement, values)]

    def size(self) -> Size:
        """See the port. The bytes are those of the table's active parts."""
        count = f"SELECT count() FROM {self._database.table(self._documents)} FINAL"
        parts = (
            "SELECT sum(bytes_on_disk) FROM system.parts"
            " WHERE active AND database = %(database)s AND table = %(table)s"
        )
        of = {"database": self._database.name, "table": self._documents}
        with verdicts():
            try:
                ((documents,),) = self._database.query(count, {})
            except DatabaseError as error:
                if error.code == UNKNOWN_TABLE:
                    return Size(0, 0)
                raise
            ((size,),) = self._database.query(parts, of)
        return Size(documents, size)

    def drop(self) -> None:
        """See the port. Positions go first, so that none is ahead of the documents."""
        owned = "WHERE projection = %(projection)s AND generation = %(generation)s"
        with verdicts():
            for table in (POSITIONS, PARKED):
                statement = f"DELETE FROM {self._database.table(table)} {owned}"
                self._database.command(statement, self._owner())
            documents = self._database.table(self._documents)
            self._database.command(f"DROP TABLE IF EXISTS {documents} SYNC")

    def patch_references(self, reference: Reference, limit: int) -> int:  # noqa: ARG002
        """See the port. No document names a reference."""
        return 0

    def positions(self) -> dict[TopicPartition, Position]:
        """See the port."""
        with verdicts():
            return self._positions()

    def _positions(self) -> dict[TopicPartition, Position]:
        rows = self._database.select(POSITIONS, POSITION_COLUMNS, self._owner())
        return {TopicPartition(*row[2:4]): _position_of(row[4:]) for row in rows}

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """See the port."""
        wanted = set(partitions)
        if not wanted:
            return []
        with verdicts():
            rows = self._database.select(PARKED, PARKED_COLUMNS, self._owner(), {"value": "bytes"})
        found = [_parked_of(row[2:]) for row in rows]
        found.sort(key=lambda record: (record.at, record.offset))
        return [record for record in found if record.at in wanted]

    def close(self) -> None:
        """See the port."""
        self._database.close()

    def _owner(self) -> dict[str, object]:
        return {"projection": self._model.name, "generation": self._generation}

    def _key(self, at: TopicPartition) -> tuple[str, int, str, int]:
        return (self._model.name, self._generation, *at)

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
