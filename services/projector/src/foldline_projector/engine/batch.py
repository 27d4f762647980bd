"""The pure middle of the engine: one poll's records against what is stored, to one outcome.

Records are taken in the order given; what happens to one aggregate depends on its own records
only, so partitions and aggregates may be interleaved in any way. Versions decide everything: a
version that the section has is a duplicate, the next one is applied, a later one waits for the gap
before it to close and then drains by itself. Poison (undecodable, a fold that raised, a fork) stops
its aggregate: it and whatever follows it are parked, in order. Nothing here reads a clock or a
store, so a batch may be folded again from better documents and means the same.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Literal

from foldline_contracts.codec import Event
from foldline_contracts.state import ParkReason
from foldline_projector.engine.records import AggregateKey, Record, Waiting, moment
from foldline_projector.projection import Evolve, Projection
from foldline_projector.stores.port import (
    Document,
    ParkedRecord,
    Reference,
    Section,
    TopicPartition,
)

CountedOutcome = Literal["applied", "duplicate", "gap", "parked"]
Place = tuple[TopicPartition, int]
"""Partition and offset."""
#: Reasons that stop an aggregate until somebody decides.
POISON: frozenset[ParkReason] = frozenset({"undecodable", "fold", "fork"})


@dataclass(frozen=True, slots=True)
class Known:
    """What the fold starts from: stored documents and references, parked records by aggregate."""

    documents: Mapping[str, Document]
    references: Mapping[str, Reference]
    waiting: Mapping[AggregateKey, Sequence[Waiting]]


@dataclass(slots=True)
class Outcome:
    """What a batch comes to; nothing of it is stored yet."""

    #: Changed documents by key: the primary section as it is now.
    documents: dict[str, Document] = field(default_factory=dict)
    #: Changed references by key.
    references: dict[str, Reference] = field(default_factory=dict)
    parked: list[Waiting] = field(default_factory=list)
    released: list[ParkedRecord] = field(default_factory=list)
    #: Documents whose reference section must be looked up: new ones, and those that a crash may
    #: have left without (their first events came again).
    lookups: dict[str, Document] = field(default_factory=dict)
    #: References that not all documents carry yet.
    fan_outs: dict[str, Reference] = field(default_factory=dict)
    #: Aggregates that look wrong (a gap or a fork), judged by the sections that were given.
    suspects: set[AggregateKey] = field(default_factory=set)
    counts: Counter[CountedOutcome] = field(default_factory=Counter)


class _Aggregate:
    """One aggregate while a batch is folded."""

    __slots__ = (
        "events",
        "evolve",
        "is_stopped",
        "key",
        "outcome",
        "parked",
        "partition",
        "queue",
        "repeated",
        "section",
        "stored",
        "waiting",
    )

    def __init__(
        self,
        key: AggregateKey,
        evolve: Evolve,
        section: Section | None,
        waiting: Iterable[Waiting],
        outcome: Outcome,
    ) -> None:
        self.key = key
        self.evolve = evolve
        self.section = self.stored = section
        self.outcome = outcome
        self.partition = 0
        self.repeated = False
        #: Whether poison is among what waits.
        self.is_stopped = False
        self.waiting: dict[Place, Waiting] = {}
        #: Those among `waiting` that this batch parked, or judged anew.
        self.parked: dict[Place, Waiting] = {}
        #: Events that waited, by id and version.
        self.events: set[tuple[str | None, int | None]] = set()
        #: What waits as a heap: the lowest version first, of one version what came first.
        self.queue: list[tuple[int, Place]] = []
        for entry in waiting:
            self._wait(entry)

    @property
    def version(self) -> int:
        return 0 if self.section is None else self.section.version

    def take(self, record: Record) -> None:
        """Decides about one record."""
        self.partition = record.at.partition
        event = record.event
        if self._waits(record):
            self.repeated = True
            self.outcome.counts["duplicate"] += 1
        elif event is None:
            self._park(record, "undecodable", record.fault)
        elif event.version <= self.version:
            self._repeat(record, event)
        elif self.is_stopped:
            self._park(record, "blocked", "an event before it is parked")
        elif event.version == self.version + 1:
            self._apply(record, event)
        else:
            self.outcome.suspects.add(self.key)
            self._park(record, "gap", f"version {self.version + 1} is missing")
        self._drain()

    def _waits(self, record: Record) -> bool:
        """Whether this very record, or its event at another offset, is parked already."""
        event = record.event
        return (record.at, record.offset) in self.waiting or (
            event is not None and (event.id, event.version) in self.events
        )

    def _repeat(self, record: Record, event: Event) -> None:
        self.repeated = True
        if fork := self._fork(event.version, event.id):
            self._park(record, "fork", fork)
        else:
            self.outcome.counts["duplicate"] += 1

    def _fork(self, version: int, event_id: str | None) -> str | None:
        """What is wrong with another event at the section's own version; older ids are not kept."""
        section = self.section
        if section is None or section.version != version or section.event_id == event_id:
            return None
        self.outcome.suspects.add(self.key)
        return f"version {version} is event {section.event_id}"

    def _apply(self, record: Record, event: Event) -> None:
        fault = self._fold(event)
        if fault is None:
            self.outcome.counts["applied"] += 1
        else:
            self._park(record, "fold", fault)

    def _fold(self, event: Event) -> str | None:
        """Evolves the section; what went wrong otherwise. A fold is deterministic, so any error
        of it is the event's for good and none is the process's.
        """
        try:
            body = self.evolve(None if self.section is None else self.section.body, event)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        self.section = Section(event.version, event.id, body)
        return None

    def _park(self, record: Record, reason: ParkReason, detail: str) -> None:
        event = record.event
        self.outcome.counts["gap" if reason == "gap" else "parked"] += 1
        parked = ParkedRecord(
            at=record.at,
            offset=record.offset,
            kind=record.kind,
            aggregate_id=record.key,
            version=None if event is None else event.version,
            event_id=None if event is None else event.id,
            reason=reason,
            detail=detail,
            value=record.value,
            recorded_at=moment(record.timestamp),
        )
        entry = Waiting(parked, event)
        self.parked[_place(entry)] = entry
        self._wait(entry)

    def _wait(self, entry: Waiting) -> None:
        record, place = entry.record, _place(entry)
        self.waiting[place] = entry
        if record.reason in POISON:
            self.is_stopped = True
        if record.version is not None:
            self.events.add((record.event_id, record.version))
            heappush(self.queue, (record.version, place))

    def _drain(self) -> None:
        """Applies what waits behind a gap as far as versions follow each other."""
        while self.queue and not self.is_stopped and self.queue[0][0] <= self.version + 1:
            version, place = heappop(self.queue)
            entry = self.waiting[place]
            verdict = self._catch_up(version, entry)
            if verdict is None:
                self._release(entry)
            else:
                self._judge(entry, *verdict)

    def _catch_up(self, version: int, entry: Waiting) -> tuple[ParkReason, str] | None:
        """Applies an entry whose version is no longer ahead; otherwise why it stays parked."""
        if version <= self.version:
            fork = self._fork(version, entry.record.event_id)
            return None if fork is None else ("fork", fork)
        if entry.event is None:  # this code may be stricter than the one that parked it
            return "undecodable", "it is not decoded any more"
        fault = self._fold(entry.event)
        if fault is not None:
            return "fold", fault
        self.outcome.counts["applied"] += 1
        return None

    def _release(self, entry: Waiting) -> None:
        place = _place(entry)
        del self.waiting[place]
        if self.parked.pop(place, None) is None:
            self.outcome.released.append(entry.record)

    def _judge(self, entry: Waiting, reason: ParkReason, detail: str) -> None:
        """Keeps an entry parked, for another reason than before."""
        record = replace(entry.record, reason=reason, detail=detail)
        judged = Waiting(record, entry.event)
        self.waiting[_place(entry)] = self.parked[_place(entry)] = judged
        self.is_stopped = True


