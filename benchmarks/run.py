"""A first look at speed: `make bench`.

On a stack of its own, three questions, each with the figure that it is to be read against:

- **commands**: orders placed per second and their latency, beside the same service's `/healthz` (what HTTP alone costs);
- **visible**: from the command's answer until each read model answers with it, beside a plain consumer
  of the topic (what Debezium and Kafka alone cost);
- **projection**: events per second of each projector alone on a backlog, beside kafka-python only
  consuming the same topic.

Everything shares this machine's cores, so ratios travel and absolute figures do not.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from foldline_local.applications import command_line
from foldline_local.artifacts import Layout
from foldline_local.testing import RunningStack, running_stack

RESULTS = Path(__file__).parent / "results"
PORT_OFFSET = 4000
CLIENTS = 4
COMMAND_SECONDS = 10.0
SAMPLES = 100
CATCH_UP_SECONDS = 600.0
READY_SECONDS = 60.0
POLL_SECONDS = 0.05
TOPIC = "order-events"
READS = {
    "order-summaries": "/orders?limit=1",
    "order-details": "/orders/{order}",
    "order-analytics": "/stats/daily",
    "order-search": "/search?limit=1",
}


@dataclass(frozen=True)
class Row:
    """One figure: how often a second, and how long one takes in milliseconds."""

    benchmark: str
    subject: str
    per_second: float | None
    p50_ms: float | None
    p99_ms: float | None


def row(benchmark: str, subject: str, seconds: list[float], elapsed: float | None = None) -> Row:
    """A row from the durations of single runs; the rate needs the elapsed time of them all."""
    ranked = sorted(seconds)
    p99 = ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))]
    rate = len(seconds) / elapsed if elapsed else None
    return Row(benchmark, subject, rate, statistics.median(ranked) * 1000, p99 * 1000)


def main() -> int:
    """Runs everything, prints the table and writes `results/first-look.json`."""
    console = Console()
    console.print("bringing up a stack of its own ...")
    with running_stack(port_offset=PORT_OFFSET, services_only=False) as stack:
        bench = Bench(stack)
        rows: list[Row] = []
        for step in (bench.commands, bench.visible, bench.projection):
            console.print(f"{step.__name__} ...")
            rows += step()
    _write(rows)
    console.print(_table(rows))
    return 0


class Bench:
    """The three benchmarks against one running stack."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        ports, host = stack.settings.ports, stack.settings.host
        self._command = f"http://{host}:{ports['command']}"
        self._query = f"http://{host}:{ports['query']}"

    def commands(self) -> list[Row]:
        """Orders placed by four clients at once, and the same clients asking for nothing."""
        with httpx.Client(base_url=self._command, timeout=30) as http:
            self._hammer(lambda: _place(http), seconds=2)  # warm
            placed = self._hammer(lambda: _place(http), COMMAND_SECONDS)
            nothing = self._hammer(lambda: http.get("/healthz"), COMMAND_SECONDS / 2)
        return [
            row("commands", "POST /orders", placed, COMMAND_SECONDS),
            row("commands", "peer: GET /healthz", nothing, COMMAND_SECONDS / 2),
        ]

    @staticmethod
    def _hammer(call: Callable[[], object], seconds: float) -> list[float]:
        deadline = time.perf_counter() + seconds

        def client() -> list[float]:
            taken = []
            while (start := time.perf_counter()) < deadline:
                call()
                taken.append(time.perf_counter() - start)
            return taken

        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(client) for _ in range(CLIENTS)]
            return [duration for each in running for duration in each.result()]

    def visible(self) -> list[Row]:
        """From the command's answer to each read model's, one order at a time."""
        rows = [row("visible", "peer: Debezium and Kafka alone", self._consumed())]
        with httpx.Client(timeout=60) as http:
            for name, path in READS.items():
                _ = [self._read_back(http, path) for _ in range(10)]  # warm
                taken = [self._read_back(http, path) for _ in range(SAMPLES)]
                rows.append(row("visible", name, taken))
        return rows

    def _read_back(self, http: httpx.Client, path: str) -> float:
        order, token = _place(http, self._command)
        start = time.perf_counter()
        headers = {"Foldline-Token": token, "Prefer": "wait=30"}
        http.get(self._query + path.format(order=order), headers=headers).raise_for_status()
        return time.perf_counter() - start

    def _consumed(self) -> list[float]:
        arrivals: dict[str, float] = {}
        ready, done = threading.Event(), threading.Event()

        def consume() -> None:
            with_end = self._consumer(from_beginning=False)
            ready.set()
            while not done.is_set():
                for records in with_end.poll(timeout_ms=100).values():
                    for record in records:
                        arrivals.setdefault(record.key.decode(), time.perf_counter())
            with_end.close()

        thread = threading.Thread(target=consume, daemon=True)
        thread.start()
        answered: dict[str, float] = {}
        try:
            if not ready.wait(READY_SECONDS):
                raise TimeoutError(f"the consumer was not ready within {READY_SECONDS} s")
            with httpx.Client(timeout=30) as http:
                for _ in range(SAMPLES):
                    order, _ = _place(http, self._command)
                    answered[order] = time.perf_counter()
                    _until(lambda order=order: order in arrivals, 30)  # type: ignore[misc]
        finally:
            done.set()
        thread.join(READY_SECONDS)
        return [max(0.0, arrivals[order] - moment) for order, moment in answered.items()]

    def projection(self) -> list[Row]:
        """Each projector alone on the backlog that the full CDNOW log makes."""
        for name in READS:
            self._stack.stop(f"projector-{name}")
        before = self._total()
        self._import()
        _until(lambda: self._total() > before and self._settled(), CATCH_UP_SECONDS)
        events = self._total() - before
        rows = [_rate("peer: kafka-python only consuming", self._total(), self._drain())]
        for name in READS:
            start = time.perf_counter()
            self._stack.start(f"projector-{name}")
            _until(lambda name=name: self._lag(name) == 0, CATCH_UP_SECONDS)  # type: ignore[misc]
            rows.append(_rate(name, events, time.perf_counter() - start))
            self._stack.stop(f"projector-{name}")
        return rows

    def _import(self) -> None:
        log = Layout(self._stack.settings.cache).cdnow / "CDNOW_master.txt"
        argv = ("foldline", "import", "orders", str(log), "--dataset", "cdnow", "--format", "cdnow")
        subprocess.run(command_line(argv), env=self._stack.environment, check=True)

    def _settled(self) -> bool:
        """Whether Debezium has delivered the backlog: the topic stands still for a second."""
        before = self._total()
        time.sleep(1)
        return self._total() == before

    def _total(self) -> int:
        consumer = self._consumer(from_beginning=False)
        total = sum(consumer.end_offsets(list(consumer.assignment())).values())
        consumer.close()
        return int(total)

    def _drain(self) -> float:
        total, seen = self._total(), 0
        consumer = self._consumer(from_beginning=True)
        start = time.perf_counter()
        while seen < total:
            if time.perf_counter() - start > CATCH_UP_SECONDS:
                raise TimeoutError(f"{seen} of {total} events within {CATCH_UP_SECONDS} s")
            seen += sum(len(records) for records in consumer.poll(timeout_ms=500).values())
        taken = time.perf_counter() - start
        consumer.close()
        return taken

    def _consumer(self, *, from_beginning: bool) -> KafkaConsumer:
        consumer = KafkaConsumer(
            bootstrap_servers=self._stack.urls["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"],
            group_id=None,
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
            max_poll_records=5000,
        )
        partitions = [TopicPartition(TOPIC, n) for n in consumer.partitions_for_topic(TOPIC)]
        consumer.assign(partitions)
        (consumer.seek_to_beginning if from_beginning else consumer.seek_to_end)(*partitions)
        for partition in partitions:
            consumer.position(partition)
        return consumer

    def _lag(self, projection: str) -> int:
        listed = httpx.get(f"{self._query}/projections", timeout=30).json()["projections"]
        mine = next(each for each in listed if each["projection"] == projection)
        if not mine["partitions"]:
            return -1
        own = [each for each in mine["partitions"] if each["topic"] == TOPIC]
        behind = self._total() - sum(each["position"] for each in own)
        return int(behind)


def _place(http: httpx.Client, base: str = "") -> tuple[str, str]:
    order = f"bench-{uuid.uuid4().hex[:16]}"
    item = {"productId": "p-1", "name": "Teapot", "quantity": 1, "unitPrice": "19.99"}
    body = {"orderId": order, "customerId": "bench", "items": [item]}
    answer = http.post(f"{base}/orders", json=body).raise_for_status()
    return order, answer.headers["Foldline-Token"]


def _rate(subject: str, events: int, seconds: float) -> Row:
    return Row("projection", subject, events / seconds, None, None)


def _until(check: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(POLL_SECONDS)


def _write(rows: list[Row]) -> None:
    RESULTS.mkdir(exist_ok=True)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    document = {"machine": machine, "rows": [asdict(each) for each in rows]}
    (RESULTS / "first-look.json").write_text(json.dumps(document, indent=2) + "\n")


def _table(rows: list[Row]) -> Table:
    table = Table("benchmark", "subject", "per second", "p50 ms", "p99 ms")
    for each in rows:
        figures = (each.per_second, each.p50_ms, each.p99_ms)
        table.add_row(
            each.benchmark, each.subject, *("" if n is None else f"{n:,.1f}" for n in figures)
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
