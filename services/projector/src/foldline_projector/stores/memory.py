"""A store in memory: the port's promises in their plainest form, for tests and for reading.

All owners of one `Memory` see the same data, each call is one step under a lock, and what goes in
or comes out is copied, so that no caller can change stored state by accident. Nothing survives
the process.
"""

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import TypeVar

from foldline_contracts.readmodels import ReadModel
from foldline_projector.stores.port import (
    Batch,
    Document,
    Fenced,
    FoldVersionMismatch,
    ParkedRecord,
    Position,
    Reference,
    Section,
    TopicPartition,
)

T = TypeVar("T")


@dataclass
class _Generation:
    fold_version: int
    documents: dict[str, Document] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    positions: dict[TopicPartition, Position] = field(default_factory=dict)
    parked: dict[tuple[TopicPartition, int], ParkedRecord] = field(default_factory=dict)


class Memory:
    """The data of any number of projections; outlives the stores that work on it."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.generations: dict[tuple[str, int], _Generation] = {}
        self.active: dict[str, int] = {}


class MemoryStore:
    """One projection generation in a `Memory`."""

    def __init__(self, read_model: ReadModel, generation: int, memory: Memory) -> None:
        self._read_model = read_model
        self._generation = generation
        self._memory = memory

    @property
    def _data(self) -> _Generation:
        return self._memory.generations[self._read_model.name, self._generation]

    def prepare(self, partitions: Mapping[str, int], fold_version: int) -> None:  # noqa: ARG002
        """See the port."""
        name = self._read_model.name
        with self._memory.lock:
            found = self._memory.generations.setdefault(
                (name, self._generation), _Generation(fold_version)
            )
            self._memory.active.setdefault(name, self._generation)
        if found.fold_version != fold_version:
            raise FoldVersionMismatch(
                f"{name} g{self._generation} has fold version {found.fold_version}, "
                f"this code has {fold_version}"
            )

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """See the port."""
        with self._memory.lock:
            return _pick(self._data.documents, keys)

    def load_references(self, keys: Collection[str]) -> dict[str, Reference]:
        """See the port."""
        with self._memory.lock:
            return _pick(self._data.references, keys)

    def save(self, batch: Batch) -> None:
        """See the port."""
        with self._memory.lock:
            data = self._data
            self._check(batch)
            for document in deepcopy(list(batch.documents)):
                stored = data.documents.get(document.key)
                data.documents[document.key] = _merged(stored, document)
            for reference in deepcopy(list(batch.references)):
                known = data.references.get(reference.key)
                data.references[reference.key] = _newest(known, reference)
            data.parked.update({(record.at, record.offset): record for record in batch.parked})
            for released in batch.released:
                data.parked.pop(released, None)
            data.positions.update({at: move.position for at, move in batch.moves.items()})

    def _check(self, batch: Batch) -> None:
        for at, move in batch.moves.items():
            position = self._data.positions.get(at)
            offset = None if position is None else position.offset
            if offset != move.expected:
                raise Fenced(f"{at} is at {offset}, expected {move.expected}")

    def patch_references(self, reference: Reference, limit: int) -> int:
        """See the port."""
        link = self._read_model.link
        with self._memory.lock:
            behind = [
                document
                for document in self._data.documents.values()
                if document.primary is not None
                and link is not None
                and document.primary.body[link] == reference.key
                and _is_newer(reference.section, document.reference)
            ][:limit]
            for document in behind:
                patched = replace(document, reference=deepcopy(reference.section))
                self._data.documents[document.key] = patched
        return len(behind)

    def positions(self) -> dict[TopicPartition, Position]:
        """See the port."""
        with self._memory.lock:
            return dict(self._data.positions)

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """See the port."""
        wanted = set(partitions)
        with self._memory.lock:
            found = [record for record in self._data.parked.values() if record.at in wanted]
        return sorted(found, key=lambda record: (record.at, record.offset))

    def close(self) -> None:
        """See the port."""


def _pick(stored: Mapping[str, T], keys: Collection[str]) -> dict[str, T]:
    return {key: deepcopy(stored[key]) for key in keys if key in stored}


def _is_newer(candidate: Section | None, stored: Section | None) -> bool:
    if candidate is None:
        return False
    return stored is None or candidate.version > stored.version


def _merged(stored: Document | None, document: Document) -> Document:
    if stored is None:
        return document
    primary, reference = stored.primary, stored.reference
    if _is_newer(document.primary, primary):
        primary = document.primary
    if _is_newer(document.reference, reference):
        reference = document.reference
    return replace(stored, primary=primary, reference=reference)


def _newest(stored: Reference | None, reference: Reference) -> Reference:
    if stored is None:
        return reference
    fanned_out = max(stored.fanned_out_version, reference.fanned_out_version)
    newest = reference if _is_newer(reference.section, stored.section) else stored
    return replace(newest, fanned_out_version=fanned_out)
