"""Points readers to another generation, so that none of them ever sees an older version than before.

The barrier (GUARANTEES 13): both generations are told to stand still, their owners say where, the one
that is behind is let go on to exactly there, and only then the pointer moves. Readers are served all
the while. The pointer and the hold are one record, so the flip is one conditional change of it: it
happens only if the hold still stands, and it ends the hold.

Failure: a flip that takes longer than `max_pause` is given up and the generations go on. Whoever dies
in here leaves a hold that the owners take away after `barrier.HOLD_SECONDS`. Flipping twice, or two at
once, is harmless: the second finds the pointer where it wants it, or the record changed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic, sleep
from uuid import uuid4

from foldline_projector.engine.crash import reach
from foldline_projector.engine.generations import Generation, Hold, Pointer, Registry, place
from foldline_projector.stores.port import Position, Store, TopicPartition

POLL_SECONDS = 0.01


class NotFlipped(Exception):
    """Readers were not pointed elsewhere; the message says why. Nothing has changed."""


@dataclass(frozen=True, slots=True)
class Side:
    """A generation and a store that is bound to it."""

    generation: Generation
    store: Store

    @property
    def number(self) -> int:
        """The generation's number."""
        return self.generation.number


@dataclass(frozen=True, slots=True)
class Flip:
    """What a flip was."""

    active: int
    previous: int
    #: How long the generation that readers read stood still.
    pause_seconds: float


def flip(
    registry: Registry,
    old: Side,
    new: Side,
    max_pause: float,
    *,
    previous: int | None,
    judge: Callable[[], None] = lambda: None,
) -> Flip:
    """Points readers from `old` to `new`. Raises NotFlipped, and whatever `judge` raises.

    `previous`: where a rollback will lead. `judge` is called when both generations stand at the same
    events, to refuse at the last moment.
    """
    with _held(registry, old, new) as barrier:
        deadline = barrier.began + max_pause
        barrier.align(deadline)
        barrier.await_watermarks(deadline)
        judge()
        reach("before_flip")
        barrier.flip(previous)
    reach("after_flip")
    return Flip(new.number, old.number, monotonic() - barrier.began)


@contextmanager
def _held(registry: Registry, old: Side, new: Side) -> Iterator["_Barrier"]:
    barrier = _Barrier(registry, old, new)
    barrier.hold()
    try:
        yield barrier
    finally:
        barrier.release()


class _Barrier:
    """One hold from its beginning to its end."""

    def __init__(self, registry: Registry, old: Side, new: Side) -> None:
        self._registry = registry
        self._old, self._new = old, new
        self._operation = str(uuid4())
        self.began = 0.0

    def hold(self) -> None:
        """Tells both generations to stand still."""
        pointer = self._registry.pointer()
        if pointer is None or pointer.active != self._old.number:
            raise NotFlipped(f"readers do not read generation {self._old.number} any more")
        if pointer.hold is not None:
            raise NotFlipped("another flip is going on")
        hold = Hold(operation=self._operation, limits={self._old.number: {}, self._new.number: {}})
        if not self._registry.move_pointer(pointer, replace(pointer, hold=hold)):
            raise NotFlipped("the pointer has just been changed by another process")
        self.began = monotonic()

    def align(self, deadline: float) -> None:
        """Waits until both stand at the same offset of every partition that both consume."""
        sides = (self._old, self._new)
        stood = {side.number: self._await(side, {}, deadline) for side in sides}
        ours, theirs = (stood[side.number] for side in sides)
        limits = {at: max(ours[at], theirs[at]) for at in ours.keys() & theirs.keys()}
        self._limit({side.number: {**stood[side.number], **limits} for side in sides})
        for side in sides:
            self._await(side, limits, deadline)

    def _await(self, side: Side, limits: Mapping[str, int], deadline: float) -> dict[str, int]:
        """The acknowledgements of all partitions of a side, each at its limit where it has one."""
        wanted = [place(at) for at in side.generation.places()]
        while True:
            acks = self._mine().acks.get(side.number, {})
            waiting = [
                at for at in wanted if at not in acks or acks[at] != limits.get(at, acks[at])
            ]
            if not waiting:
                return {at: acks[at] for at in wanted}
            if monotonic() > deadline:
                raise NotFlipped(
                    f"generation {side.number} did not come to a stand in time"
                    f" ({', '.join(waiting)}): is its projector running?"
                )
            sleep(POLL_SECONDS)

    def _limit(self, limits: Mapping[int, Mapping[str, int]]) -> None:
        while True:
            pointer = self._held()
            assert pointer.hold is not None
            hold = replace(pointer.hold, limits=limits)
            if self._registry.move_pointer(pointer, replace(pointer, hold=hold)):
                return

    def await_watermarks(self, deadline: float) -> None:
        """Waits until the new generation's `asOf` is nowhere older than what readers were told."""
        while behind := _older(self._new.store.positions(), self._old.store.positions()):
            if monotonic() > deadline:
                names = ", ".join(place(at) for at in behind)
                raise NotFlipped(f"the watermarks of {names} are older than those readers know")
            sleep(POLL_SECONDS)

    def flip(self, previous: int | None) -> None:
        """Moves the pointer and ends the hold, in one change."""
        while True:
            pointer = self._held()
            flipped = replace(
                pointer,
                active=self._new.number,
                previous=previous,
                flipped_at=datetime.now(UTC),
                hold=None,
            )
            if self._registry.move_pointer(pointer, flipped):
                return

    def release(self) -> None:
        """Takes the hold away, if it still stands."""
        while True:
            pointer = self._registry.pointer()
            if pointer is None or not self._is_mine(pointer.hold):
                return
            if self._registry.move_pointer(pointer, replace(pointer, hold=None)):
                return

    def _mine(self) -> Hold:
        hold = self._held().hold
        assert hold is not None
        return hold

    def _held(self) -> Pointer:
        """The pointer with our hold. Raises NotFlipped when it was taken away."""
        pointer = self._registry.pointer()
        if pointer is None or not self._is_mine(pointer.hold):
            raise NotFlipped("the hold was taken away: the flip took too long")
        return pointer

    def _is_mine(self, hold: Hold | None) -> bool:
        return hold is not None and hold.operation == self._operation


def _older(
    new: Mapping[TopicPartition, Position], old: Mapping[TopicPartition, Position]
) -> list[TopicPartition]:
    return [
        at
        for at, position in old.items()
        if at in new
        and position.as_of is not None
        and (new[at].as_of is None or new[at].as_of < position.as_of)  # type: ignore[operator]
    ]


def point_at_once(registry: Registry, old: int, new: int, *, previous: int | None) -> None:
    """Points readers to `new` without a barrier: they may see older versions than before."""
    pointer = registry.pointer()
    if pointer is None or pointer.active != old:
        raise NotFlipped(f"readers do not read generation {old} any more")
    flipped = replace(
        pointer, active=new, previous=previous, flipped_at=datetime.now(UTC), hold=None
    )
    if not registry.move_pointer(pointer, flipped):
        raise NotFlipped("the pointer has just been changed by another process")
