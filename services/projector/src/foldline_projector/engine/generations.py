"""The generations of a projection and the pointer that readers follow, as values over state records.

Concurrency: every change is made on the condition that the record is still the one that was read.
`change` repeats a pure change until it is the last word; `move_pointer` does not, because whoever
flips must know what it flipped from. So any number of operators, projectors and people may work on
one projection at once. Failure: each change is one record, so a crash leaves it whole, before or after.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from foldline_contracts import times
from foldline_contracts.readmodels import ReadModel
from foldline_contracts.state import FIRST_GENERATION, GENERATIONS, PROJECTIONS, GenerationState
from foldline_projector.projection import Projection
from foldline_projector.stores.port import StateRecord, Store, TopicPartition

#: Generation to place (`order-events/3`) to offset.
Offsets = Mapping[int, Mapping[str, int]]


class FoldVersionMismatch(Exception):
    """The generation is pinned to another fold version; this code must not write it."""


class NoSuchGeneration(Exception):
    """There is no such generation, or it was dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """The barrier of a flip: generations that must not go beyond their limits.

    A partition without a limit stands where it is. Its owner acknowledges the offset at which it
    stands; once it has, nothing of it moves until the limit or the hold changes.
    """

    operation: str
    limits: Offsets
    acks: Offsets = field(default_factory=dict)

    def limit(self, generation: int, at: TopicPartition) -> int:
        """The offset that a partition must not go beyond; 0 says to stand still."""
        return self.limits[generation].get(place(at), 0)

    def acknowledged(self, generation: int, offsets: Mapping[str, int]) -> "Hold":
        """The hold with more acknowledgements of one generation."""
        own = {**self.acks.get(generation, {}), **offsets}
        return replace(self, acks={**self.acks, generation: own})


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """Which generation readers read."""

    active: int
    #: Where a rollback leads.
    previous: int | None = None
    flipped_at: datetime | None = None
    hold: Hold | None = None
    revision: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """A generation's record."""

    number: int
    fold_version: int
    state: GenerationState
    #: Topic to number of partitions.
    partitions: Mapping[str, int]
    #: What the read model declared when the generation was made; see `pinned`.
    layout: Mapping[str, Any]
    #: The rebuild that made it: see `foldline_projector.rebuild.operation`.
    rebuild: Mapping[str, Any] | None = None
    created_at: datetime
    revision: int = 0

    def places(self) -> list[TopicPartition]:
        """Every partition that it consumes."""
        return [
            TopicPartition(topic, number)
            for topic, count in sorted(self.partitions.items())
            for number in range(count)
        ]


class Registry:
    """The pointer and the generations of one projection, through any of its stores."""

    def __init__(self, store: Store, read_model: ReadModel) -> None:
        self._store = store
        self._read_model = read_model

    def pointer(self) -> Pointer | None:
        """The pointer; None before the first generation is there. Raises RetryLater."""
        found = self._store.records(PROJECTIONS)
        return _pointer(found[0]) if found else None

    def move_pointer(self, seen: Pointer | None, to: Pointer) -> bool:
        """Replaces the pointer that was seen; False when it has changed since."""
        record = {"projection": self._read_model.name, **_pointer_fields(to)}
        return self._store.replace(PROJECTIONS, record, 0 if seen is None else seen.revision)

    def generations(self) -> list[Generation]:
        """All generations by number, dropped ones too."""
        found = [_generation(record) for record in self._store.records(GENERATIONS)]
        return sorted(found, key=lambda each: each.number)

    def generation(self, number: int) -> Generation:
        """One generation. Raises NoSuchGeneration."""
        for each in self.generations():
            if each.number == number:
                return each
        raise NoSuchGeneration(f"{self._read_model.name} has no generation {number}")

    def add(self, generation: Generation) -> bool:
        """Writes a new generation's record; False when its number is taken."""
        return self._store.replace(GENERATIONS, self._record(generation), 0)

    def change(self, number: int, change: Callable[[Generation], Generation]) -> Generation:
        """Applies a pure change to a generation's record, again if another writer was faster.

        Raises NoSuchGeneration, and whatever `change` raises to refuse.
        """
        while True:
            seen = self.generation(number)
            wanted = change(seen)
            if wanted == seen:
                return seen
            if self._store.replace(GENERATIONS, self._record(wanted), seen.revision):
                return replace(wanted, revision=seen.revision + 1)

    def _record(self, generation: Generation) -> StateRecord:
        return {
            "projection": self._read_model.name,
            "generation": generation.number,
            "fold_version": generation.fold_version,
            "consumer_group": self._read_model.consumer_group(generation.number),
            "state": generation.state,
            "partitions": dict(generation.partitions),
            "layout": dict(generation.layout),
            "rebuild": None if generation.rebuild is None else dict(generation.rebuild),
            "created_at": times.to_text(generation.created_at),
        }


