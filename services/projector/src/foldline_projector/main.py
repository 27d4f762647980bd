"""Composition of a projector process: settings, stores, Kafka, a loop per generation, and its orderly end.

SIGTERM and SIGINT finish the batches in hand and exit with 0. Whatever is not a verdict crashes with
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
from foldline_projector.config import Settings
from foldline_projector.engine import crash
from foldline_projector.engine.barrier import Barrier
from foldline_projector.engine.consumer import FENCED_FACTOR, Loop, Parts
from foldline_projector.engine.engine import Engine
from foldline_projector.engine.generations import Registry
from foldline_projector.engine.kafka import group_consumer, lone_consumer
from foldline_projector.engine.metrics import GenerationMetrics, Metrics, serve
from foldline_projector.engine.watermark_reader import WatermarkReader
from foldline_projector.engine.watermarks import Watermarks
from foldline_projector.fleet import Fleet, NotStarted
from foldline_projector.projection import Projection
from foldline_projector.stores.port import Store
from foldline_projector.stores.registry import open_store


def run(
    projection: Projection,
    generation: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Runs a projector until a signal ends it: of one generation, or of all that this code may write.

    Raises ConfigurationError or NotStarted.
    """
    configure_logging()
    settings = Settings.from_env(environ, projection.read_model.store)
    _arm(settings)
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    process = _Process(settings, projection)
    fleet = Fleet(projection, generation, process, FENCED_FACTOR * settings.session_timeout)
    if settings.metrics_port is not None:
        _serve(process.metrics, fleet, settings)
    fleet.run(stopping)


class _Process:
    """Makes what the fleet asks for."""

    def __init__(self, settings: Settings, projection: Projection) -> None:
        self._settings = settings
        self._projection = projection
        self.metrics = Metrics()

    def store(self, generation: int) -> Store:
        """A store bound to a generation."""
        try:
            return open_store(self._settings.store_url, self._projection, generation)
        except ValueError as error:
            raise ConfigurationError(f"the store's URL is not usable: {error}") from error

    def partitions(self) -> dict[str, int]:
        """Partitions of each topic that the projection consumes; 0 while it does not exist."""
        model = self._projection.read_model
        try:
            consumer = lone_consumer(self._settings.kafka, f"{model.name}-topics")
            try:
                found = {each: consumer.partitions_for_topic(each) or () for each in model.topics}
            finally:
                consumer.close()
        except KafkaError as error:
            raise NotStarted(self._away(error)) from error
        return {topic: len(numbers) for topic, numbers in found.items()}

    def loop(self, generation: int, store: Store) -> Loop:
        """The loop of a generation."""
        settings, projection = self._settings, self._projection
        name = projection.read_model.name
        member = f"{name}-g{generation}-{settings.ordinal}"
        watermarks = Watermarks()
        metrics = GenerationMetrics(self.metrics, name, generation, watermarks.now)
        parts = Parts(
            engine=Engine(projection, store, metrics, settings.cache_documents),
            consumer=self._consumer(projection.read_model.consumer_group(generation), member),
            watermarks=watermarks,
            reader=WatermarkReader(settings.kafka, f"{member}-watermarks", watermarks),
            barrier=Barrier(Registry(store, projection.read_model), generation),
            metrics=metrics,
            session_timeout=settings.session_timeout,
        )
        return Loop(parts)

    def _consumer(self, group: str, member: str) -> Any:
        settings = self._settings
        try:
            return group_consumer(
                settings.kafka, group, member, settings.session_timeout, settings.max_poll_records
            )
        except KafkaError as error:
            raise NotStarted(self._away(error)) from error

    def _away(self, error: KafkaError) -> str:
        addresses = ",".join(self._settings.kafka["bootstrap_servers"])
        return f"Kafka at {addresses} does not answer: {error}"


def configure_logging() -> None:
    """Structured lines on standard error; Kafka's client only when something is wrong."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
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


def _serve(metrics: Metrics, fleet: Fleet, settings: Settings) -> None:
    address = (settings.metrics_bind, settings.metrics_port or 0)
    try:
        serve(address, metrics.registry, lambda: fleet.is_ready)
    except OSError as error:
        raise NotStarted(f"cannot serve metrics on {address[0]}:{address[1]}: {error}") from error
