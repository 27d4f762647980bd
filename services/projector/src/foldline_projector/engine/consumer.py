"""The loop of a projector: a static member of its group that reads from the store's positions.

Order: poll, fold and commit one batch, then commit offsets to Kafka, which are advisory. A new
partition is paused from the moment of its assignment until its position and parked records were
loaded; only then it is read, from the store's position or from its beginning.

Concurrency: one thread; heartbeats are Kafka's own thread, so a slow store costs no membership as
long as a batch takes less than `MAX_POLL_INTERVAL_MS`. A batch is finished before the next poll, hence
a revoke never finds half of one: state of a revoked partition is dropped when the poll that revoked it
returns.

Failure: Kafka being away ends nothing, the poll is repeated. After `RetryLater` or `Fenced` everything remembered is forgotten and all partitions are
paused; polling goes on, which keeps the membership, until positions could be loaded again. A fenced
member waits longer than a session timeout, so that the other owner settles. Offsets are committed to
Kafka when nothing happens too, because the answer is the only sign of a twin: a process that joined
under the same name. An offset that is no longer in the topic, and anything unknown, ends the process.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import structlog
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import (
    FencedInstanceIdError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RetriableError,
)
from kafka.structs import OffsetAndMetadata
from kafka.structs import TopicPartition as KafkaPartition

from foldline_projector.engine.crash import reach
from foldline_projector.engine.engine import Engine
from foldline_projector.engine.metrics import Metrics
from foldline_projector.engine.watermark_reader import WatermarkReader
from foldline_projector.engine.watermarks import Watermarks
from foldline_projector.stores.port import Fenced, Position, RetryLater, TopicPartition

log = structlog.get_logger()

POLL_MS = 200
#: A poll while partitions wait for the store: short, so that they are not kept waiting by it.
WAITING_POLL_MS = 50
MARK_SECONDS = 0.5
#: How many times within a session timeout an idle member commits its offsets.
IDLE_COMMITS = 3
OFFSETS_TIMEOUT_MS = 10_000
CLOSE_TIMEOUT_MS = 5_000
#: Pause after Kafka failed in a way that may pass; its client has no place to wait by itself then.
KAFKA_SECONDS = 0.25
#: How much longer than the session timeout a fenced member stays away.
FENCED_FACTOR = 1.25


class RetentionGap(Exception):
    """Events between a position and the topic's first offset are gone: nothing may go on silently."""


