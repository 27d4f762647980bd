"""Harm to a projector, its store and its broker: the documents end exact every time."""

import os
import signal
from typing import Any

import pytest
from integration.projector.projecting import Domain
from integration.projector.test_projector import orders
from support.eventually import eventually
from support.order_events import LIFE, customer, numbered

from foldline_contracts.codec import Event
from foldline_local.testing import RunningStack
from foldline_projector.engine.consumer import _Assignment
from foldline_projector.engine.crash import COMMIT_POINTS
from foldline_projector.engine.kafka import group_consumer

pytestmark = pytest.mark.integration


def piece(number: int) -> list[Event]:
    """A new name of the customer between orders: its commit passes every point, however it is polled."""
    names = customer("c1", "Ada", "Eve", "Bob", "Kim")
    return [*orders(5, f"a{number}-"), names[number], *orders(5, f"b{number}-")]


def everything() -> list[Event]:
    """Orders in between the names of their customer."""
    names = customer("c1", "Ada", "Eve", "Bob")
    return [names[0], *orders(20), names[1], *orders(20, "p"), names[2]]


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_a_kill_at_any_point_of_a_commit_is_repeated_to_the_same_end(
    domain: Domain, point: str, nth: int
) -> None:
    killed = domain.start(CRASH_AT=f"{point}:{nth}")
    for number in range(nth + 1):  # one after the other, so that each point is passed as often
        domain.produce(piece(number))
        eventually(lambda: killed.popen.poll() is not None or domain.is_exact(), within=60)
    assert killed.ended(within=60) == -signal.SIGKILL
    domain.start()
    domain.become_exact()


def test_redelivery_changes_nothing(domain: Domain) -> None:
    events = everything()
    domain.produce(events, again=len(events))
    process = domain.start()
    domain.become_exact()
    assert process.stop() == 0
    before = domain.documents()
    domain.query("UPDATE foldline_positions SET position = 0 WHERE projection = %s", domain.name)
    domain.start()
    eventually(
        lambda: all(each["position"] == each["end"] for each in domain.positions().values()),
        within=60,
    )
    assert domain.documents() == before


def test_a_position_that_somebody_moves_under_a_running_process_fences_it(domain: Domain) -> None:
    domain.produce(orders(10))
    process = domain.start()
    domain.become_exact()
    domain.query("UPDATE foldline_positions SET position = 0 WHERE projection = %s", domain.name)
    domain.produce(orders(10, "late"))
    eventually(lambda: '"fenced"' in process.text(), within=30)
    domain.become_exact(within=60)
    assert process.popen.poll() is None


def test_a_zombie_that_wakes_up_harms_nothing(domain: Domain) -> None:
    domain.produce([*customer("c1", "Ada"), *orders(20)])
    zombie = domain.start(ordinal=0)
    domain.become_exact()
    zombie.send(signal.SIGSTOP)
    domain.start(ordinal=1)
    domain.produce(orders(20, "p"))
    domain.become_exact(within=60)
    domain.produce([*orders(20, "q"), *customer("c1", "Ada", "Eve")[1:]])
    zombie.send(signal.SIGCONT)
    domain.produce(orders(20, "r"))
    domain.become_exact(within=60)


def test_a_twin_takes_over_and_the_older_one_goes(domain: Domain) -> None:
    domain.produce(orders(10))
    older = domain.start(ordinal=0)
    domain.become_exact()
    domain.start(ordinal=0)
    domain.produce(orders(10, "late"))
    domain.become_exact(within=60)
    assert older.ended(within=60) == 1


def test_a_member_that_was_killed_gets_its_own_partitions_back(domain: Domain) -> None:
    domain.produce(orders(10))
    domain.start(ordinal=0)
    victim = domain.start(ordinal=1)
    domain.become_exact()
    eventually(lambda: '"settled"' in victim.text(), within=30)
    victim.send(signal.SIGKILL)
    victim.ended(within=10)
    domain.produce(orders(30, "late"))
    domain.start(ordinal=1)
    domain.become_exact(within=30)


def test_a_store_that_is_away_is_waited_for(domain: Domain, stack: RunningStack) -> None:
    domain.produce(orders(10))
    process = domain.start()
    domain.become_exact()
    stack.stop("postgres")
    try:
        domain.produce(orders(10, "late"))
        eventually(lambda: process.text().count('"retry_later"') >= 5, within=90)
        assert process.popen.poll() is None
    finally:
        stack.start("postgres")
    domain.become_exact(within=60)
    domain.produce(numbered("last", LIFE))
    domain.become_exact(within=30)
    assert process.popen.poll() is None


def test_a_store_that_is_away_at_the_start_is_waited_for(
    domain: Domain, stack: RunningStack
) -> None:
    domain.produce(orders(5))
    stack.stop("postgres")
    try:
        process = domain.start()
        eventually(lambda: '"retry_later"' in process.text(), within=60)
    finally:
        stack.start("postgres")
    domain.become_exact(within=60)


def test_polling_a_broker_that_stands_still_does_not_spin(
    domain: Domain, stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat is overdue while its answer is; that must not end every wait at once."""
    kafka = {"bootstrap_servers": os.environ["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"]}
    consumer = group_consumer(kafka, f"group-{domain.id}", "member", 10, 100)
    consumer.subscribe([domain.orders], listener=_Assignment(consumer))
    eventually(lambda: consumer.poll(timeout_ms=100) == {} and consumer.assignment(), within=60)
    consumer.resume(*consumer.assignment())
    once, rounds = consumer._poll_once, []

    def counted(*args: Any, **named: Any) -> Any:
        rounds.append(args)
        return once(*args, **named)

    domain.disconnect()
    with stack.frozen("kafka"):
        consumer.poll(timeout_ms=1000)  # four heartbeats long
        monkeypatch.setattr(consumer, "_poll_once", counted)
        consumer.poll(timeout_ms=1000)
    consumer.close(timeout_ms=5000)
    domain.connect()
    assert 1 <= len(rounds) <= 10


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_broker_that_restarts_is_waited_for(
    domain: Domain, stack: RunningStack, number: int
) -> None:
    domain.produce(orders(10, "early"))
    process = domain.start()
    domain.become_exact()
    domain.disconnect()
    stack.kill("kafka", number)
    stack.wait_ready("kafka")
    domain.connect()
    domain.produce(everything())
    domain.become_exact(within=90)
    assert process.popen.poll() is None
