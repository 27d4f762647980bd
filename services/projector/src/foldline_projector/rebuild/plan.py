"""What a rebuild would do, without doing any of it: events, bytes, documents, space, time, obstacles.

Times are estimates. They rest on the rate of the projection's last rebuild where there is one, and otherwise
on folding a sample of each partition now, which leaves the store's writing out; the plan says which.
Reads only.
"""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import msgspec
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPartition

from foldline_projector.engine.engine import Engine
from foldline_projector.engine.generations import Generation, layout_of, place
from foldline_projector.engine.kafka import lone_consumer
from foldline_projector.rebuild.context import Context
from foldline_projector.rebuild.loader import POLL_RECORDS, Silent, unmarked
from foldline_projector.rebuild.operation import operation_of
from foldline_projector.rebuild.start import Log
from foldline_projector.stores.memory import Memory, MemoryStore
from foldline_projector.stores.port import TopicPartition

#: Events of a partition that are folded to learn how fast it goes.
SAMPLE = 2_000
POLL_MS = 2_000


class PartitionPlan(msgspec.Struct, frozen=True, rename="camel"):
    """One partition of the log."""

    partition: str
    begins: int
    events: int
    #: On the broker's disk; None when it does not tell.
    bytes: int | None
    #: At the estimated rate, alone; None without a rate.
    minutes: float | None


class Plan(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a rebuild would do."""

    projection: str
    from_generation: int
    #: The generation that would be made, or the one that a start would go on with.
    to_generation: int
    from_fold_version: int
    fold_version: int
    #: In the live generation now.
    documents: int
    #: What the live generation takes, which the new one will need beside it; index builds need more
    #: for a while.
    disk_bytes: int
    #: All events that would be read.
    events: int
    partitions: tuple[PartitionPlan, ...]
    #: Events a second of one process, and what that rests on.
    rate_per_second: float | None
    rate_basis: str
    #: With the given parallelism.
    minutes: float | None
    #: Partitions whose first events are gone: a rebuild is refused unless that is accepted.
    retention_gaps: Mapping[str, int]
    #: What the new layout has otherwise than the live one, such as `+ primary note text`.
    schema_changes: tuple[str, ...]
    #: Fields that the fold declares to change, and whether keys do.
    declared_changes: tuple[str, ...]


def plan(context: Context, log: Log, parallelism: int) -> Plan:
    """Plans a rebuild with the fold that is installed here. Raises KafkaError or RetryLater."""
    pointer = context.pointer()
    live = context.side(pointer.active)
    unfinished = context.candidate(pointer)
    generations = context.registry.generations()
    size = live.store.size()
    rate, basis = _rate(context, generations, log)
    partitions = _partitions(log, _bytes(context.kafka, log), rate)
    changes = context.projection.changes_since(live.generation.fold_version)
    return Plan(
        projection=context.name,
        from_generation=pointer.active,
        to_generation=generations[-1].number + 1 if unfinished is None else unfinished.number,
        from_fold_version=live.generation.fold_version,
        fold_version=context.projection.fold_version,
        documents=size.documents,
        disk_bytes=size.bytes,
        events=sum(each.events for each in partitions),
        partitions=partitions,
        rate_per_second=rate,
        rate_basis=basis,
        minutes=_minutes(partitions, parallelism),
        retention_gaps=log.gaps(),
        schema_changes=schema_changes(
            live.generation.layout, layout_of(context.projection.read_model)
        ),
        declared_changes=(*changes.fields, *(["keys"] if changes.keys else [])),
    )


def _partitions(
    log: Log, sizes: Mapping[TopicPartition, int], rate: float | None
) -> tuple[PartitionPlan, ...]:
    found = []
    for at, begin in sorted(log.begins.items()):
        events = log.ends[at] - begin
        minutes = None if rate is None else round(events / rate / 60, 2)
        found.append(PartitionPlan(place(at), begin, events, sizes.get(at), minutes))
    return tuple(found)


def _minutes(partitions: tuple[PartitionPlan, ...], parallelism: int) -> float | None:
    """At least as long as the longest partition, and all of them over the processes."""
    known = [each.minutes for each in partitions if each.minutes is not None]
    if not known:
        return None
    return round(max(max(known), sum(known) / parallelism), 2)


def _rate(context: Context, generations: list[Generation], log: Log) -> tuple[float | None, str]:
    for each in reversed(generations):
        operation = operation_of(each.rebuild)
        progress = None if operation is None else operation.progress
        if progress is not None and progress.rate_per_second > 0 and progress.eta_seconds == 0:
            return progress.rate_per_second, f"the rebuild of generation {each.number}"
    return _sampled(context, log), "a sample that was folded without writing"


def _sampled(context: Context, log: Log) -> float | None:
    """Events a second over the first events of every partition."""
    model = context.projection.read_model
    engine = Engine(
        context.projection, MemoryStore(model, 1, Memory()), Silent(), cache_limit=2 * SAMPLE
    )
    consumer = lone_consumer(context.kafka, f"{context.name}-plan", max_poll_records=POLL_RECORDS)
    events, seconds = 0, 0.0
    try:
        for at in log.begins:
            number, took = _fold_sample(engine, consumer, at, log)
            events, seconds = events + number, seconds + took
    finally:
        consumer.close()
    return events / seconds if seconds else None


def _fold_sample(engine: Engine, consumer: Any, at: TopicPartition, log: Log) -> tuple[int, float]:
    kafka = KafkaPartition(*at)
    consumer.assign([kafka])
    consumer.seek(kafka, log.begins[at])
    engine.assign([at])
    wanted = min(SAMPLE, log.ends[at] - log.begins[at])
    events = 0
    started = perf_counter()
    while events < wanted:
        polled = consumer.poll(timeout_ms=POLL_MS)
        for records in polled.values():
            engine.process({at: records}, {}, unmarked)
            events += len(records)
        if not polled:
            break
    return events, perf_counter() - started


def _bytes(kafka: Mapping[str, Any], log: Log) -> dict[TopicPartition, int]:
    """What each partition takes on a broker's disk."""
    admin = KafkaAdminClient(**kafka)
    try:
        brokers = admin.describe_log_dirs(sorted(log.partitions))
    finally:
        admin.close()
    sizes: dict[TopicPartition, int] = {}
    for topic, number, size in _log_sizes(brokers):
        at = TopicPartition(topic, number)
        sizes[at] = max(size, sizes.get(at, 0))
    return sizes


def _log_sizes(brokers: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return [
        (topic["name"], each["partition_index"], each["partition_size"])
        for broker in brokers
        for directory in broker["log_dirs"]
        for topic in directory["topics"]
        for each in topic["partitions"]
    ]


def schema_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What a layout declares otherwise than another: added, removed and changed, a line each."""
    ours, theirs = _declared(before), _declared(after)
    lines = [f"- {name} {ours[name]}" for name in ours.keys() - theirs.keys()]
    lines += [f"+ {name} {theirs[name]}" for name in theirs.keys() - ours.keys()]
    lines += [
        f"~ {name} {ours[name]} -> {theirs[name]}"
        for name in ours.keys() & theirs.keys()
        if ours[name] != theirs[name]
    ]
    return tuple(sorted(lines, key=lambda line: line[2:]))


def _declared(layout: Mapping[str, Any]) -> dict[str, str]:
    declared = {name: str(layout[name]) for name in ("store", "primary", "reference", "link")}
    for section in ("primary", "reference"):
        for column in layout[f"{section}_columns"]:
            declared[f"{section} {column['name']}"] = column["type"]
    for name, columns in layout["indexes"].items():
        declared[f"index {name}"] = f"({columns})"
    return declared