def _place(entry: Waiting) -> Place:
    return entry.record.at, entry.record.offset


def fold(projection: Projection, records: Iterable[Record], known: Known) -> Outcome:
    """Folds records of one or more partitions, each partition's by offset."""
    outcome = Outcome()
    aggregates: dict[AggregateKey, _Aggregate] = {}
    for record in records:
        key = (record.kind, record.key)
        aggregate = aggregates.get(key)
        if aggregate is None:
            aggregate = aggregates[key] = _begin(projection, key, known, outcome)
        aggregate.take(record)
    for aggregate in aggregates.values():
        outcome.parked += aggregate.parked.values()
        if aggregate.key[0] == projection.read_model.primary:
            _conclude_document(projection, aggregate, known)
        else:
            _conclude_reference(aggregate, known)
    return outcome


def _begin(projection: Projection, key: AggregateKey, known: Known, outcome: Outcome) -> _Aggregate:
    kind, name = key
    section: Section | None
    waiting = known.waiting.get(key, ())
    if kind == projection.read_model.primary:
        document = known.documents.get(name)
        section = None if document is None else document.primary
        return _Aggregate(key, projection.evolve, section, waiting, outcome)
    assert projection.evolve_reference is not None, f"{key} is of no section"
    reference = known.references.get(name)
    section = None if reference is None else reference.section
    return _Aggregate(key, projection.evolve_reference, section, waiting, outcome)


def _conclude_document(projection: Projection, aggregate: _Aggregate, known: Known) -> None:
    section, name = aggregate.section, aggregate.key[1]
    if section is None:
        return
    document = Document(name, aggregate.partition, section)
    if section is not aggregate.stored:
        aggregate.outcome.documents[name] = document
    link = projection.read_model.link
    if link is None or section.body.get(link) is None:
        return
    stored = known.documents.get(name)
    is_fresh = stored is None or (aggregate.repeated and stored.reference is None)
    if is_fresh:
        aggregate.outcome.lookups[name] = document


def _conclude_reference(aggregate: _Aggregate, known: Known) -> None:
    section, name = aggregate.section, aggregate.key[1]
    if section is None:
        return
    stored = known.references.get(name)
    fanned_out = 0 if stored is None else stored.fanned_out_version
    reference = Reference(name, aggregate.partition, section, fanned_out)
    if section is not aggregate.stored:
        aggregate.outcome.references[name] = reference
    if section.version > fanned_out:
        aggregate.outcome.fan_outs[name] = reference
