"""The engine on the memory store: what it remembers, forgets, and repeats after a failure."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.order_events import CANCELLED, LIFE, created, customer, item, numbered, wire

from foldline_contracts.codec import Event
from foldline_contracts.orders.events import ItemAdded
from foldline_projector.engine.engine import Engine
from foldline_projector.orders import details, summaries
from foldline_projector.projection import Projection
from foldline_projector.stores.memory import Memory, MemoryStore
from foldline_projector.stores.port import (
    Batch,
    Document,
    Fenced,
    Move,
    Position,
    Reference,
    RetryLater,
    TopicPartition,
)

ORDERS_0 = TopicPartition("order-events", 0)
CUSTOMERS_0 = TopicPartition("customer-events", 0)
PARTITIONS = {"order-events": 1, "customer-events": 1}


class Silent:
    """An observer that only counts."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        yield

    def count(self, outcome: Mapping[Any, int]) -> None:
        for name, number in outcome.items():
            self.counts[name] = self.counts.get(name, 0) + number


class Flaky(MemoryStore):
    """Fails at the n-th write, before or after it happened; 0 never fails."""

    fail_at = 0
    happened = False
    writes = 0

    def _maybe_fail(self) -> None:
        if self.writes == self.fail_at:
            raise RetryLater(0, "injected")

    def save(self, batch: Batch) -> None:
        self.writes += 1
        if not self.happened:
            self._maybe_fail()
        super().save(batch)
        if self.happened:
            self._maybe_fail()

    def patch_references(self, reference: Reference, limit: int) -> int:
        self.writes += 1
        self._maybe_fail()
        return super().patch_references(reference, limit)


class Topic:
    """A partition as a list; answers polls from any offset."""

    def __init__(self, at: TopicPartition) -> None:
        self.at = at
        self.records: list[SimpleNamespace] = []

    def add(self, *events: Event) -> None:
        for event in events:
            self.raw(event.subject.encode(), wire(event))

    def raw(self, key: bytes | None, value: bytes | None) -> None:
        offset = len(self.records)
        self.records.append(
            SimpleNamespace(key=key, value=value, offset=offset, timestamp=1000 + offset)
        )


class World:
    """One engine over one memory, with topics to read."""

    def __init__(self, projection: Projection = summaries.PROJECTION) -> None:
        self.projection = projection
        self.memory = Memory()
        self.orders, self.customers = Topic(ORDERS_0), Topic(CUSTOMERS_0)
        self.store = Flaky(projection.read_model, 1, self.memory)
        self.restart()

    def restart(self) -> None:
        self.observer = Silent()
        self.engine = Engine(self.projection, self.store, self.observer, cache_limit=100)
        self.engine.assign([ORDERS_0, CUSTOMERS_0])

    def read(self, most: int = 1000) -> bool:
        """One poll of both topics; whether there was anything."""
        polled = {}
        for topic in (self.orders, self.customers):
            position = self.engine.positions[topic.at]
            start = 0 if position is None else position.offset
            if batch := topic.records[start : start + most]:
                polled[topic.at] = batch
        if polled:
            self.engine.process(polled, {}, lambda _at, position: position)
        return bool(polled)

    def drain(self, most: int = 1000) -> None:
        while self.read(most):
            pass

    def documents(self) -> dict[str, Document]:
        stored = self.memory.generations[self.projection.read_model.name, 1]
        return stored.documents

    def rewind(self, *partitions: TopicPartition, offset: int = 0) -> None:
        """Somebody set positions back."""
        stored = self.memory.generations[self.projection.read_model.name, 1].positions
        for at in partitions:
            stored[at] = replace(stored[at], offset=offset)


def body(world: World, key: str = "o1") -> Any:
    section = world.documents()[key].primary
    assert section is not None
    return section.body


def test_a_poll_becomes_documents_and_positions() -> None:
    world = World()
    world.orders.add(*numbered("o1", LIFE))
    world.drain()
    assert body(world)["status"] == "DELIVERED"
    position = world.store.positions()[ORDERS_0]
    assert (position.offset, position.end, position.oldest_recorded_at) == (10, 10, None)
    assert position.recorded_at is not None
    assert position.recorded_at.timestamp() == 1.009
    assert world.observer.counts == {"applied": 10}


