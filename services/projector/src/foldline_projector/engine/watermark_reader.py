"""Reads the watermarks' topic, in a thread of its own so that folding never waits for it.

The thread owns its consumer, starts at the last watermark and adds each new one to a `Watermarks`.
A topic that does not exist yet, or a broker that is away, is waited for: without watermarks `asOf`
stays unknown, and unknown is never said to be fresh. A value that is no watermark is logged and
passed over, since the next one replaces it. Whatever else goes wrong is raised in `check`.
"""

from collections.abc import Mapping
from threading import Event, Thread
from typing import Any

import msgspec
import structlog
from kafka import TopicPartition
from kafka.errors import KafkaError

from foldline_contracts.topics import WATERMARKS
from foldline_contracts.watermark import decode
from foldline_projector.engine.kafka import lone_consumer
from foldline_projector.engine.watermarks import Watermarks

log = structlog.get_logger()

POLL_MS = 1_000
RETRY_SECONDS = 1.0
METADATA_TIMEOUT_MS = 5_000
_PARTITION = TopicPartition(WATERMARKS, 0)


class WatermarkReader:
    """The thread and its end."""

    def __init__(self, kafka: Mapping[str, Any], client_id: str, into: Watermarks) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._into = into
        self._stop = Event()
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, name="watermarks", daemon=True)

    def start(self) -> None:
        """Starts reading."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join(timeout=2 * POLL_MS / 1000)

    def check(self) -> None:
        """Raises what ended the thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._read()
                except KafkaError as error:
                    log.warning("watermarks_unavailable", error=str(error))
                    self._stop.wait(RETRY_SECONDS)
        except BaseException as error:
            self._failure = error

    def _read(self) -> None:
        consumer = lone_consumer(self._kafka, self._client_id)
        try:
            while not self._stop.is_set() and not consumer.partitions_for_topic(WATERMARKS):
                self._stop.wait(RETRY_SECONDS)
            consumer.assign([_PARTITION])
            ends = consumer.end_offsets([_PARTITION], timeout_ms=METADATA_TIMEOUT_MS)
            consumer.seek(_PARTITION, max(ends[_PARTITION] - 1, 0))
            while not self._stop.is_set():
                for records in consumer.poll(timeout_ms=POLL_MS).values():
                    self._take(records)
        finally:
            consumer.close()

    def _take(self, records: list[Any]) -> None:
        for record in records:
            try:
                self._into.add(decode(record.value or b""))
            except msgspec.MsgspecError as error:
                log.warning("not_a_watermark", offset=record.offset, error=str(error))
