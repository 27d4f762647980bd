"""Composition of a projector process: settings, store, Kafka, loop, and its orderly end.

SIGTERM and SIGINT finish the batch in hand and exit with 0. Whatever is not a verdict crashes with
exit status 1, and the supervisor starts the process again: positions in the store say where.
"""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from threading import Event
from typing import Any

import structlog
from kafka.errors import KafkaError

from foldline_contracts.config import ConfigurationError
from foldline_contracts.state import FIRST_GENERATION
from foldline_projector.config import Settings
from foldline_projector.engine import crash
from foldline_projector.engine.consumer import FENCED_FACTOR, FencedMember, Loop, Parts
from foldline_projector.engine.engine import Engine
from foldline_projector.engine.kafka import group_consumer
from foldline_projector.engine.metrics import Metrics, serve
from foldline_projector.engine.watermark_reader import WatermarkReader
from foldline_projector.engine.watermarks import Watermarks
from foldline_projector.projection import Projection
from foldline_projector.stores.port import RetryLater, Store
from foldline_projector.stores.registry import open_store

log = structlog.get_logger()

TOPICS_POLL_SECONDS = 0.5


class NotStarted(Exception):
    """The process cannot begin; the message is one line that says why."""


def run(
    projection: Projection,
    generation: int = FIRST_GENERATION,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Runs a projector until a signal ends it. Raises ConfigurationError or NotStarted."""
    configure_logging()
    settings = Settings.from_env(environ, projection.read_model.store)
    _arm(settings)
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    store = _store(settings, projection, generation)
    try:
        loop = _loop(settings, projection, generation, store)
        _work(loop, settings, stopping)
    finally:
        store.close()


def configure_logging() -> None:
    """Structured lines on standard error; Kafka's client only when something is wrong."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _arm(settings: Settings) -> None:
    if settings.crash_at is not None:
        try:
            crash.arm(settings.crash_at)
        except ValueError as error:
            raise ConfigurationError(f"FOLDLINE_CRASH_AT is not usable: {error}") from error


def _store(settings: Settings, projection: Projection, generation: int) -> Store:
    try:
        return open_store(settings.store_url, projection, generation)
    except ValueError as error:
        raise ConfigurationError(f"the store's URL is not usable: {error}") from error


def _loop(settings: Settings, projection: Projection, generation: int, store: Store) -> Loop:
    name = projection.read_model.name
    member = f"{name}-g{generation}-{settings.ordinal}"
    watermarks = Watermarks()
    metrics = Metrics(name, generation, watermarks)
    parts = Parts(
        engine=Engine(projection, store, metrics, settings.cache_documents),
        consumer=_consumer(settings, projection.read_model.consumer_group(generation), member),
        watermarks=watermarks,
        reader=WatermarkReader(settings.kafka, f"{member}-watermarks", watermarks),
        metrics=metrics,
        session_timeout=settings.session_timeout,
    )
    return Loop(parts)


def _consumer(settings: Settings, group: str, member: str) -> Any:
    try:
        return group_consumer(
            settings.kafka, group, member, settings.session_timeout, settings.max_poll_records
        )
    except KafkaError as error:
        addresses = ",".join(settings.kafka["bootstrap_servers"])
        raise NotStarted(f"Kafka at {addresses} does not answer: {error}") from error


def _work(loop: Loop, settings: Settings, stopping: Event) -> None:
    if settings.metrics_port is not None:
        _serve(loop, settings)
    if not _prepare(loop, stopping):
        return
    try:
        loop.run(stopping.is_set)
    except FencedMember as error:
        # The twin settles first; this one must not fence it again at once.
        log.error("fenced_member", reason=str(error))
        stopping.wait(FENCED_FACTOR * settings.session_timeout)
        raise NotStarted(str(error)) from error
    log.info("stopped")


def _serve(loop: Loop, settings: Settings) -> None:
    address = (settings.metrics_bind, settings.metrics_port or 0)
    try:
        serve(address, loop.metrics.registry, lambda: loop.is_ready)
    except OSError as error:
        raise NotStarted(f"cannot serve metrics on {address[0]}:{address[1]}: {error}") from error


def _prepare(loop: Loop, stopping: Event) -> bool:
    """Prepares the store once topics and store are there; False when told to stop before."""
    while not stopping.is_set():
        partitions = loop.partition_counts()
        if all(partitions.values()):
            try:
                loop.engine.prepare(partitions)
                return True
            except RetryLater as verdict:
                log.warning("retry_later", delay=verdict.delay, reason=str(verdict))
                stopping.wait(verdict.delay)
        else:
            missing = [topic for topic, count in partitions.items() if not count]
            log.warning("topics_missing", topics=missing)
            stopping.wait(TOPICS_POLL_SECONDS)
    return False
