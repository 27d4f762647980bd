"""Through the real Debezium and Kafka: what is in the outbox is what Kafka has, and what a watermark says is true."""

import os
import subprocess
import threading
import urllib.request
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from support.eventually import eventually

from foldline_command import connector, keeper, migrate, topics
from foldline_contracts.topics import Topic, required_topics
from foldline_contracts.watermark import Watermark

from .conftest import FOLDLINE, ITEM, Stack, target

pytestmark = pytest.mark.integration

WATERMARKS = 6
METRICS_PORT = 29417


def rows(stack: Stack) -> dict[str, tuple[Any, ...]]:
    """The outbox by event id."""
    query = (
        "SELECT id::text, aggregatetype, partition, aggregateid, payload, contenttype,"
        " floor(extract(epoch FROM recorded_at) * 1000)::bigint, version FROM outbox"
    )
    with psycopg.connect(stack.url) as database:
        return {row[0]: row for row in database.execute(query)}


def test_the_service_is_ready_once_everything_exists(stack: Stack) -> None:
    assert stack.api.call("GET", "/readyz").get_json() == {"status": "ready"}


def test_preparing_again_changes_nothing(stack: Stack) -> None:
    migrate.migrate(stack.url)
    assert all(
        "is there" in line for line in topics.apply(stack.kafka, stack.url, required_topics(), 1)
    )
    assert "unchanged" in connector.apply(target(stack.url))


def test_another_number_of_partitions_is_refused(stack: Stack) -> None:
    wanted = [Topic(required_topics()[0].name, 99, {})]
    with pytest.raises(topics.TopicMismatch):
        topics.apply(stack.kafka, stack.url, wanted, 1)


def test_kafka_has_the_outbox_byte_for_byte_each_key_in_one_partition(stack: Stack) -> None:
    for _ in range(20):
        order = stack.api.place(note="Köln 🔔")
        stack.api.post(f"/orders/{order}/submit")
        stack.api.post(f"/orders/{order}/cancel", {"reason": "no"})
    with psycopg.connect(stack.url, autocommit=True) as database:
        producer = keeper.Topics(stack.kafka)
        try:
            keeper.publish_watermark(database, producer)
        finally:
            producer.close()
    expected = rows(stack)
    found: dict[str, tuple[Any, ...]] = {}
    order_of: dict[tuple[str, str], list[int]] = {}
    for record in stack.records():
        headers = dict(record.headers)
        identity = headers["id"].decode()
        version = expected[identity][7] if identity in expected else 0
        order_of.setdefault((record.topic, record.key.decode()), []).append(version)
        found[identity] = (
            identity,
            record.topic,
            record.partition,
            record.key.decode(),
            record.value.decode(),
            headers["content-type"].decode(),
            record.timestamp,
            version,
        )
    assert {key: found.get(key) for key in expected} == expected
    assert all(versions == sorted(set(versions)) for versions in order_of.values())


def test_everything_committed_before_a_watermark_is_below_its_ends(stack: Stack) -> None:
    """A writer notes the database's clock after each commit; no watermark may have missed one."""
    committed: list[tuple[str, datetime]] = []
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(stack.url, autocommit=True) as database:
            while not stop.is_set():
                order = stack.api.place(items=[ITEM])
                row = database.execute("SELECT clock_timestamp()").fetchone()
                assert row is not None
                committed.append((order, row[0]))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        published = _watermarks(stack)
    finally:
        stop.set()
        writer.join(30)
    offsets = {record.key.decode(): record for record in stack.records()}
    for mark in published:
        before = [order for order, at in committed if at < mark.as_of]
        assert before
        missed = [order for order in before if not _is_below(offsets.get(order), mark)]
        assert not missed


def _watermarks(stack: Stack) -> list[Watermark]:
    client = keeper.Topics(stack.kafka)
    try:
        with psycopg.connect(stack.url, autocommit=True) as database:
            keeper.publish_watermark(database, client)
            return [keeper.publish_watermark(database, client) for _ in range(WATERMARKS)]
    finally:
        client.close()


def _is_below(record: Any, mark: Watermark) -> bool:
    return record is not None and record.offset < mark.ends[record.topic][str(record.partition)]


def test_the_keeper_runs_says_that_it_is_ready_and_stops_when_told(stack: Stack) -> None:
    environ = os.environ | {"FOLDLINE_METRICS_PORT": str(METRICS_PORT)}
    started = datetime.now(UTC)
    process = subprocess.Popen([FOLDLINE, "outbox", "keep"], env=environ, stderr=subprocess.PIPE)
    try:
        eventually(lambda: _get("/readyz").startswith("ok"), within=60)
        assert keeper.status(stack.url)["as_of"] > started
        text = _get("/metrics")
        for name in (
            "foldline_outbox_oldest_unpublished_seconds",
            "foldline_outbox_rows",
            "foldline_outbox_slot_retained_bytes",
            "foldline_watermark_age_seconds",
        ):
            assert f"\n{name} " in text
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said


def _get(path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
