"""One command's transaction: aggregates, their events in the outbox, and nothing outside it.

Ordering: an aggregate's row is updated under its version, so the second of two writers waits for the
first, finds the version gone and is run again (`Concurrent`); events of an aggregate therefore commit in
version order, and Debezium reads commits in order. Concurrency: no lock is held while a command
thinks. Failure: leaving the block without `commit` rolls everything back; a connection that is lost during
`commit` leaves the outcome unknown, and the command's idempotency key is what tells it later.

A key's partition is looked up under the shared form of the slice map's lock: while a map
changes (the lock taken alone) no command is between reading the old map and committing by it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, Engine, Table, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from foldline_command import database
from foldline_command.aggregate import Aggregate
from foldline_command.rules import OutcomeUnknown, VersionMismatch
from foldline_contracts import codec
from foldline_contracts.aggregates import AggregateKind
from foldline_contracts.codec import Event
from foldline_contracts.slices import slice_of

A = TypeVar("A", bound=Aggregate)


class Concurrent(Exception):
    """Another writer changed the aggregate after it was loaded: run the command again."""


class NotReady(Exception):
    """The topic of an event has no slice map yet: `foldline topics apply` has not run."""


@dataclass(frozen=True, slots=True)
class Repository(Generic[A]):
    """Where one kind of aggregate is stored."""

    aggregate: type[A]
    table: Table


@dataclass(slots=True)
class UnitOfWork:
    """The transaction of one command."""

    connection: Connection
    #: The database's clock at the beginning; events without a time of their own happen then.
    now: datetime
    #: The version that `If-Match` states for the aggregate loaded first.
    expected_version: int | None = None
    _written: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    @contextmanager
    def begin(cls, engine: Engine, expected_version: int | None = None) -> Iterator[Self]:
        """A transaction that is rolled back unless `commit` is called."""
        with engine.connect() as connection:
            lock = func.pg_advisory_xact_lock_shared(database.SLICE_MAP_LOCK)
            now = connection.execute(select(func.clock_timestamp(), lock)).scalar_one()
            yield cls(connection, now, expected_version)

    def find(self, repository: Repository[A], id: str) -> A | None:  # noqa: A002
        """The aggregate, or None. Raises VersionMismatch, which is judged before any rule."""
        found = self.find_many(repository, [id]).get(id)
        if found is not None:
            self._judge(found.version)
        return found

    def find_many(self, repository: Repository[A], ids: list[str]) -> dict[str, A]:
        """The aggregates among `ids` that exist."""
        table = repository.table
        rows = self.connection.execute(select(table).where(table.c.id.in_(ids)))
        load = repository.aggregate.from_state
        return {row.id: load(row.id, row.version, row.state) for row in rows}  # type: ignore[misc]

    def absent(self) -> None:
        """What `If-Match` means for an aggregate that does not exist yet: no version is its own."""
        self._judge(0)

    def _judge(self, version: int) -> None:
        if self.expected_version is not None and self.expected_version != version:
            raise VersionMismatch(
                f"the aggregate is at version {version}, not {self.expected_version}",
                currentVersion=version,
            )

    def save(self, repository: Repository[A], aggregates: list[A]) -> None:
        """Writes what the aggregates recorded; those that recorded nothing are left alone.

        Raises Concurrent when another writer was faster.
        """
        changed = [aggregate for aggregate in aggregates if aggregate.recorder.facts]
        new = [aggregate for aggregate in changed if aggregate.version == 0]
        self._insert(repository.table, new)
        for aggregate in changed:
            if aggregate.version > 0:
                self._update(repository.table, aggregate)
        self._record(changed)

    def _insert(self, table: Table, aggregates: list[A]) -> None:
        if not aggregates:
            return
        rows = [
            {"id": each.id, "version": len(each.recorder.facts), "state": each.to_state()}
            for each in aggregates
        ]
        statement = postgresql.insert(table).on_conflict_do_nothing().returning(table.c.id)
        if len(self.connection.execute(statement, rows).all()) < len(rows):
            raise Concurrent

    def _update(self, table: Table, aggregate: A) -> None:
        version = aggregate.version + len(aggregate.recorder.facts)
        statement = (
            update(table)
            .where(table.c.id == aggregate.id, table.c.version == aggregate.version)
            .values(version=version, state=aggregate.to_state())
        )
        if self.connection.execute(statement).rowcount != 1:
            raise Concurrent

    def _record(self, aggregates: list[A]) -> None:
        """Puts the facts into the outbox and moves the aggregates to their new versions."""
        if not aggregates:
            return
        partitions = self._partitions(aggregates[0].kind, {each.id for each in aggregates})
        rows = []
        for aggregate in aggregates:
            for data, at in aggregate.recorder.facts:
                aggregate.version += 1
                kind = aggregate.kind
                event = Event(str(uuid4()), kind.name, aggregate.id, aggregate.version, at, data)
                rows.append(_outbox_row(kind, event, partitions[aggregate.id]))
            aggregate.recorder.facts.clear()
        self.connection.execute(insert(database.outbox), rows)

    def _partitions(self, kind: AggregateKind, keys: set[str]) -> dict[str, int]:
        slices = {key: slice_of(key) for key in keys}
        table = database.slice_map
        found = self.connection.execute(
            select(table.c.slice, table.c.partition).where(
                table.c.topic == kind.topic, table.c.slice.in_(set(slices.values()))
            )
        )
        partitions = {row.slice: row.partition for row in found}
        if missing := set(slices.values()) - set(partitions):
            raise NotReady(f"topic {kind.topic} has no partition for slice {min(missing)}")
        return {key: partitions[number] for key, number in slices.items()}

    def commit(self) -> None:
        """Makes everything durable at once. Raises OutcomeUnknown when the answer did not come."""
        try:
            self.connection.commit()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise OutcomeUnknown(
                "The database did not say whether the command was carried out."
            ) from error


def _outbox_row(kind: AggregateKind, event: Event, partition: int) -> dict[str, Any]:
    return {
        "id": event.id,
        "aggregatetype": kind.topic,
        "aggregateid": event.subject,
        "type": kind.type_of(event.data),
        "version": event.version,
        "partition": partition,
        "contenttype": codec.CONTENT_TYPE,
        "payload": codec.encode(kind, event).decode(),
    }
