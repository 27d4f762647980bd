"""The engine of one projection: records of a poll in, committed documents out.

It owns what a process may remember between polls (positions, parked records, cache), all of it
derived from the store and thrown away as a whole by `forget`. It runs in one thread and does no
Kafka; the order within one batch is decode, load, fold, save. `Fenced` and `RetryLater` leave it
with nothing of the batch remembered; the caller forgets, loads again and continues from the
store's positions.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from foldline_contracts.aggregates import aggregate_kinds, kind_of_topic
from foldline_projector.engine.batch import Known, Outcome, fold
from foldline_projector.engine.cache import Cache
from foldline_projector.engine.checkpoint import commit
from foldline_projector.engine.positions import advanced
from foldline_projector.engine.records import AggregateKey, Record, Waiting, decoded, waiting
from foldline_projector.engine.watermarks import Passed
from foldline_projector.projection import Projection
from foldline_projector.stores.port import (
    Batch,
    Document,
    DocumentStore,
    Move,
    Position,
    Reference,
    TopicPartition,
)


class Observer(Protocol):
    """What the engine reports while it works; the metrics, or nothing in a test."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """Times one step of a batch."""

    def count(self, outcome: Mapping[Any, int]) -> None:
        """Counts the events of a committed batch by outcome."""


class Engine:
    """One projection generation on one store."""

    def __init__(
        self, projection: Projection, store: DocumentStore, observer: Observer, cache_limit: int
    ) -> None:
        self.projection = projection
        self.store = store
        self._observer = observer
        self._documents: Cache[Document] = Cache(cache_limit)
        self._references: Cache[Reference] = Cache(cache_limit)
        self._waiting: dict[AggregateKey, list[Waiting]] = {}
        #: Positions of the partitions that were loaded; None where the store has no row yet.
        self.positions: dict[TopicPartition, Position | None] = {}

    @property
    def parked_aggregates(self) -> int:
        """How many aggregates of the loaded partitions are parked."""
        return len(self._waiting)

    def assign(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Position | None]:
        """Loads positions and parked records of partitions; answers from where to read them."""
        wanted = set(partitions)
        stored = self.store.positions()
        parked = self.store.parked(wanted)
        self._drop_waiting(wanted)
        for record in parked:
            entry = waiting(record, aggregate_kinds())
            self._waiting.setdefault((record.kind, record.aggregate_id), []).append(entry)
        loaded = {at: stored.get(at) for at in wanted}
        self.positions.update(loaded)
        return loaded

    def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """Forgets partitions that another process may own from now on."""
        gone = set(partitions)
        self._drop_waiting(gone)
        for at in gone:
            self.positions.pop(at, None)
        self._clear_caches()

    def forget(self) -> None:
        """Forgets everything, after a failure: the store knows better."""
        self.positions.clear()
        self._waiting.clear()
        self._clear_caches()

    def _clear_caches(self) -> None:
        self._documents.clear()
        self._references.clear()

    def _drop_waiting(self, partitions: set[TopicPartition]) -> None:
        for key, entries in list(self._waiting.items()):
            kept = [entry for entry in entries if entry.record.at not in partitions]
            if kept:
                self._waiting[key] = kept
            else:
                del self._waiting[key]

    def process(
        self,
        polled: Mapping[TopicPartition, Sequence[Any]],
        ends: Mapping[TopicPartition, int],
        passed: Passed,
    ) -> dict[TopicPartition, Position]:
        """Folds and commits the records of one poll; answers the new positions.

        `ends`: end offsets as far as they are known. `passed`: the watermark that an offset has
        passed.
        """
        with self._observer.step("decode"):
            records = self._decode(polled)
        outcome = self._fold(records)
        reached = {
            at: advanced(self.positions.get(at), raw[-1], ends.get(at))
            for at, raw in polled.items()
        }
        marked = {at: passed(at, position) for at, position in reached.items()}
        with self._observer.step("save"):
            committed = commit(
                self.store, outcome, self._moves(marked), self.projection.read_model.link
            )
        self._remember(outcome, marked)
        self._documents.put(committed.documents)
        self._references.put(committed.references)
        self._observer.count(outcome.counts)
        return marked

    def mark(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Commits positions whose offsets stay as they are, such as a passed watermark."""
        self.store.save(Batch(moves=self._moves(positions)))
        self.positions.update(positions)

    def _moves(self, positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Move]:
        known = self.positions
        return {
            at: Move(None if (stored := known[at]) is None else stored.offset, position)
            for at, position in positions.items()
        }

    def _decode(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> list[Record]:
        records: list[Record] = []
        for at, raw in polled.items():
            records += decoded(TopicPartition(*at), kind_of_topic(at.topic), raw)
        return records

    def _fold(self, records: Sequence[Record]) -> Outcome:
        """Folds from cache and store; what then looks wrong is folded again from the store."""
        with self._observer.step("load"):
            known = self._load(records)
        with self._observer.step("fold"):
            outcome = fold(self.projection, records, known)
        if not outcome.suspects:
            return outcome
        with self._observer.step("load"):
            self._clear_caches()
            known = self._load(records)
        with self._observer.step("fold"):
            return fold(self.projection, records, known)

    def _load(self, records: Sequence[Record]) -> Known:
        primary = self.projection.read_model.primary
        keys = {record.key for record in records if record.kind == primary}
        names = {record.key for record in records if record.kind != primary}
        documents = self._documents.pick(keys)
        if missing := keys - documents.keys():
            documents |= self.store.load(missing)
        references = self._references.pick(names)
        if missing := names - references.keys():
            references |= self.store.load_references(missing)
        return Known(documents, references, self._waiting)

    def _remember(self, outcome: Outcome, positions: Mapping[TopicPartition, Position]) -> None:
        self.positions.update(positions)
        gone = {(record.at, record.offset) for record in outcome.released}
        gone |= {(entry.record.at, entry.record.offset) for entry in outcome.parked}
        touched = {(record.kind, record.aggregate_id) for record in outcome.released}
        for key in touched | {_key_of(entry) for entry in outcome.parked}:
            kept = [
                entry
                for entry in self._waiting.pop(key, [])
                if (entry.record.at, entry.record.offset) not in gone
            ]
            kept += [entry for entry in outcome.parked if _key_of(entry) == key]
            if kept:
                self._waiting[key] = kept


def _key_of(entry: Waiting) -> AggregateKey:
    return entry.record.kind, entry.record.aggregate_id