class FencedMember(Exception):
    """Another process joined the group under this member's name."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a loop is made of."""

    engine: Engine
    consumer: Any
    watermarks: Watermarks
    reader: WatermarkReader
    metrics: Metrics
    session_timeout: float


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what a rebalance changed; the loop acts when its poll returns, outside of callbacks."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.revoked: set[TopicPartition] = set()
        self.assigned: set[TopicPartition] = set()

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Notes partitions that are given up."""
        gone = {TopicPartition(*at) for at in revoked}
        self.revoked |= gone
        self.assigned -= gone

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Notes partitions that another member may have by now."""
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Pauses new partitions; the seek only keeps the client from asking Kafka for an offset."""
        for at in assigned:
            self._consumer.pause(at)
            self._consumer.seek(at, 0)
            self.assigned.add(TopicPartition(*at))


class Loop:
    """Runs until told to stop, or until an error ends it."""

    def __init__(self, parts: Parts) -> None:
        self.engine = parts.engine
        self._consumer = parts.consumer
        self._watermarks = parts.watermarks
        self._reader = parts.reader
        self.metrics = parts.metrics
        self._session_timeout = parts.session_timeout
        self._assignment = _Assignment(parts.consumer)
        #: Assigned partitions whose positions are not loaded; they are paused.
        self._unsettled: set[TopicPartition] = set()
        self._settle_at = 0.0
        #: Where partitions without a position row are read from.
        self._starts: dict[TopicPartition, int] = {}
        self._mark_at = 0.0
        self._commit_at = 0.0

    def partition_counts(self) -> dict[str, int]:
        """Partitions of each topic that the projection consumes; 0 while it does not exist."""
        topics = self.engine.projection.read_model.topics
        return {topic: len(self._consumer.partitions_for_topic(topic) or ()) for topic in topics}

    @property
    def is_ready(self) -> bool:
        """Whether the group was joined and the store has answered for all partitions, if any."""
        is_joined = self._consumer.group_metadata().generation_id >= 0
        return is_joined and not self._unsettled and not self._assignment.assigned

    def run(self, is_stopping: Callable[[], bool]) -> None:
        """Consumes until `is_stopping`; the batch in hand is finished."""
        topics = list(self.engine.projection.read_model.topics)
        self._consumer.subscribe(topics, listener=self._assignment)
        self._reader.start()
        try:
            while not is_stopping():
                self._step()
        finally:
            self._reader.stop()
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _step(self) -> None:
        self._reader.check()
        polled = self._poll()
        started = monotonic()
        try:
            self._follow_assignment()
            if self._unsettled and monotonic() >= self._settle_at:
                self._settle()
            batch = {at: records for at, records in polled.items() if self._is_settled(at)}
            if batch:
                self._process(batch)
            self._mark()
            self._commit_when_idle()
        except RetryLater as verdict:
            log.warning("retry_later", delay=verdict.delay, reason=str(verdict))
            self._forget(verdict.delay)
        except Fenced as verdict:
            delay = FENCED_FACTOR * self._session_timeout
            log.error("fenced", delay=delay, reason=str(verdict))
            self._commit_known()
            self._forget(delay)
        if polled:
            self.metrics.busy(monotonic() - started)
        self.metrics.show(self.engine.positions, self.engine.parked_aggregates)

    def _poll(self) -> dict[TopicPartition, list[Any]]:
        try:
            with self.metrics.step("fetch"):
                timeout = WAITING_POLL_MS if self._unsettled else POLL_MS
                polled = self._consumer.poll(timeout_ms=timeout)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            raise RetentionGap(
                f"events were deleted before they were applied, or the topic was recreated: {error};"
                " the read model cannot go on without them"
            ) from error
        except FencedInstanceIdError as error:
            raise FencedMember("another process has joined under this member's name") from error
        except RetriableError as error:
            log.warning("kafka_unavailable", delay=KAFKA_SECONDS, reason=str(error))
            sleep(KAFKA_SECONDS)
            return {}
        return {TopicPartition(*at): records for at, records in polled.items()}

    def _is_settled(self, at: TopicPartition) -> bool:
        return at in self.engine.positions and at not in self._unsettled

    def _follow_assignment(self) -> None:
        revoked, assigned = self._assignment.revoked, self._assignment.assigned
        if revoked:
            log.info("revoked", partitions=_names(revoked))
            self.engine.revoke(revoked)
            self.metrics.drop(revoked)
            self._unsettled -= revoked
            self._assignment.revoked = set()
        if assigned:
            log.info("assigned", partitions=_names(assigned))
            self._unsettled |= assigned
            self._assignment.assigned = set()

    def _settle(self) -> None:
        """Loads positions of assigned partitions and begins to read there."""
        loaded = self.engine.assign(self._unsettled)
        beginnings = self._beginnings([at for at, position in loaded.items() if position is None])
        self._starts.update(beginnings)
        for at, position in loaded.items():
            offset = beginnings[at] if position is None else position.offset
            self._consumer.seek(KafkaPartition(*at), offset)
        self._consumer.resume(*(KafkaPartition(*at) for at in loaded))
        self._unsettled.clear()
        log.info("settled", partitions=_names(loaded))

    def _beginnings(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        wanted = [KafkaPartition(*at) for at in partitions]
        try:
            found = self._consumer.beginning_offsets(wanted, timeout_ms=OFFSETS_TIMEOUT_MS)
        except KafkaError as error:
            raise RetryLater(1.0, f"Kafka does not tell where topics begin: {error}") from error
        beginnings = {TopicPartition(*at): offset for at, offset in found.items()}
        late = {at: offset for at, offset in beginnings.items() if offset > 0}
        if late:
            log.warning("topic_begins_late", offsets={_name(at): late[at] for at in late})
        return beginnings

    def _process(self, batch: dict[TopicPartition, list[Any]]) -> None:
        ends = {at: self._consumer.highwater(KafkaPartition(*at)) or 0 for at in batch}
        positions = self.engine.process(batch, ends, self._watermarks.passed)
        with self.metrics.step("commit"):
            reach("before_kafka_commit")
            self._commit_to_kafka(positions)

    def _commit_when_idle(self) -> None:
        if monotonic() >= self._commit_at:
            self._commit_known()

    def _commit_known(self) -> None:
        """Commits all known offsets; a fenced member learns it from the answer, in a later poll."""
        known = {at: each for at, each in self.engine.positions.items() if each is not None}
        if known:
            self._commit_to_kafka(known)

    def _commit_to_kafka(self, positions: dict[TopicPartition, Position]) -> None:
        """For lag tools only: failing is nobody's loss."""
        self._commit_at = monotonic() + self._session_timeout / IDLE_COMMITS
        offsets = {
            KafkaPartition(*at): OffsetAndMetadata(position.offset, "", -1)
            for at, position in positions.items()
        }
        self._consumer.commit_async(offsets, callback=_log_commit)

    def _mark(self) -> None:
        """Records passed watermarks of partitions that stand still, now and then."""
        if monotonic() < self._mark_at or self._unsettled:
            return
        self._mark_at = monotonic() + MARK_SECONDS
        known = {
            at: position or Position(offset=self._starts[at], end=0)
            for at, position in self.engine.positions.items()
        }
        marks = self._watermarks.marks(known)
        if marks:
            self.engine.mark(marks)

    def _forget(self, delay: float) -> None:
        self.engine.forget()
        assignment = self._consumer.assignment()
        self._consumer.pause(*assignment)
        self._unsettled = {TopicPartition(*at) for at in assignment}
        self._settle_at = monotonic() + delay


def _log_commit(_: Any, response: Any) -> None:
    if isinstance(response, Exception):
        log.info("kafka_commit_failed", error=str(response))


def _name(at: TopicPartition) -> str:
    return f"{at.topic}-{at.partition}"


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    return [_name(at) for at in sorted(partitions)]
