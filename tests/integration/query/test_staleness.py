"""What makes an answer stale, in the stores where it is known."""

from datetime import UTC, datetime, timedelta

import pytest

from foldline_projector.stores.port import Batch, Position, TopicPartition

from .conftest import World, caught_up
from .rows import DOCUMENTS, detail, parked
from .test_reads import PATHS

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", PATHS)
def test_a_partition_without_a_position_is_unknown(world: World, name: str) -> None:
    store = world.store(name)
    store.save(Batch(documents=[DOCUMENTS[name]("o1")]))
    world.place(name, TopicPartition("order-events", 0), caught_up())
    answer = world.get(PATHS[name])
    freshness = answer.json["freshness"]
    assert freshness["asOf"] is None
    assert freshness["stale"] is True
    assert freshness["reason"] == "unknown"
    assert freshness["lagSeconds"] is None
    assert answer.headers["Foldline-As-Of"] == "unknown"


@pytest.mark.parametrize("name", PATHS)
def test_events_that_wait_make_the_answer_stale(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1"))
    now = datetime.now(UTC)
    behind = Position(
        offset=0, end=3, oldest_recorded_at=now - timedelta(seconds=4), as_of=now, incarnation=1
    )
    world.place(name, TopicPartition("order-events", 0), behind)
    freshness = world.get(PATHS[name]).json["freshness"]
    assert freshness["reason"] == "behind"
    assert 4 <= freshness["lagSeconds"] < 10


@pytest.mark.parametrize("name", PATHS)
def test_an_old_watermark_makes_the_answer_stale(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1"))
    old = datetime.now(UTC) - timedelta(seconds=60)
    position = Position(offset=0, end=0, as_of=old, incarnation=1)
    world.place(name, TopicPartition("order-events", 0), position)
    freshness = world.get(PATHS[name]).json["freshness"]
    assert freshness["reason"] == "old"
    assert freshness["asOf"] == old.isoformat().replace("+00:00", "Z")
    assert freshness["lagSeconds"] >= 60


@pytest.mark.parametrize("name", PATHS)
def test_parked_aggregates_are_counted_and_not_fresh(world: World, name: str) -> None:
    world.write(
        name,
        DOCUMENTS[name]("o1"),
        parked=(parked("o1", 100), parked("o1", 101, reason="blocked"), parked("o9", 102)),
    )
    answer = world.get(PATHS[name])
    assert answer.json["freshness"]["parked"] == 2
    assert answer.json["freshness"]["reason"] == "parked"
    assert answer.headers["Foldline-Stale"] == "true"
    at = TopicPartition("order-events", 0)
    world.save(name, Batch(released=[(at, 100), (at, 101), (at, 102)]))
    assert world.get(PATHS[name]).json["freshness"] == {
        **world.get(PATHS[name]).json["freshness"],
        "stale": False,
        "parked": 0,
    }


def test_an_order_is_stale_for_its_own_reasons_only(world: World) -> None:
    world.write("order-details", detail("o1"), detail("o2"), parked=(parked("o2"),))
    assert world.get("/orders/o1").json["stale"] is False
    assert world.get("/orders/o1").json["freshness"]["parked"] == 1
    other = world.get("/orders/o2").json
    assert other["stale"] is True
    assert other["staleReason"] == "parked"


def test_an_order_of_a_parked_customer_is_stale(world: World) -> None:
    world.write(
        "order-details",
        detail("o1"),
        detail("o2", customerId="c2"),
        parked=(parked("c1", kind="customers"),),
    )
    assert world.get("/orders/o1").json["staleReason"] == "parked"
    assert world.get("/orders/o2").json["stale"] is False


def test_a_parked_order_without_a_document_is_missing_and_stale(world: World) -> None:
    world.write("order-details", parked=(parked("o1"),))
    answer = world.get("/orders/o1")
    assert answer.status_code == 404
    assert answer.headers["Foldline-Stale"] == "true"


def test_an_order_does_not_wait_for_other_partitions(world: World) -> None:
    world.write("order-details", detail("o1"))
    behind = Position(offset=0, end=3, oldest_recorded_at=datetime.now(UTC), as_of=None)
    world.place("order-details", TopicPartition("order-events", 1), behind)
    assert world.get("/orders/o1").json["stale"] is False
    world.place("order-details", TopicPartition("order-events", 0), behind)
    assert world.get("/orders/o1").json["stale"] is True
