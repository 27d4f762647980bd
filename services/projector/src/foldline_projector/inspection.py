"""What the commands look up: positions and parked events from a projection's store, events from Kafka.

Read-only. A projection's store is asked through the port, so a parked event looks the same whatever
keeps it. Topics are read without a group, up to the end that they had when reading began, so that a
command ends while events keep arriving.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError

from foldline_contracts.aggregates import aggregate_kinds
from foldline_contracts.state import FIRST_GENERATION
from foldline_projector.config import kafka_settings, store_url
from foldline_projector.engine.generations import Registry
from foldline_projector.engine.kafka import lone_consumer
from foldline_projector.engine.records import decoded, moment
from foldline_projector.projection import Projection
from foldline_projector.stores.port import ParkedRecord, RetryLater, Store, TopicPartition
from foldline_projector.stores.registry import open_store

Row = dict[str, Any]
TIMEOUT_MS = 10_000
POLL_MS = 500
CLIENT_ID = "foldline-cli"


class Failed(Exception):
    """What was asked for cannot be looked up now; the message is one line."""


@contextmanager
def _opened(
    projection: Projection, generation: int | None, environ: Mapping[str, str]
) -> Iterator[Store]:
    url = store_url(environ, projection.read_model.store)
    store = open_store(url, projection, generation or FIRST_GENERATION)
    try:
        store.prepare()
        pointer = Registry(store, projection.read_model).pointer()
        if generation is None and pointer is not None and pointer.active != FIRST_GENERATION:
            store.close()
            store = open_store(url, projection, pointer.active)
        yield store
    except RetryLater as error:
        raise Failed(
            f"the store of {projection.read_model.name} does not answer: {error}"
        ) from error
    finally:
        store.close()


def partitions_of(
    projection: Projection, generation: int | None, environ: Mapping[str, str]
) -> list[Row]:
    """Position, lag and watermark of each partition."""
    with _opened(projection, generation, environ) as store:
        positions = store.positions()
    return [
        {
            "topic": at.topic,
            "partition": at.partition,
            "position": position.offset,
            "end": position.end,
            "lag": max(position.end - position.offset, 0),
            "recordedAt": position.recorded_at,
            "asOf": position.as_of,
        }
        for at, position in sorted(positions.items())
    ]


def parked_aggregates(
    projection: Projection, generation: int | None, environ: Mapping[str, str]
) -> list[Row]:
    """Parked aggregates, each with what stopped it and how much waits."""
    waiting: dict[tuple[str, str], list[ParkedRecord]] = {}
    for record in _parked(projection, generation, environ):
        waiting.setdefault((record.kind, record.aggregate_id), []).append(record)
    return [
        {
            "projection": projection.read_model.name,
            "kind": kind,
            "aggregateId": name,
            "reason": _first(records).reason,
            "version": _first(records).version,
            "events": len(records),
            "since": _first(records).recorded_at,
            "detail": _first(records).detail,
        }
        for (kind, name), records in sorted(waiting.items())
    ]


def parked_records(
    projection: Projection, generation: int | None, aggregate_id: str, environ: Mapping[str, str]
) -> list[Row]:
    """Parked events of one aggregate."""
    return [
        {
            "topic": record.at.topic,
            "partition": record.at.partition,
            "offset": record.offset,
            "version": record.version,
            "eventId": record.event_id,
            "reason": record.reason,
            "detail": record.detail,
            "recordedAt": record.recorded_at,
            "value": record.value.decode(errors="replace"),
        }
        for record in _parked(projection, generation, environ)
        if record.aggregate_id == aggregate_id
    ]


def _first(records: list[ParkedRecord]) -> ParkedRecord:
    """What stopped an aggregate: its first record that does not merely wait."""
    return next((record for record in records if record.reason != "blocked"), records[0])


def _parked(
    projection: Projection, generation: int | None, environ: Mapping[str, str]
) -> list[ParkedRecord]:
    with _opened(projection, generation, environ) as store:
        return store.parked(store.positions())


def events_of(kind: str, aggregate_id: str, environ: Mapping[str, str]) -> list[Row]:
    """The events of one aggregate, in the order of their versions."""
    with _reading(kind, environ) as (consumer, partitions):
        ends = consumer.end_offsets(partitions, timeout_ms=TIMEOUT_MS)
        consumer.seek_to_beginning(*partitions)
        wanted = aggregate_id.encode()
        rows = [_event_row(kind, raw) for raw in _until(consumer, ends) if raw.key == wanted]
    return sorted(rows, key=lambda row: row["version"] or 0)


def following(kind: str, last: int, follow: bool, environ: Mapping[str, str]) -> Iterator[Row]:
    """The last events of a topic by record time, then those that arrive if wanted."""
    with _reading(kind, environ) as (consumer, partitions):
        ends = consumer.end_offsets(partitions, timeout_ms=TIMEOUT_MS)
        begins = consumer.beginning_offsets(partitions, timeout_ms=TIMEOUT_MS)
        for at in partitions:
            consumer.seek(at, max(begins[at], ends[at] - last))
        recent = sorted(_until(consumer, ends), key=lambda raw: raw.timestamp)
        for raw in recent[len(recent) - min(last, len(recent)) :]:
            yield _event_row(kind, raw)
        while follow:
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                yield from (_event_row(kind, raw) for raw in records)


@contextmanager
def _reading(kind: str, environ: Mapping[str, str]) -> Iterator[tuple[Any, list[KafkaPartition]]]:
    topic = aggregate_kinds()[kind].topic
    try:
        consumer = lone_consumer(kafka_settings(environ), CLIENT_ID)
    except KafkaError as error:
        raise Failed(f"Kafka does not answer: {error}") from error
    try:
        numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise Failed(f"the topic {topic} does not exist")
        partitions = [KafkaPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        yield consumer, partitions
    except KafkaError as error:
        raise Failed(f"Kafka does not answer: {error}") from error
    finally:
        consumer.close()


def _until(consumer: Any, ends: Mapping[KafkaPartition, int]) -> Iterator[Any]:
    open_ends = {at: end for at, end in ends.items() if end > consumer.position(at)}
    while open_ends:
        for at, records in consumer.poll(timeout_ms=POLL_MS).items():
            yield from (raw for raw in records if raw.offset < ends[at])
        open_ends = {at: end for at, end in open_ends.items() if consumer.position(at) < end}


def _event_row(kind: str, raw: Any) -> Row:
    at = TopicPartition(raw.topic, raw.partition)
    record = decoded(at, aggregate_kinds()[kind], [raw])[0]
    event = record.event
    known = aggregate_kinds()[kind]
    return {
        "recordedAt": moment(raw.timestamp),
        "partition": raw.partition,
        "offset": raw.offset,
        "aggregateId": record.key,
        "version": None if event is None else event.version,
        "type": record.fault if event is None else known.type_of(event.data),
        "value": record.value.decode(errors="replace"),
    }
