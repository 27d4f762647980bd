"""Loads one partition of a generation that is being built, in a process of its own.

Order: records are folded in offset order by the very engine that follows live, over a `WriteBack` in
place of the store. Concurrency: partitions are loaded at once, references before documents (see
`workers`); the process that started a load may die, and then this one ends too. Failure: a store that
is away, or another load of the same partition, costs what was not flushed; a killed load begins
again from its last flush. Nothing here reads the clock but the throttle.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from kafka import TopicPartition as KafkaPartition

from foldline_projector.engine import crash
from foldline_projector.engine.engine import Engine
from foldline_projector.engine.generations import place
from foldline_projector.engine.kafka import lone_consumer
from foldline_projector.projection import Projection
from foldline_projector.rebuild.writeback import Bounds, WriteBack
from foldline_projector.stores.port import Fenced, RetryLater, Store, TopicPartition
from foldline_projector.stores.registry import open_store

POLL_MS = 500
POLL_RECORDS = 5_000
FETCH_BYTES = 8 * 1024 * 1024
#: How often the live projection's lag is looked at, and how long a pause for it is.
THROTTLE_SECONDS = 1.0

#: Told the offset that was reached; answers whether to go on.
Report = Callable[[str, int], bool]


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """What every load of a rebuild shares."""

    projection: Projection
    generation: int
    store_url: str
    kafka: Mapping[str, Any]
    bounds: Bounds
    #: The generation that readers read, whose lag slows the load down; None when nobody reads.
    live: int | None
    #: Events that the live generation may be behind before the load waits for it.
    max_live_lag: int
    crash_at: str | None = None


class Silent:
    """Observes nothing."""

    def step(self, _name: str) -> AbstractContextManager[None]:
        """Times nothing."""
        return nullcontext()

    def count(self, outcome: Mapping[Any, int]) -> None:
        """Counts nothing."""


def load_partition(settings: LoadSettings, at: TopicPartition, target: int, report: Report) -> None:
    """Loads a partition up to `target`, from where an earlier load ended, or until told to stop."""
    if settings.crash_at is not None:
        crash.arm(settings.crash_at)
    with _opened(settings, settings.generation) as store, _throttle(settings) as wait:
        consumer = lone_consumer(
            settings.kafka,
            f"{settings.projection.read_model.name}-g{settings.generation}-load-{os.getpid()}",
            max_partition_fetch_bytes=FETCH_BYTES,
            max_poll_records=POLL_RECORDS,
        )
        try:
            consumer.assign([KafkaPartition(*at)])
            _Load(settings, store, consumer, at).run(target, report, wait)
        finally:
            consumer.close()


class _Load:
    """One partition on its way."""

    def __init__(
        self, settings: LoadSettings, store: Store, consumer: Any, at: TopicPartition
    ) -> None:
        self._consumer = consumer
        self._at = at
        self._buffer = WriteBack(store, at, settings.bounds)
        self._engine = Engine(settings.projection, self._buffer, Silent(), cache_limit=1)

    def run(self, target: int, report: Report, wait: Callable[[], None]) -> None:
        """Loads up to `target`, obeying what the store says."""
        while True:
            try:
                self._run(target, report, wait)
                return
            except (RetryLater, Fenced) as verdict:
                self._engine.forget()
                self._buffer.forget()
                if isinstance(verdict, RetryLater):
                    sleep(verdict.delay)

    def _run(self, target: int, report: Report, wait: Callable[[], None]) -> None:
        offset = self._begin()
        while report(place(self._at), min(offset, target)) and offset < target:
            wait()
            for records in self._consumer.poll(timeout_ms=POLL_MS).values():
                if wanted := [record for record in records if record.offset < target]:
                    self._engine.process({self._at: wanted}, {self._at: target}, unmarked)
                offset = records[-1].offset + 1
        self._buffer.flush()

    def _begin(self) -> int:
        """Seeks to where an earlier load ended, or to where the history begins."""
        position = self._engine.assign([self._at])[self._at]
        kafka = KafkaPartition(*self._at)
        if position is None:
            self._consumer.seek_to_beginning(kafka)
        else:
            self._consumer.seek(kafka, position.offset)
        return int(self._consumer.position(kafka))


def unmarked(_at: TopicPartition, position: Any) -> Any:
    """No watermark is passed while history is loaded."""
    return position


@contextmanager
def _opened(settings: LoadSettings, generation: int) -> Iterator[Store]:
    store = open_store(settings.store_url, settings.projection, generation)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _throttle(settings: LoadSettings) -> Iterator[Callable[[], None]]:
    """A wait that lasts while the live generation is too far behind."""
    if settings.live is None:
        yield lambda: None
        return
    with _opened(settings, settings.live) as live:
        yield Throttle(live, settings.max_live_lag)


class Throttle:
    """Yields to the live projection: waits while it is more events behind than it may be."""

    def __init__(self, live: Store, most: int) -> None:
        self._live = live
        self._most = most
        self._look_at = 0.0

    def __call__(self) -> None:
        """Waits if it must."""
        if monotonic() < self._look_at:
            return
        while self._lag() > self._most:
            sleep(THROTTLE_SECONDS)
        self._look_at = monotonic() + THROTTLE_SECONDS

    def _lag(self) -> int:
        return sum(max(each.end - each.offset, 0) for each in self._live.positions().values())
