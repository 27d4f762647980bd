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
)

CountedOutcome = Literal["applied", "duplicate", "gap", "parked"]
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
        "evolve",
        "key",
        "outcome",
        "partition",
        "repeated",
        "section",
        "stored",
        "waiting",
    )

    def __init__(
        self, key: AggregateKey, evolve: Evolve, section: Section | None, outcome: Outcome
    ) -> None:
        self.key = key
        self.evolve = evolve
        self.section = self.stored = section
        self.outcome = outcome
        self.partition = 0
        self.repeated = False
        self.waiting: list[Waiting] = []

    @property
    def version(self) -> int:
        return 0 if self.section is None else self.section.version

    def take(self, record: Record) -> None:
        """Decides about one record."""
        self.partition = record.at.partition
        event = record.event
        if self.waiting and self._waits(record):
            self.repeated = True
            self.outcome.counts["duplicate"] += 1
        elif event is None:
            self._park(record, "undecodable", record.fault)
        elif event.version <= self.version:
            self._repeat(record, event)
        elif self.waiting and self._is_stopped():
            self._park(record, "blocked", "an event before it is parked")
        elif event.version == self.version + 1:
            self._apply(record, event)
        else:
            self.outcome.suspects.add(self.key)
            self._park(record, "gap", f"version {self.version + 1} is missing")
        if self.waiting:
            self._drain()

    def _waits(self, record: Record) -> bool:
        """Whether this very record, or its event at another offset, is parked already."""
        event = record.event
        return any(
            (parked.at, parked.offset) == (record.at, record.offset)
            or (
                event is not None and (parked.event_id, parked.version) == (event.id, event.version)
            )
            for parked, _ in self.waiting
        )

    def _is_stopped(self) -> bool:
        return any(entry.record.reason in POISON for entry in self.waiting)

    def _repeat(self, record: Record, event: Event) -> None:
        self.repeated = True
        section = self.section
        if section and section.version == event.version and section.event_id != event.id:
            self.outcome.suspects.add(self.key)
            self._park(record, "fork", f"version {event.version} is event {section.event_id}")
        else:
            self.outcome.counts["duplicate"] += 1

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
        self._wait(Waiting(parked, event))

    def _wait(self, entry: Waiting) -> None:
        self.waiting.append(entry)
        self.outcome.parked.append(entry)

    def _drain(self) -> None:
        """Applies what waits behind a gap as far as versions follow each other."""
        if self._is_stopped():
            return
        for entry in sorted(self.waiting, key=_version_of):
            version = _version_of(entry)
            if version > self.version + 1 or entry.event is None:
                return
            if version == self.version + 1:
                fault = self._fold(entry.event)
                if fault is not None:
                    self._judge(entry, "fold", fault)
                    return
                self.outcome.counts["applied"] += 1
            self._release(entry)

    def _release(self, entry: Waiting) -> None:
        self.waiting.remove(entry)
        if entry in self.outcome.parked:
            self.outcome.parked.remove(entry)
        else:
            self.outcome.released.append(entry.record)

    def _judge(self, entry: Waiting, reason: ParkReason, detail: str) -> None:
        """Keeps an entry parked, for another reason than before."""
        self.waiting.remove(entry)
        if entry in self.outcome.parked:
            self.outcome.parked.remove(entry)
        self._wait(Waiting(replace(entry.record, reason=reason, detail=detail), entry.event))


def _version_of(entry: Waiting) -> int:
    return entry.record.version or 0


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
        if aggregate.key[0] == projection.read_model.primary:
            _conclude_document(projection, aggregate, known)
        else:
            _conclude_reference(aggregate, known)
    return outcome


def _begin(projection: Projection, key: AggregateKey, known: Known, outcome: Outcome) -> _Aggregate:
    kind, name = key
    section: Section | None
    if kind == projection.read_model.primary:
        document = known.documents.get(name)
        section = None if document is None else document.primary
        aggregate = _Aggregate(key, projection.evolve, section, outcome)
    else:
        assert projection.evolve_reference is not None, f"{key} is of no section"
        reference = known.references.get(name)
        section = None if reference is None else reference.section
        aggregate = _Aggregate(key, projection.evolve_reference, section, outcome)
    aggregate.waiting.extend(known.waiting.get(key, ()))
    return aggregate


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
