"""The first steps of a rebuild: a generation is added and loaded, and a projector catches up with it.

Each may be called again, and by several at once: what is done stands in the generation's record, in its
partitions' positions and in its documents, and not in the process that does it. A killed load goes on
from its last flushes. Refusals change nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import msgspec
from kafka import TopicPartition as KafkaPartition

from foldline_projector.engine.crash import reach
from foldline_projector.engine.generations import Generation, Pointer, admit, new_generation, place
from foldline_projector.engine.kafka import lone_consumer
from foldline_projector.projection import Projection
from foldline_projector.rebuild import workers
from foldline_projector.rebuild.context import Context, Refused, operation_in
from foldline_projector.rebuild.loader import LoadSettings
from foldline_projector.rebuild.operation import Operation, Progress, Strategy
from foldline_projector.rebuild.progress import Meter
from foldline_projector.rebuild.switch import point_at_once
from foldline_projector.rebuild.writeback import Bounds
from foldline_projector.stores.port import TopicPartition

PROGRESS_SECONDS = 1.0
POLL_SECONDS = 0.2
TIMEOUT_MS = 10_000
#: A new generation that is at most so many events behind the live one has caught up.
CLOSE_EVENTS = 1_000

BOUNDS = Bounds(documents=50_000, events=100_000)

Tell = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a rebuild is loaded."""

    strategy: Strategy = "BlueGreen"
    #: Processes that load at once.
    parallelism: int = 2
    #: Whether to rebuild from what Kafka still has.
    accept_retention_gap: bool = False
    #: Events that the live generation may be behind before loading waits for it.
    max_live_lag: int = 10_000
    bounds: Bounds = BOUNDS
    #: For crash tests only, see `engine.crash`.
    crash_at: str | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """What Kafka has of a projection's topics."""

    begins: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]

    @property
    def partitions(self) -> dict[str, int]:
        """Topic to number of partitions."""
        topics = {at.topic for at in self.ends}
        return {topic: sum(at.topic == topic for at in self.ends) for topic in sorted(topics)}

    def gaps(self) -> dict[str, int]:
        """Partitions whose first events are gone, and where they begin now."""
        return {place(at): begin for at, begin in sorted(self.begins.items()) if begin > 0}


def read_log(projection: Projection, kafka: Mapping[str, Any]) -> Log:
    """Asks Kafka. Raises KafkaError; Refused when a topic is missing."""
    consumer = lone_consumer(kafka, f"{projection.read_model.name}-rebuild")
    try:
        places = []
        for topic in projection.read_model.topics:
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise Refused(f"the topic {topic} does not exist")
            places += [KafkaPartition(topic, number) for number in sorted(numbers)]
        begins = consumer.beginning_offsets(places, timeout_ms=TIMEOUT_MS)
        ends = consumer.end_offsets(places, timeout_ms=TIMEOUT_MS)
    finally:
        consumer.close()
    return Log(*({TopicPartition(*at): end for at, end in each.items()} for each in (begins, ends)))


def begin(context: Context, log: Log, options: Options) -> Generation:
    """The generation that is being built; its record is made when there is none."""
    pointer = context.pointer()
    found = context.candidate(pointer)
    if found is None:
        refuse_gap(log, options.accept_retention_gap)
        found = _add(context, pointer, log, options)
    operation = operation_in(found)
    if found.fold_version != context.projection.fold_version:
        raise Refused(
            f"generation {found.number} is being built with fold version {found.fold_version}, this"
            f" code has {context.projection.fold_version}: finish it with that code, or drop it"
        )
    if operation.strategy != options.strategy:
        raise Refused(f"generation {found.number} is being built as {operation.strategy}")
    return found


def refuse_gap(log: Log, is_accepted: bool) -> None:
    """Refuses a log that has lost its beginning, unless that is accepted."""
    if (gaps := log.gaps()) and not is_accepted:
        shown = ", ".join(f"{at} begins at {offset}" for at, offset in gaps.items())
        raise Refused(f"RetentionGap: the first events are gone ({shown})")


