"""Generations and the barrier of a flip, on the memory store with owners as threads."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event, Thread

import pytest

from foldline_projector.engine import barrier as barriers
from foldline_projector.engine.barrier import Barrier
from foldline_projector.engine.generations import (
    FoldVersionMismatch,
    Hold,
    NoSuchGeneration,
    Pointer,
    Registry,
    admit,
    ensure_first,
    new_generation,
    pinned,
    place,
)
from foldline_projector.orders import summaries
from foldline_projector.rebuild.switch import NotFlipped, Side, flip, point_at_once
from foldline_projector.stores.memory import Memory, MemoryStore
from foldline_projector.stores.port import Batch, Move, Position, TopicPartition

PROJECTION = summaries.PROJECTION
MODEL = PROJECTION.read_model
PARTITIONS = {"order-events": 2, "customer-events": 1}
PLACES = [
    TopicPartition("customer-events", 0),
    *(TopicPartition("order-events", n) for n in (0, 1)),
]
MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


class World:
    """Two generations of one projection, and owners that follow a log of any length."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.registry = Registry(self.store(1), MODEL)
        ensure_first(self.registry, self.store(1), PROJECTION, PARTITIONS)
        self.registry.add(new_generation(PROJECTION, 2, PARTITIONS, "following", {}))

    def store(self, generation: int) -> MemoryStore:
        return MemoryStore(MODEL, generation, self.memory)

    def side(self, number: int) -> Side:
        return Side(self.registry.generation(number), self.store(number))

    def flip(self, max_pause: float = 5.0, **more: object) -> object:
        return flip(  # type: ignore[arg-type]
            self.registry, self.side(1), self.side(2), max_pause, previous=1, **more
        )

    @contextmanager
    def owned(self, generation: int, at: Mapping[TopicPartition, int]) -> Iterator["Owner"]:
        owner = Owner(self, generation, dict(at))
        thread = Thread(target=owner.run)
        thread.start()
        try:
            yield owner
        finally:
            owner.stop.set()
            thread.join()


class Owner:
    """Moves its partitions on without end, as far as the barrier lets it."""

    def __init__(self, world: World, generation: int, offsets: dict[TopicPartition, int]) -> None:
        self.stop = Event()
        self.offsets = offsets
        self.barrier = Barrier(Registry(world.store(generation), MODEL), generation)
        self.store = world.store(generation)

    def run(self) -> None:
        self.store.save(
            Batch(moves={at: Move(None, self._position(n)) for at, n in self.offsets.items()})
        )
        while not self.stop.wait(0.001):
            for at, offset in self.offsets.items():
                limit = self.barrier.limit(at)
                if limit is None or offset < limit:
                    moves = {at: Move(offset, self._position(offset + 1))}
                    self.store.save(Batch(moves=moves))
                    self.offsets[at] = offset + 1
            self.barrier.follow(dict(self.offsets))

    def _position(self, offset: int) -> Position:
        return Position(offset=offset, end=offset, as_of=MOMENT)


def test_the_first_generation_is_made_once() -> None:
    memory = Memory()
    registry = Registry(MemoryStore(MODEL, 1, memory), MODEL)

    def make() -> None:
        ensure_first(registry, MemoryStore(MODEL, 1, memory), PROJECTION, PARTITIONS)

    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(make) for _ in range(4)]:
            job.result()
    pointer = registry.pointer()
    assert pointer is not None
    assert (pointer.active, pointer.previous, pointer.revision) == (1, None, 1)
    assert [(each.number, each.state) for each in registry.generations()] == [(1, "following")]


def test_a_first_generation_that_lost_its_pointer_to_a_crash_gets_it() -> None:
    store = MemoryStore(MODEL, 1, Memory())
    registry = Registry(store, MODEL)
    registry.add(new_generation(PROJECTION, 1, PARTITIONS, "following"))
    ensure_first(registry, store, PROJECTION, PARTITIONS)
    assert registry.pointer() is not None


def test_a_generation_is_pinned_to_its_fold_version_and_layout() -> None:
    world = World()
    other = replace(PROJECTION, fold_version=2, read_model=replace(MODEL, primary_columns=()))
    with pytest.raises(FoldVersionMismatch):
        admit(world.registry, other, 1)
    assert pinned(other, world.registry.generation(1)).read_model == MODEL


def test_a_dropped_generation_is_not_written() -> None:
    world = World()
    world.registry.change(2, lambda each: replace(each, state="dropped"))
    with pytest.raises(NoSuchGeneration):
        admit(world.registry, PROJECTION, 2)
    with pytest.raises(NoSuchGeneration):
        admit(world.registry, PROJECTION, 3)


def test_changes_at_once_are_all_kept() -> None:
    world = World()

    def count() -> None:
        for _ in range(50):
            world.registry.change(
                2, lambda each: replace(each, rebuild={"n": (each.rebuild or {}).get("n", 0) + 1})
            )

    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(count) for _ in range(4)]:
            job.result()
    assert world.registry.generation(2).rebuild == {"n": 200}


