"""A projector on real Kafka and real PostgreSQL: it folds, shows itself and ends in good order."""

import json
import socket
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from integration.projector.projecting import PARTITIONS, Domain
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata
from support.eventually import eventually
from support.order_events import CANCELLED, LIFE, created, customer, item, numbered, wire

from foldline_contracts.codec import Event
from foldline_contracts.watermark import Watermark

pytestmark = pytest.mark.integration

#: Makes the waits of a process for Kafka as long as its client allows, once it has settled.
LONG_WAITS = """
from foldline_projector.engine import consumer, kafka

kafka.FETCH_WAIT_MS = 29_000
settle = consumer.Loop._settle

def settle_then_wait_long(loop):
    settle(loop)
    consumer.POLL_MS = 29_000

consumer.Loop._settle = settle_then_wait_long
"""


def orders(count: int, prefix: str = "o", first: int = 0) -> list[Event]:
    """Whole lives of orders, event by event across all of them, as a busy shop writes them."""
    lives = [
        numbered(f"{prefix}{number}", LIFE if number % 3 else CANCELLED)
        for number in range(first, first + count)
    ]
    return [life[step] for step in range(len(LIFE)) for life in lives if step < len(life)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""
    except urllib.error.URLError:
        return 0, ""


def test_events_become_documents_and_sigterm_ends_it(domain: Domain) -> None:
    domain.produce([*customer("c1", "Ada"), *orders(30), *customer("c1", "Ada", "Eve")[1:]])
    port = free_port()
    process = domain.start(METRICS_PORT=str(port))
    domain.become_exact()
    eventually(lambda: fetch(port, "/readyz")[0] == 200, within=10)
    metrics = fetch(port, "/metrics")[1]
    applied = f'foldline_projection_events_total{{outcome="applied",projection="{domain.name}"}}'
    assert f"{applied} {len(orders(30)) + 2}.0" in metrics
    assert 'foldline_projection_lag_records{generation="1",partition="0",' in metrics
    assert process.stop() == 0
    assert '"stopped"' in process.text()


def test_what_arrives_is_not_kept_waiting(domain: Domain) -> None:
    """The waits of an idle projector are made longer than the test has patience: only an arrival ends them."""
    domain.amend(LONG_WAITS)
    domain.produce(orders(3))
    domain.start()
    domain.become_exact()
    for number in range(3):
        domain.produce(numbered(f"late{number}", [created(item())]))
        domain.become_exact(within=15)


def test_positions_tell_ends_and_kafka_has_them_too(domain: Domain) -> None:
    domain.produce(orders(12))
    process = domain.start()
    domain.become_exact()
    positions = domain.positions()
    admin = domain.admin()
    group = f"foldline.{domain.name}.g1"

    def is_committed() -> bool:
        committed = admin.list_group_offsets({group: None})[group]
        at = TopicPartition(domain.orders, 0)
        offset: OffsetAndMetadata | None = committed.get(at)  # nothing before the first commit
        return offset is not None and offset.offset == positions[domain.orders, 0]["position"]

    eventually(is_committed, within=10)
    admin.close()
    assert all(each["position"] == each["end"] for each in positions.values())
    assert process.stop() == 0


def test_a_watermark_marks_empty_partitions_and_waits_for_the_rest(domain: Domain) -> None:
    domain.produce(numbered("o1", [created(item())]))
    domain.start()
    domain.become_exact()
    first = datetime(2026, 3, 1, tzinfo=UTC)
    positions = domain.positions()
    ends = {
        topic: {
            str(number): positions.get((topic, number), {"position": 0})["position"]
            for number in range(PARTITIONS)
        }
        for topic in (domain.orders, domain.customers)
    }
    domain.watermark(Watermark(as_of=first, ends=ends, incarnation=1))

    def marked() -> set[datetime | None]:
        found = domain.positions()
        assert len(found) == 2 * PARTITIONS
        return {each["as_of"] for each in found.values()}

    eventually(lambda: marked() == {first}, within=20)
    ahead = {
        topic: {number: end + 1 for number, end in each.items()} for topic, each in ends.items()
    }
    second = Watermark(
        as_of=first.replace(hour=1),
        ends={**ends, domain.orders: ahead[domain.orders]},
        incarnation=1,
    )
    domain.watermark(second)
    eventually(lambda: marked() == {first, second.as_of}, within=20)
    behind = domain.positions()[domain.orders, 0]
    assert behind["as_of"] == first
    assert behind["end"] == behind["position"] + 1


def test_two_processes_share_the_partitions(domain: Domain) -> None:
    domain.start(ordinal=0)
    domain.start(ordinal=1)
    for number in range(5):
        domain.produce(orders(10, first=10 * number))
        domain.produce(customer(f"x{number}", "Ada"))
    third = domain.start(ordinal=2)
    domain.produce(orders(10, "late"))
    domain.become_exact()
    eventually(lambda: '"settled"' in third.text(), within=30)
    domain.produce(orders(10, "latest"))
    domain.become_exact()


def test_poison_and_gaps_stop_their_aggregate_only(domain: Domain) -> None:
    gap, poisoned = numbered("gap", LIFE), numbered("poisoned", LIFE)
    domain.produce([gap[0], poisoned[0]])
    domain.raw(domain.orders, b"poisoned", b"{broken")
    for event in (poisoned[1], *gap[2:]):
        domain.raw(domain.orders, event.subject.encode(), wire(event))
    domain.flush()
    domain.produce(orders(5))
    domain.start()
    domain.become_exact()

    def parked() -> dict[str, tuple[str, int]]:
        answer = domain.command("parked", "list", domain.name, "--output", "json")
        assert answer.returncode == 0, answer.stderr
        return {
            row["aggregateId"]: (row["reason"], row["events"]) for row in json.loads(answer.stdout)
        }

    assert parked() == {"gap": ("gap", 8), "poisoned": ("undecodable", 2)}
    shown = domain.command("parked", "show", domain.name, "poisoned", "--output", "json")
    assert [row["reason"] for row in json.loads(shown.stdout)] == ["undecodable", "blocked"]
    domain.produce(gap[1:])
    domain.become_exact()
    assert parked() == {"poisoned": ("undecodable", 2)}


def test_the_commands_show_positions_and_events(domain: Domain) -> None:
    domain.produce(numbered("o1", LIFE))
    domain.start()
    domain.become_exact()
    shown = domain.command("projections", "show", domain.name, "--output", "json")
    assert sum(row["position"] for row in json.loads(shown.stdout)) == len(LIFE)
    kind = f"orders-{domain.id}"
    events = domain.command("events", "show", kind, "o1", "--output", "json")
    assert [row["version"] for row in json.loads(events.stdout)] == list(range(1, 11))
    tail = domain.command("events", "tail", kind, "--last", "3")
    assert len(tail.stdout.splitlines()) == 3
    missing = domain.command("events", "show", kind, "nobody")
    assert missing.returncode == 1
    assert missing.stderr == f"Error: there are no events of {kind}/nobody\n"


def test_another_fold_version_is_refused(domain: Domain) -> None:
    domain.produce(numbered("o1", LIFE))
    process = domain.start()
    domain.become_exact()
    process.stop()
    domain.query(
        "UPDATE foldline_generations SET fold_version = 2 WHERE projection = %s", domain.name
    )
    refused = domain.start()
    assert refused.ended(within=30) == 1
    assert "fold version 2, this code 1" in refused.text()


def test_events_that_were_deleted_before_they_were_applied_end_the_process(domain: Domain) -> None:
    domain.produce(numbered("o1", LIFE))
    process = domain.start()
    domain.become_exact()
    process.stop()
    more = numbered("o1", [*LIFE, *LIFE])[10:]
    domain.produce([replace(event, subject="o2", version=event.version - 10) for event in more])
    admin = domain.admin()
    admin.delete_records(
        {TopicPartition(domain.orders, number): -1 for number in range(PARTITIONS)}
    )
    admin.close()
    domain.query("UPDATE foldline_positions SET position = 0 WHERE projection = %s", domain.name)
    refused = domain.start()
    assert refused.ended(within=60) == 1
    assert "events were deleted before they were applied" in refused.text()