def _add(context: Context, pointer: Pointer, log: Log, options: Options) -> Generation:
    number = context.registry.generations()[-1].number + 1
    operation = Operation(
        id=str(uuid4()),
        strategy=options.strategy,
        step="loading",
        base=pointer.active,
        targets={place(at): end for at, end in log.ends.items()},
    )
    made = new_generation(
        context.projection, number, log.partitions, "building", operation.to_record()
    )
    # When another start was faster, its generation is the one to go on with.
    context.registry.add(made)
    reach("after_record")
    return context.registry.generation(number)


def load(context: Context, number: int, log: Log, options: Options, tell: Tell) -> None:
    """Fills a generation up to the ends that its rebuild began with, and lets a projector follow.

    Raises FoldVersionMismatch, NoSuchGeneration, WorkerDied, RetryLater or KafkaError; then it is to
    be called again.
    """
    generation = admit(context.registry, context.projection, number)
    if generation.state == "following":
        return
    generation = context.update(
        number, lambda each: msgspec.structs.replace(each, attempts=each.attempts + 1)
    )
    operation = operation_in(generation)
    store = context.side(number).store
    store.create(indexed=False)
    if operation.strategy == "InPlace" and context.pointer().active == operation.base:
        point_at_once(context.registry, operation.base, number, previous=None)
    _fill(context, generation, log, options, tell)
    reach("after_load")
    store.complete()
    reach("after_complete")
    context.advance(number, "loaded", state="following")


def _fill(context: Context, generation: Generation, log: Log, options: Options, tell: Tell) -> None:
    operation, number = operation_in(generation), generation.number
    settings = LoadSettings(
        projection=context.projection,
        generation=number,
        store_url=context.store_url,
        kafka=context.kafka,
        bounds=options.bounds,
        live=operation.base if operation.strategy == "BlueGreen" else None,
        max_live_lag=options.max_live_lag,
        crash_at=options.crash_at,
    )
    targets = {at: operation.targets[place(at)] for at in generation.places()}
    meter = Meter(_reached(context, number, log), operation.targets)
    noted_at = 0.0

    def note(progress: Progress) -> None:
        context.update(number, lambda each: msgspec.structs.replace(each, progress=progress))

    def tick() -> None:
        nonlocal noted_at
        progress = meter.read(monotonic())
        tell(progress)
        if monotonic() - noted_at >= PROGRESS_SECONDS:
            noted_at = monotonic()
            note(progress)

    workers.load(settings, targets, options.parallelism, meter.reached, tick)
    note(meter.read(monotonic()))


def _reached(context: Context, number: int, log: Log) -> dict[str, int]:
    """Where each partition is loaded from: its beginning, or where an earlier attempt ended."""
    positions = context.side(number).store.positions()
    return {
        place(at): begin if (position := positions.get(at)) is None else position.offset
        for at, begin in log.begins.items()
    }


def catch_up(context: Context, number: int, seconds: float, tell: Callable[[int], None]) -> None:
    """Waits until the projector of a new generation is close behind the live one.

    `tell` is told how many events are missing. Refused when there is no end of it in time.
    """
    deadline = monotonic() + seconds
    while (behind := _behind(context, number)) > CLOSE_EVENTS:
        tell(behind)
        if monotonic() > deadline:
            raise Refused(
                f"generation {number} is still {behind} events behind the live one:"
                f" does `foldline projector run {context.name}` run?"
            )
        sleep(POLL_SECONDS)
    tell(behind)


def _behind(context: Context, number: int) -> int:
    live = context.side(context.pointer().active).store.positions()
    own = context.side(number).store.positions()
    return sum(
        max(position.offset - (own[at].offset if at in own else 0), 0)
        for at, position in live.items()
    )
