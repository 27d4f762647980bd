"""The store port: what the engine asks of a store, and what a store promises.

A store object is bound to one projection and one generation. It knows nothing about orders: it
maps sections to its own layout by the `ReadModel` (see `foldline_contracts.readmodels`).

Promises that the contract suite in `tests/contract` checks on every implementation:

- **Only if newer.** `save` merges each section by its own version: a section is written when its
  version is greater than the stored one, and is otherwise left alone, whatever the order, repetition or
  concurrency of writers. `patch_references` obeys the same rule.
- **Offsets with or after documents.** A transactional store writes a batch and its positions in
  one transaction. Another one writes documents, then makes them visible to its readers, then writes
  positions; so a crash between leaves documents ahead of positions, never behind.
- **Fencing.** A position moves only from the `expected` value where the store can compare; a
  mismatch raises `Fenced` and nothing of the batch with its positions is kept by a transactional store.
- **Parked first.** Parked records are written before or with the positions that pass them.
- **State records by revision.** A state record is replaced only while it has the revision that was
  read; of two writers at once one is told so. Records of all generations are seen by every store object.

Errors: `Fenced`; `RetryLater` when the store is away or asks for patience; anything else crashes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from foldline_contracts.state import ParkReason

Body = dict[str, Any]
#: Fields of a state record by name, JSON fields as plain values; `revision` is among those read.
StateRecord = dict[str, Any]
StateTable = Literal["foldline_projections", "foldline_generations"]


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Section:
    """What one aggregate contributes to a document."""

    version: int
    event_id: str
    body: Body


@dataclass(frozen=True, slots=True)
class Document:
    """A document with the sections that are known; a section that is None is left as stored."""

    key: str
    #: Partition of the primary aggregate's topic.
    partition: int
    primary: Section | None
    reference: Section | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """The source row of a reference aggregate, kept once for all documents that name it."""

    key: str
    partition: int
    section: Section
    #: Every document that names this reference carries at least this version of it.
    fanned_out_version: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """How far a partition has been applied."""

    #: Next offset to apply.
    offset: int
    #: End offset last seen.
    end: int
    #: Record time of the last applied event.
    recorded_at: datetime | None = None
    #: Record time of the oldest event seen and not applied; None when caught up.
    oldest_recorded_at: datetime | None = None
    #: Last watermark that the position has passed, and its incarnation.
    as_of: datetime | None = None
    incarnation: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A conditional change of a position: `expected` is the offset stored now, None when there is no row."""

    expected: int | None
    position: Position


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedRecord:
    """An event set aside with its bytes, so that the rest can flow."""

    at: TopicPartition
    offset: int
    kind: str
    aggregate_id: str
    version: int | None
    event_id: str | None
    reason: ParkReason
    detail: str
    value: bytes
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one `save` writes. Keys within a batch are unique."""

    documents: Sequence[Document] = ()
    references: Sequence[Reference] = ()
    parked: Sequence[ParkedRecord] = ()
    #: Parked records that have been applied and are taken away.
    released: Sequence[tuple[TopicPartition, int]] = ()
    moves: Mapping[TopicPartition, Move] = field(default_factory=dict)


class Fenced(Exception):
    """Another owner has moved the position: forget all cached state and rejoin."""


class RetryLater(Exception):
    """The store cannot serve now; keep the offset and try again after `delay` seconds."""

    def __init__(self, delay: float, reason: str) -> None:
        super().__init__(reason)
        self.delay = delay


@dataclass(frozen=True, slots=True)
class Size:
    """How much a generation holds."""

    documents: int
    #: On disk, as the store tells it.
    bytes: int


class DocumentStore(Protocol):
    """What folding needs of a store: documents, positions and parked records of one generation."""

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """The stored documents among `keys`, read from the primary, not from a stale replica."""

    def load_references(self, keys: Collection[str]) -> dict[str, Reference]:
        """The stored reference sources among `keys`."""

    def save(self, batch: Batch) -> None:
        """Writes a batch as the module's promises say. Raises Fenced or RetryLater."""

    def patch_references(self, reference: Reference, limit: int) -> int:
        """Writes the section of `reference` into at most `limit` documents that name it and carry
        an older version or none. Returns how many were patched; 0 means that none is left.
        """

    def positions(self) -> dict[TopicPartition, Position]:
        """All positions of this generation."""

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """The parked records of these partitions, by offset."""


class Store(DocumentStore, Protocol):
    """One projection generation in one store, and the state records of its projection."""

    def prepare(self) -> None:
        """Creates the state objects that all projections share. Idempotent, safe to run twice at once."""

    def create(self, *, indexed: bool = True) -> None:
        """Creates the generation's objects where they are missing. Idempotent, safe to run twice at once.

        `indexed=False` leaves secondary indexes and what else slows loading down to `complete`.
        """

    def records(self, table: StateTable) -> list[StateRecord]:
        """The projection's records in `foldline_projections` or `foldline_generations`, each field by
        its name (see `foldline_contracts.state`), as last acknowledged.
        """

    def replace(self, table: StateTable, record: StateRecord, expected: int) -> bool:
        """Writes a record with revision `expected + 1` if the stored one has revision `expected`,
        0 meaning that there is none. False when another writer was first; then nothing is written.
        """

    def fill(self, documents: Sequence[Document], references: Sequence[Reference]) -> None:
        """Writes many documents of a generation that is being built, each only if newer, fast
        where most of them are new. No transaction: durable when it returns, visible to everybody after
        `complete`. Raises RetryLater, after which a part may be written.
        """

    def complete(self) -> None:
        """Ends a bulk load: builds what `create(indexed=False)` left out and makes everything
        visible to queries. Idempotent, safe to run twice at once.
        """

    def scan(self, after: str | None, until: str | None, limit: int) -> list[Document]:
        """At most `limit` documents with a key beyond `after` and up to `until` (None: no bound), in the
        store's own order of keys, of what queries can see.
        """

    def size(self) -> Size:
        """How much the generation holds; zero when it has no objects."""

    def drop(self) -> None:
        """Removes the generation's objects, positions and parked records, not its state record.
        Idempotent.
        """

    def close(self) -> None:
        """Releases connections."""
