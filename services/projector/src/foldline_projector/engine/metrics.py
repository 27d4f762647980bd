"""What a projector says about itself: Prometheus metrics, `/healthz` and `/readyz`.

Lag is computed when it is asked for, from the last known positions and the database's clock, so it
goes on growing while a store is away. The server is a thread that only reads.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from foldline_projector.stores.port import Position, TopicPartition

STEPS = ("fetch", "decode", "load", "fold", "save", "commit")
OUTCOMES = ("applied", "duplicate", "gap", "parked")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_OWNER = ("projection", "generation")
_LABELS = (*_OWNER, "topic", "partition")


class Metrics:
    """The metrics of one process, in a registry of their own, for all generations that it folds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.busy = self._counter("busy_seconds", "Seconds spent on batches.")
        self.events = self._counter("events", "Events by what became of them.", "outcome")
        self.seconds = Histogram(
            "foldline_projection_batch_seconds",
            "Seconds of a batch by step.",
            (*_OWNER, "step"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.parked = Gauge(
            "foldline_projection_parked_aggregates",
            "Aggregates that wait because an event of theirs cannot be applied.",
            _OWNER,
            registry=self.registry,
        )
        self.generations: list[GenerationMetrics] = []
        self.registry.register(self)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(
            f"foldline_projection_{name}", text, (*_OWNER, *labels), registry=self.registry
        )

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Lag and positions of every generation, computed now."""
        families = {
            "lag_records": _family("lag_records", "Events that are not applied yet."),
            "lag_seconds": _family(
                "lag_seconds", "Age of the oldest event that is not applied yet."
            ),
            "position": _family("position", "Next offset to apply."),
        }
        for generation in list(self.generations):
            generation.add_to(families)
        return families.values()


class GenerationMetrics:
    """The metrics of one projection generation."""

    def __init__(
        self,
        metrics: Metrics,
        projection: str,
        generation: int,
        now: Callable[[], datetime | None],
    ) -> None:
        self.metrics = metrics
        self._owner = (projection, str(generation))
        self._now = now
        self._positions: dict[TopicPartition, Position | None] = {}
        self._busy = metrics.busy.labels(*self._owner)
        self._events = {each: metrics.events.labels(*self._owner, each) for each in OUTCOMES}
        self._steps = {step: metrics.seconds.labels(*self._owner, step) for step in STEPS}
        self._parked = metrics.parked.labels(*self._owner)
        metrics.generations.append(self)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times one step of a batch."""
        started = perf_counter()
        try:
            yield
        finally:
            self._steps[name].observe(perf_counter() - started)

    def count(self, outcome: Mapping[Any, int]) -> None:
        """Counts the events of a committed batch."""
        for name, number in outcome.items():
            self._events[name].inc(number)

    def add_busy(self, seconds: float) -> None:
        """Adds time that was spent on a batch."""
        self._busy.inc(seconds)

    def show(self, positions: Mapping[TopicPartition, Position | None], parked: int) -> None:
        """Takes over the positions as they are now; an empty set keeps the last ones in sight."""
        if positions:
            self._positions = dict(positions)
        self._parked.set(parked)

    def close(self) -> None:
        """Ends lag and positions of a generation that is not followed any more."""
        self.metrics.generations.remove(self)

    def add_to(self, families: Mapping[str, GaugeMetricFamily]) -> None:
        """Adds lag and positions, computed now."""
        now = self._now() or datetime.now(UTC)
        for at, position in self._positions.items():
            labels = (*self._owner, at.topic, str(at.partition))
            known = position or Position(offset=0, end=0)
            families["lag_records"].add_metric(labels, max(known.end - known.offset, 0))
            families["lag_seconds"].add_metric(labels, _age(now, known.oldest_recorded_at))
            families["position"].add_metric(labels, known.offset)


def _family(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"foldline_projection_{name}", text, labels=_LABELS)


def _age(now: datetime, oldest: datetime | None) -> float:
    return 0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0)


def serve(
    address: tuple[str, int], registry: CollectorRegistry, is_ready: Callable[[], bool]
) -> ThreadingHTTPServer:
    """Serves metrics and health from a thread. Raises OSError when the address is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                case "/healthz":
                    self._say(200, "alive")
                case "/readyz":
                    self._say(*((200, "ready") if is_ready() else (503, "not ready")))
                case _:
                    self._say(404, "not found")

        def _say(self, status: int, word: str) -> None:
            self._answer(status, "application/json", json.dumps({"status": word}).encode())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not worth a log line."""

    server = ThreadingHTTPServer(address, Handler)
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