def test_a_position_behind_the_end_says_since_when() -> None:
    world = World()
    world.orders.add(*numbered("o1", LIFE))
    batch = {ORDERS_0: world.orders.records[:4]}
    world.engine.process(batch, {ORDERS_0: 10}, lambda _at, position: position)
    position = world.store.positions()[ORDERS_0]
    assert (position.offset, position.end) == (4, 10)
    assert position.oldest_recorded_at == position.recorded_at


def test_a_restart_goes_on_where_it_was() -> None:
    world = World()
    world.orders.add(*numbered("o1", LIFE))
    world.read(most=4)
    world.restart()
    world.drain(most=3)
    assert body(world)["status"] == "DELIVERED"
    assert world.observer.counts == {"applied": 6}


def test_redelivery_from_the_beginning_changes_nothing() -> None:
    world = World()
    world.orders.add(*numbered("o1", LIFE))
    world.customers.add(*customer("c1", "Ada", "Eve"))
    world.drain()
    before = dict(world.documents())
    world.rewind(ORDERS_0, CUSTOMERS_0)
    world.restart()
    world.drain(most=1)
    assert world.documents() == before
    assert world.observer.counts == {"duplicate": 12}


@pytest.mark.parametrize("customers_first", [True, False])
def test_a_customer_reaches_orders_before_and_after_them(customers_first: bool) -> None:
    world = World()
    names, orders = customer("c1", "Ada", "Eve"), numbered("o1", LIFE[:3])
    for number in range(2):
        if (number == 0) is customers_first:
            world.customers.add(*names)
        else:
            world.orders.add(*orders)
        world.drain()
    reference = world.documents()["o1"].reference
    assert reference is not None
    assert (reference.version, reference.body) == (2, {"name": "Eve"})
    assert world.store.load_references(["c1"])["c1"].fanned_out_version == 2


def test_an_order_keeps_its_customer_over_later_events() -> None:
    world = World()
    world.customers.add(*customer("c1", "Ada"))
    world.orders.add(*numbered("o1", LIFE))
    world.drain(most=1)
    reference = world.documents()["o1"].reference
    assert reference is not None
    assert reference.body == {"name": "Ada"}