def test_a_pointer_and_its_hold_come_back_as_written() -> None:
    world = World()
    seen = world.registry.pointer()
    hold = Hold(operation="a", limits={1: {"order-events/0": 3}, 2: {}}, acks={1: {"x/0": 1}})
    wanted = Pointer(active=2, previous=1, flipped_at=MOMENT, hold=hold)
    assert world.registry.move_pointer(seen, wanted)
    assert not world.registry.move_pointer(seen, wanted)
    assert world.registry.pointer() == replace(wanted, revision=2)


@pytest.mark.parametrize("ahead", [-40, 0, 40])
def test_a_flip_finds_both_generations_at_the_same_events(ahead: int) -> None:
    world = World()
    seen: list[dict[TopicPartition, int]] = []

    def judge() -> None:
        for number in (1, 2):
            positions = world.store(number).positions()
            seen.append({at: each.offset for at, each in positions.items()})

    starts = {at: 100 + 10 * number for number, at in enumerate(PLACES)}
    with (
        world.owned(1, starts) as old,
        world.owned(2, {at: offset + ahead for at, offset in starts.items()}) as new,
    ):
        world.flip(judge=judge)
        pointer = world.registry.pointer()
        assert pointer is not None
        assert (pointer.active, pointer.previous, pointer.hold) == (2, 1, None)
        assert pointer.flipped_at is not None
        before = dict(old.offsets)
        _until_moved(old, before)
        _until_moved(new, before)
    assert seen[0] == seen[1]
    assert seen[0].keys() == set(PLACES)


def _until_moved(owner: Owner, before: Mapping[TopicPartition, int]) -> None:
    """Both go on after the flip; the test's time-out is the bound."""
    while any(owner.offsets[at] <= offset for at, offset in before.items()):
        Event().wait(0.001)


def test_a_flip_without_an_owner_changes_nothing() -> None:
    world = World()
    with (
        world.owned(1, dict.fromkeys(PLACES, 5)),
        world.owned(2, dict.fromkeys(PLACES[:2], 5)),
        pytest.raises(NotFlipped, match=place(PLACES[2])),
    ):
        world.flip(max_pause=0.8)
    pointer = world.registry.pointer()
    assert pointer is not None
    assert (pointer.active, pointer.hold) == (1, None)


def test_a_refusal_at_the_barrier_lets_both_go_on() -> None:
    world = World()

    def refuse() -> None:
        raise RuntimeError("differs")

    starts = dict.fromkeys(PLACES, 5)
    with world.owned(1, starts) as old, world.owned(2, starts):
        with pytest.raises(RuntimeError, match="differs"):
            world.flip(judge=refuse)
        _until_moved(old, dict(old.offsets))
    pointer = world.registry.pointer()
    assert pointer is not None
    assert (pointer.active, pointer.hold) == (1, None)


def test_an_older_watermark_is_waited_for() -> None:
    world = World()
    starts = dict.fromkeys(PLACES, 5)
    with world.owned(1, starts), world.owned(2, starts) as new:
        new._position = lambda offset: Position(offset=offset, end=offset)  # type: ignore[method-assign]
        _until_moved(new, dict(new.offsets))
        with pytest.raises(NotFlipped, match="watermarks"):
            world.flip(max_pause=0.5)


def test_two_flips_at_once_are_one() -> None:
    world = World()
    starts = dict.fromkeys(PLACES, 5)

    def attempt() -> bool:
        try:
            world.flip()
        except NotFlipped:
            return False
        return True

    with world.owned(1, starts), world.owned(2, starts), ThreadPoolExecutor(3) as pool:
        done = [job.result() for job in [pool.submit(attempt) for _ in range(3)]]
    assert done.count(True) == 1
    pointer = world.registry.pointer()
    assert pointer is not None
    assert (pointer.active, pointer.hold) == (2, None)


def test_a_hold_that_nobody_ends_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barriers, "HOLD_SECONDS", 0.2)
    world = World()
    seen = world.registry.pointer()
    assert seen is not None
    abandoned = Hold(operation="dead", limits={1: {}, 2: {}})
    assert world.registry.move_pointer(seen, replace(seen, hold=abandoned))
    with world.owned(1, dict.fromkeys(PLACES, 5)) as old:
        _until_moved(old, dict.fromkeys(PLACES, 20))
    pointer = world.registry.pointer()
    assert pointer is not None
    assert pointer.hold is None


def test_a_holder_that_was_given_up_cannot_flip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barriers, "HOLD_SECONDS", 0.2)
    world = World()
    starts = dict.fromkeys(PLACES, 5)
    with world.owned(1, starts) as old, world.owned(2, starts):

        def oversleep() -> None:
            _until_moved(old, {at: offset + 5 for at, offset in old.offsets.items()})

        with pytest.raises(NotFlipped, match="took too long"):
            world.flip(judge=oversleep)
    pointer = world.registry.pointer()
    assert pointer is not None
    assert pointer.active == 1


def test_pointing_at_once_needs_the_generation_it_was_decided_by() -> None:
    world = World()
    point_at_once(world.registry, 1, 2, previous=None)
    with pytest.raises(NotFlipped):
        point_at_once(world.registry, 1, 2, previous=None)
    pointer = world.registry.pointer()
    assert pointer is not None
    assert (pointer.active, pointer.previous) == (2, None)
