"""What a projector says about itself: Prometheus metrics, `/healthz` and `/readyz`.

Lag is computed when it is asked for, from the last known positions, the newest watermark and the
database's clock, so it goes on growing while a store is away. The server is a thread that only reads.
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

from foldline_projector.engine.watermarks import Watermarks
from foldline_projector.stores.port import Position, TopicPartition

STEPS = ("fetch", "decode", "load", "fold", "save", "commit")
OUTCOMES = ("applied", "duplicate", "gap", "parked")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_LABELS = ("projection", "generation", "topic", "partition")


class Metrics:
    """The metrics of one projection generation, in a registry of their own."""

    def __init__(self, projection: str, generation: int, watermarks: Watermarks) -> None:
        self.registry = CollectorRegistry()
        self._names = (projection, str(generation))
        self._watermarks = watermarks
        self._positions: dict[TopicPartition, Position | None] = {}
        self._busy = Counter(
            "foldline_projection_busy_seconds",
            "Seconds spent on batches.",
            ("projection",),
            registry=self.registry,
        ).labels(projection)
        self._events = Counter(
            "foldline_projection_events",
            "Events by what became of them.",
            ("projection", "outcome"),
            registry=self.registry,
        )
        for outcome in OUTCOMES:
            self._events.labels(projection, outcome)
        seconds = Histogram(
            "foldline_projection_batch_seconds",
            "Seconds of a batch by step.",
            ("projection", "step"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._steps = {step: seconds.labels(projection, step) for step in STEPS}
        self._parked = Gauge(
            "foldline_projection_parked_aggregates",
            "Aggregates that wait because an event of theirs cannot be applied.",
            ("projection",),
            registry=self.registry,
        ).labels(projection)
        self.registry.register(self)

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
            self._events.labels(self._names[0], name).inc(number)

    def busy(self, seconds: float) -> None:
        """Adds time that was spent on a batch."""
        self._busy.inc(seconds)

    def show(self, positions: Mapping[TopicPartition, Position | None], parked: int) -> None:
        """Takes over what is known now; without positions, such as after a failure, the last stay."""
        if positions:
            self._positions = dict(positions)
            self._parked.set(parked)

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Says nothing more about partitions that another member may have."""
        gone = set(partitions)
        self._positions = {at: each for at, each in self._positions.items() if at not in gone}
        if not self._positions:
            self._parked.set(0)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Lag and positions, computed now."""
        records = _family("lag_records", "Events that are not applied yet.")
        seconds = _family("lag_seconds", "Age of the oldest event that is not applied yet.")
        offsets = _family("position", "Next offset to apply.")
        now = self._watermarks.now() or datetime.now(UTC)
        for at, position in self._positions.items():
            labels = (*self._names, at.topic, str(at.partition))
            known = self._watermarks.known(at, position or Position(offset=0, end=0))
            records.add_metric(labels, max(known.end - known.offset, 0))
            seconds.add_metric(labels, _age(now, known.oldest_recorded_at))
            offsets.add_metric(labels, known.offset)
        return (records, seconds, offsets)


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
