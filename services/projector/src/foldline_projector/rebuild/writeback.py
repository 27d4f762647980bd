"""A store in front of a store: keeps what a load folds in memory and writes each document rarely.

Order: a flush fills documents and references first, then saves parked records and positions; a crash
in between leaves documents ahead of positions, where folding the events again changes nothing.
Concurrency: one thread; two loads of one partition fence each other by position, and what the
loser had filled was guarded by versions. Failure: nothing is kept after `forget`, the store knows.

References must be complete in the store before documents are loaded: a document then takes its
reference section when it is first folded, and no fan-out is needed.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from foldline_projector.engine.crash import reach
from foldline_projector.stores.port import (
    Batch,
    Document,
    Move,
    ParkedRecord,
    Position,
    Reference,
    Store,
    TopicPartition,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """How much a load may hold in memory and lose to a crash."""

    #: Documents in memory.
    documents: int
    #: Events between two flushes: what a killed load folds again.
    events: int


class WriteBack:
    """What the engine needs of a store, for one partition of a generation that is being built."""

    def __init__(self, store: Store, at: TopicPartition, bounds: Bounds) -> None:
        self._store = store
        self._at = at
        self._bounds = bounds
        self.forget()

    def forget(self) -> None:
        """Drops all that was not flushed."""
        self._documents: dict[str, Document] = {}
        self._references: dict[str, Reference | None] = {}
        self._changed: set[str] = set()
        self._changed_references: set[str] = set()
        self._parked: dict[tuple[TopicPartition, int], ParkedRecord] = {}
        self._released: set[tuple[TopicPartition, int]] = set()
        self._moves: dict[TopicPartition, Move] = {}
        self._events = 0
        #: Whether every document that was ever folded here is still in memory.
        self._is_whole = False

    @property
    def documents(self) -> Mapping[str, Document]:
        """The documents in memory."""
        return self._documents

    def positions(self) -> dict[TopicPartition, Position]:
        """See the port. A load that begins at the beginning needs nothing from the store."""
        found = self._store.positions()
        self._is_whole = self._at not in found
        return found

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """See the port."""
        return self._store.parked(partitions)

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """See the port."""
        found = {key: self._documents[key] for key in keys if key in self._documents}
        if not self._is_whole and (missing := set(keys) - found.keys()):
            stored = self._store.load(missing)
            self._documents.update(stored)
            found.update(stored)
        return found

    def load_references(self, keys: Collection[str]) -> dict[str, Reference]:
        """See the port. Absence is remembered too, since references are complete by now."""
        if missing := set(keys) - self._references.keys():
            stored = self._store.load_references(missing)
            self._references.update({key: stored.get(key) for key in missing})
        found = {key: self._references[key] for key in keys}
        return {key: reference for key, reference in found.items() if reference is not None}

    def save(self, batch: Batch) -> None:
        """See the port, but in memory until a flush is due."""
        for document in batch.documents:
            known = self._documents.get(document.key)
            self._documents[document.key] = _over(known, document)
            self._changed.add(document.key)
        for reference in batch.references:
            self._references[reference.key] = reference
            self._changed_references.add(reference.key)
        for record in batch.parked:
            self._parked[record.at, record.offset] = record
        for at in batch.released:
            self._parked.pop(at, None)
            self._released.add(at)
        for partition, move in batch.moves.items():
            self._move(partition, move)
        if batch.moves and self._is_due():
            self.flush()

    def _move(self, at: TopicPartition, move: Move) -> None:
        first = self._moves.get(at)
        before = (move.expected or 0) if first is None else first.position.offset
        self._events += move.position.offset - before
        self._moves[at] = move if first is None else replace(first, position=move.position)

    def _is_due(self) -> bool:
        return self._events >= self._bounds.events or len(self._documents) >= self._bounds.documents

    def patch_references(self, reference: Reference, limit: int) -> int:  # noqa: ARG002
        """See the port. No document is there yet."""
        return 0

    def flush(self) -> None:
        """Writes everything. Raises Fenced or RetryLater; then `forget`."""
        reach("before_fill")
        references = [self._references[key] for key in sorted(self._changed_references)]
        self._store.fill(
            [self._documents[key] for key in sorted(self._changed)],
            [each for each in references if each is not None],
        )
        reach("after_fill")
        if self._moves:
            self._store.save(
                Batch(
                    parked=list(self._parked.values()),
                    released=list(self._released),
                    moves=self._moves,
                )
            )
        reach("after_flush")
        self._settle()

    def _settle(self) -> None:
        self._changed.clear()
        self._changed_references.clear()
        self._parked.clear()
        self._released.clear()
        self._moves = {}
        self._events = 0
        if len(self._documents) >= self._bounds.documents:
            self._documents.clear()
            self._is_whole = False
        if len(self._references) >= self._bounds.documents:
            self._references.clear()


def _over(known: Document | None, document: Document) -> Document:
    """`document` over what is known; a section that is not given stays."""
    if known is None:
        return document
    if document.primary is None:
        return replace(known, reference=document.reference)
    return replace(document, reference=document.reference or known.reference)