@pytest.mark.parametrize("happened", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fail_at", range(1, 8))
def test_a_failure_at_any_write_is_repeated_to_the_same_end(fail_at: int, happened: bool) -> None:
    def fill(world: World) -> None:
        world.customers.add(*customer("c1", "Ada", "Eve"))
        world.orders.add(*numbered("o1", LIFE), *numbered("o2", CANCELLED))

    calm = World()
    fill(calm)
    calm.drain(most=5)
    world = World()
    fill(world)
    world.store.fail_at, world.store.happened = fail_at, happened
    for _ in range(10):
        try:
            world.drain(most=5)
            break
        except RetryLater:
            world.engine.forget()
            world.engine.assign([ORDERS_0, CUSTOMERS_0])
    assert world.documents() == calm.documents()
    assert world.store.positions() == calm.store.positions()
    assert world.store.load_references(["c1"]) == calm.store.load_references(["c1"])


def test_two_owners_fence_each_other_and_end_exact() -> None:
    world = World()
    zombie = Engine(world.projection, world.store, Silent(), cache_limit=100)
    zombie.assign([ORDERS_0, CUSTOMERS_0])
    world.orders.add(*numbered("o1", LIFE))
    world.drain(most=4)
    with pytest.raises(Fenced):
        zombie.process({ORDERS_0: world.orders.records[:6]}, {}, lambda _at, position: position)
    zombie.forget()
    position = zombie.assign([ORDERS_0])[ORDERS_0]
    assert position is not None
    assert position.offset == 10
    assert body(world)["status"] == "DELIVERED"


def test_before_a_gap_is_declared_the_document_is_read_again() -> None:
    """The cache is behind: another owner applied version 5 and the partition came back."""
    world = World()
    events = numbered("o1", LIFE)
    world.orders.add(*events[:4])
    world.drain()
    ahead = World()
    ahead.orders.add(*events[:5])
    ahead.drain()
    world.documents()["o1"] = ahead.documents()["o1"]
    world.orders.add(events[5])
    world.drain()
    assert body(world)["status"] == "SUBMITTED"
    assert world.store.parked([ORDERS_0]) == []


def test_parked_events_survive_a_restart_and_drain() -> None:
    world = World()
    events = numbered("o1", LIFE)
    world.orders.add(events[0], *events[2:])
    world.drain()
    assert len(world.store.parked([ORDERS_0])) == 8
    assert world.engine.parked_aggregates == 1
    world.restart()
    assert world.engine.parked_aggregates == 1
    world.orders.add(events[1])
    world.drain()
    assert body(world)["status"] == "DELIVERED"
    assert world.store.parked([ORDERS_0]) == []
    assert world.engine.parked_aggregates == 0


@pytest.mark.parametrize(
    ("key", "value", "detail"),
    [
        (b"o1", b"{not json", "JSON is malformed"),
        (b"o1", None, "no value"),
        (b"o2", wire(numbered("o1", LIFE)[0]), "the key is not the subject"),
        (None, wire(numbered("o1", LIFE)[0]), "the key is not the subject"),
    ],
)
def test_what_is_not_an_event_of_its_key_is_parked(
    key: bytes | None, value: bytes | None, detail: str
) -> None:
    world = World()
    world.orders.raw(key, value)
    world.orders.add(*numbered("o3", LIFE))
    world.drain()
    (parked,) = world.store.parked([ORDERS_0])
    assert parked.reason == "undecodable"
    assert detail in parked.detail
    assert parked.aggregate_id == (key or b"").decode()
    assert body(world, "o3")["status"] == "DELIVERED"


def test_a_revoked_partition_leaves_nothing_behind() -> None:
    world = World()
    events = numbered("o1", LIFE)
    world.orders.add(events[0], events[2])
    world.drain()
    world.engine.revoke([ORDERS_0])
    assert world.engine.parked_aggregates == 0
    assert ORDERS_0 not in world.engine.positions


def test_a_mark_moves_no_offset() -> None:
    world = World()
    world.orders.add(*numbered("o1", LIFE))
    world.drain()
    position = world.engine.positions[ORDERS_0]
    assert position is not None
    world.engine.mark({ORDERS_0: replace(position, end=12), CUSTOMERS_0: Position(offset=0, end=0)})
    assert world.store.positions()[ORDERS_0].end == 12
    assert world.store.positions()[CUSTOMERS_0] == Position(offset=0, end=0)
    with pytest.raises(Fenced):
        world.store.save(Batch(moves={ORDERS_0: Move(9, position)}))


def interleaved(streams: list[list[Event]], random: Random) -> list[Event]:
    """Any interleaving that keeps each stream's order."""
    queues = [list(stream) for stream in streams]
    merged = []
    while any(queues):
        queue = random.choice([each for each in queues if each])
        merged.append(queue.pop(0))
    return merged


lives = st.sampled_from(
    [
        list(LIFE),
        list(CANCELLED),
        [created(item(), customer="c2"), ItemAdded(item=item("p2")), ItemAdded(item=item())],
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    payloads=st.lists(lives, min_size=1, max_size=4),
    names=st.lists(st.sampled_from(["Ada", "Eve", "Bob"]), max_size=4),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    rewinds=st.lists(st.integers(0, 12), max_size=3),
    repeats=st.integers(0, 10),
    shuffled=st.booleans(),
    random=st.randoms(use_true_random=False),
)
@pytest.mark.parametrize("projection", [summaries.PROJECTION, details.PROJECTION])
def test_any_interleaving_and_redelivery_folds_to_the_same_documents(
    projection: Projection,
    payloads: list[list[Any]],
    names: list[str],
    sizes: list[int],
    rewinds: list[int],
    repeats: int,
    shuffled: bool,
    random: Random,
) -> None:
    streams = [numbered(f"o{number}", life) for number, life in enumerate(payloads)]
    plain = World(projection)
    for stream in streams:
        plain.orders.add(*stream)
    plain.customers.add(*customer("c1", *names))
    plain.drain()

    world = World(projection)
    events = interleaved(streams, random)
    events += random.choices(events, k=repeats)
    if shuffled:
        random.shuffle(events)
    world.orders.add(*events)
    names_events = customer("c1", *names)
    if shuffled:
        random.shuffle(names_events)
    world.customers.add(*names_events)
    for offset in [*rewinds, None]:
        for size in sizes:
            world.read(most=size)
        if offset is not None:
            stored = world.store.positions()
            if ORDERS_0 in stored and stored[ORDERS_0].offset > offset:
                world.rewind(ORDERS_0, offset=offset)
                world.restart()
    world.drain(most=sizes[0])
    assert world.documents() == plain.documents()
    assert world.store.parked([ORDERS_0, CUSTOMERS_0]) == []