def place(at: TopicPartition) -> str:
    """A partition as it is named in records: `order-events/3`."""
    return f"{at.topic}/{at.partition}"


def new_generation(
    projection: Projection,
    number: int,
    partitions: Mapping[str, int],
    state: GenerationState,
    rebuild: Mapping[str, Any] | None = None,
) -> Generation:
    """A generation's record before it is written."""
    return Generation(
        number=number,
        fold_version=projection.fold_version,
        state=state,
        partitions=partitions,
        layout=layout_of(projection.read_model),
        rebuild=rebuild,
        created_at=datetime.now(UTC),
    )


def layout_of(model: ReadModel) -> dict[str, Any]:
    """What a read model declares, as a generation remembers it: later code may declare it otherwise."""
    return dict(msgspec.to_builtins(model))


def pinned(projection: Projection, generation: Generation) -> Projection:
    """The projection with the layout that a generation was made with, to read that generation by."""
    return replace(projection, read_model=msgspec.convert(generation.layout, ReadModel))


def ensure_first(
    registry: Registry, store: Store, projection: Projection, partitions: Mapping[str, int]
) -> None:
    """Makes generation 1 where the projection has none, and points readers to it. Safe to run twice
    at once. `store` must be bound to generation 1.
    """
    if registry.pointer() is not None:
        return
    registry.add(new_generation(projection, FIRST_GENERATION, partitions, "following"))
    store.create()
    registry.move_pointer(None, Pointer(active=FIRST_GENERATION))


def admit(registry: Registry, projection: Projection, number: int) -> Generation:
    """The generation, if this code may write it. Raises NoSuchGeneration or FoldVersionMismatch."""
    found = registry.generation(number)
    name = projection.read_model.name
    if found.state == "dropped":
        raise NoSuchGeneration(f"{name} generation {number} was dropped")
    if found.fold_version != projection.fold_version:
        raise FoldVersionMismatch(
            f"{name} generation {number} has fold version {found.fold_version}, "
            f"this code {projection.fold_version}"
        )
    return found


def _pointer(record: StateRecord) -> Pointer:
    flipped_at = record["flipped_at"]
    return Pointer(
        active=record["active_generation"],
        previous=record["previous_generation"],
        flipped_at=None if flipped_at is None else times.from_text(flipped_at),
        hold=None if record["hold"] is None else _hold(record["hold"]),
        revision=record["revision"],
    )


def _pointer_fields(pointer: Pointer) -> StateRecord:
    flipped_at = pointer.flipped_at
    return {
        "active_generation": pointer.active,
        "previous_generation": pointer.previous,
        "flipped_at": None if flipped_at is None else times.to_text(flipped_at),
        "hold": None if pointer.hold is None else _texted(asdict(pointer.hold)),
    }


def _texted(hold: dict[str, Any]) -> dict[str, Any]:
    """JSON has text keys only."""
    return {
        **hold,
        "limits": {str(number): offsets for number, offsets in hold["limits"].items()},
        "acks": {str(number): offsets for number, offsets in hold["acks"].items()},
    }


def _hold(fields: Mapping[str, Any]) -> Hold:
    return Hold(
        operation=fields["operation"],
        limits={int(number): offsets for number, offsets in fields["limits"].items()},
        acks={int(number): offsets for number, offsets in fields["acks"].items()},
    )


def _generation(record: StateRecord) -> Generation:
    return Generation(
        number=record["generation"],
        fold_version=record["fold_version"],
        state=record["state"],
        partitions=record["partitions"],
        layout=record["layout"],
        rebuild=record["rebuild"],
        created_at=times.from_text(record["created_at"]),
        revision=record["revision"],
    )
