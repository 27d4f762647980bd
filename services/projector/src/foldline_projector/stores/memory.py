"""A store in memory: the port's promises in their plainest form, for tests and for reading.

All owners of one `Memory` see the same data, each call is one step under a lock, and what goes in
or comes out is copied, so that no caller can change stored state by accident. Nothing survives
the process.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import TypeVar

from foldline_contracts.readmodels import ReadModel
from foldline_projector.stores.port import (
    Batch,
    Document,
    Fenced,
    ParkedRecord,
    Position,
    Reference,
    Section,
    Size,
    StateRecord,
    StateTable,
    TopicPartition,
)

T = TypeVar("T")


@dataclass
class _Generation:
    documents: dict[str, Document] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    positions: dict[TopicPartition, Position] = field(default_factory=dict)
    parked: dict[tuple[TopicPartition, int], ParkedRecord] = field(default_factory=dict)


class Memory:
    """The data of any number of projections; outlives the stores that work on it."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.generations: defaultdict[tuple[str, int], _Generation] = defaultdict(_Generation)
        self.records: dict[tuple[StateTable, Hashable], StateRecord] = {}


class MemoryStore:
    """One projection generation in a `Memory`."""

    def __init__(self, read_model: ReadModel, generation: int, memory: Memory) -> None:
        self._read_model = read_model
        self._generation = generation
        self._memory = memory

    @property
    def _data(self) -> _Generation:
        return self._memory.generations[self._read_model.name, self._generation]

    def prepare(self) -> None:
        """See the port. There is nothing to create."""

    def create(self, *, indexed: bool = True) -> None:
        """See the port. There is nothing to create."""

    def records(self, table: StateTable) -> list[StateRecord]:
        """See the port."""
        with self._memory.lock:
            return [
                deepcopy(record)
                for (name, _), record in self._memory.records.items()
                if name == table and record["projection"] == self._read_model.name
            ]

    def replace(self, table: StateTable, record: StateRecord, expected: int) -> bool:
        """See the port."""
        key = (table, (record["projection"], record.get("generation")))
        with self._memory.lock:
            stored = self._memory.records.get(key)
            if (0 if stored is None else stored["revision"]) != expected:
                return False
            self._memory.records[key] = {**deepcopy(record), "revision": expected + 1}
        return True

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

    def fill(self, documents: Sequence[Document], references: Sequence[Reference]) -> None:
        """See the port."""
        self.save(Batch(documents=documents, references=references))

    def complete(self) -> None:
        """See the port. Everything is visible at once."""

    def scan(self, after: str | None, until: str | None, limit: int) -> list[Document]:
        """See the port."""
        with self._memory.lock:
            keys = sorted(
                key
                for key in self._data.documents
                if (after is None or key > after) and (until is None or key <= until)
            )
            return [deepcopy(self._data.documents[key]) for key in keys[:limit]]

    def size(self) -> Size:
        """See the port."""
        with self._memory.lock:
            return Size(len(self._data.documents), 0)

    def drop(self) -> None:
        """See the port."""
        with self._memory.lock:
            self._memory.generations.pop((self._read_model.name, self._generation), None)

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
