"""Real projector processes, on topics, a projection and tables of the test's own.

Each test brings a domain of its own, found by entry points on the processes' path, as a team's
wheel would be: kinds with unique topics, a read model with a unique name, the fold of
order-summaries. So tests share a broker and a database and never see each other.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

import psycopg
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic
from psycopg import sql
from support.eventually import eventually
from support.order_events import wire

from foldline_contracts.codec import Event
from foldline_contracts.topics import WATERMARKS
from foldline_contracts.watermark import Watermark, encode
from foldline_projector.orders import summaries
from foldline_projector.stores.port import Body

PARTITIONS = 4
MODULE = """
from dataclasses import replace
from foldline_contracts.orders.events import CUSTOMERS, ORDERS
from foldline_projector.orders.{base} import PROJECTION as BASE

MY_ORDERS = replace(ORDERS, name="orders-{id}", topic="order-events-{id}")
MY_CUSTOMERS = replace(CUSTOMERS, name="customers-{id}", topic="customer-events-{id}")
MODEL = replace(
    BASE.read_model,
    name="own-{id}",
    primary="orders-{id}",
    reference="customers-{id}" if BASE.read_model.reference else None,
)
PROJECTION = replace(BASE, read_model=MODEL)
"""
ENTRY_POINTS = """
[foldline.aggregates]
orders-{id} = own_{id}:MY_ORDERS
customers-{id} = own_{id}:MY_CUSTOMERS
[foldline.projections]
own-{id} = own_{id}:PROJECTION
"""
FOLDLINE = str(Path(sys.executable).with_name("foldline"))


@dataclass
class Process:
    """A running projector."""

    popen: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        """What it has said so far."""
        return self.log.read_text()

    def send(self, number: int) -> None:
        self.popen.send_signal(number)

    def ended(self, within: float) -> int:
        """Its exit status."""
        return self.popen.wait(timeout=within)

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.ended(within=30)


class Domain:
    """One test's topics, projection and events."""

    def __init__(self, folder: Path, base: str = "summaries") -> None:
        """`base`: the module in `foldline_projector.orders` whose projection it copies."""
        self.base = base
        self.id = uuid4().hex[:10]
        self.name = f"own-{self.id}"
        self.table = f"own_{self.id}_g1"
        self.orders, self.customers = f"order-events-{self.id}", f"customer-events-{self.id}"
        self._folder = folder
        self._events: list[Event] = []
        self._processes: list[Process] = []
        info = folder / f"own_{self.id}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: own-{self.id}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(ENTRY_POINTS.format(id=self.id))
        self._module = folder / f"own_{self.id}.py"
        self._module.write_text(MODULE.format(id=self.id, base=base))
        self._kafka = os.environ["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"]
        self._create_topics()
        self.connect()

    def connect(self) -> None:
        """Opens the producer."""
        self.producer = KafkaProducer(bootstrap_servers=self._kafka, linger_ms=5)

    def disconnect(self) -> None:
        """Closes the producer; kafka-python leaks a socket for each try to reach a broker that is gone."""
        self.producer.close(timeout=5)

    def _create_topics(self) -> None:
        admin = self.admin()
        wanted = {self.orders: PARTITIONS, self.customers: PARTITIONS, WATERMARKS: 1}
        present = set(admin.list_topics())
        new = [NewTopic(name, n, 1) for name, n in wanted.items() if name not in present]
        admin.create_topics(new)
        admin.close()

    def admin(self) -> Any:
        return KafkaAdminClient(bootstrap_servers=self._kafka)

    def amend(self, code: str) -> None:
        """Code that every process started from now on runs when it loads the domain."""
        self._module.write_text(self._module.read_text() + code)

    def environ(self, more: Mapping[str, str]) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(self._folder),
            "HOSTNAME": "test",
            "FOLDLINE_PROJECTOR_SESSION_TIMEOUT_SECONDS": "6",
            "FOLDLINE_PROJECTOR_MAX_POLL_RECORDS": "40",
            **more,
        }

    def start(self, ordinal: int = 0, *options: str, **more: str) -> Process:
        """Starts a projector; `more` is environment without the prefix."""
        given = {f"FOLDLINE_{name}": value for name, value in more.items()}
        given["FOLDLINE_PROJECTOR_ORDINAL"] = str(ordinal)
        log = self._folder / f"log-{len(self._processes)}"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [FOLDLINE, "projector", "run", self.name, *options],
                env=self.environ(given),
                stdout=output,
                stderr=output,
            )
        self._processes.append(Process(popen, log))
        return self._processes[-1]

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; `more` is environment without the prefix."""
        given = {f"FOLDLINE_{name}": value for name, value in more.items()}
        return subprocess.run(
            [FOLDLINE, *words],
            env=self.environ(given),
            capture_output=True,
            text=True,
            timeout=180,
        )

    def produce(self, events: Sequence[Event], again: int = 0) -> None:
        """Sends events, each aggregate to its partition; then the first `again` of them again."""
        self._events += events
        for event in (*events, *events[:again]):
            self.raw(self.topic(event), event.subject.encode(), wire(event))
        self.flush()

    def topic(self, event: Event) -> str:
        return self.customers if event.kind == "customers" else self.orders

    def raw(self, topic: str, key: bytes, value: bytes) -> None:
        """Sends a record as it is."""
        self.producer.send(topic, key=key, value=value, partition=crc32(key) % PARTITIONS)

    def flush(self) -> None:
        self.producer.flush(timeout=60)

    def watermark(self, watermark: Watermark) -> None:
        self.producer.send(WATERMARKS, key=b"watermark", value=encode(watermark), partition=0)
        self.flush()

    def expected(self) -> dict[str, tuple[Any, ...]]:
        """What each order must look like, folded here from what was produced."""
        orders: dict[str, tuple[int, Body]] = {}
        names: dict[str, tuple[int, str]] = {}
        for event in sorted(self._events, key=lambda each: each.version):
            if event.kind == "customers":
                names[event.subject] = (event.version, event.data.personal.name)
                continue
            _, body = orders.get(event.subject, (0, None))
            orders[event.subject] = (event.version, summaries.evolve(body, event))
        return {
            key: (
                version,
                body["status"],
                body["total"],
                *names.get(body["customerId"], (None,) * 2),
            )
            for key, (version, body) in orders.items()
        }

    def documents(self) -> dict[str, tuple[Any, ...]]:
        """What each order looks like in the store."""
        query = sql.SQL(
            "SELECT key, primary_version, status, total::text, reference_version, customer_name"
            " FROM {}"
        ).format(sql.Identifier(self.table))
        return {row[0]: row[1:] for row in self.query(query)}

    def query(self, query: Any, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(os.environ["FOLDLINE_READ_DATABASE_URL"]) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def positions(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Positions by topic and partition."""
        rows = self.query(
            "SELECT topic, partition, position, end_offset, as_of, recorded_at"
            " FROM foldline_positions WHERE projection = %s",
            self.name,
        )
        return {
            (row[0], row[1]): dict(
                zip(("position", "end", "as_of", "recorded_at"), row[2:], strict=True)
            )
            for row in rows
        }

    def is_exact(self) -> bool:
        """Whether the store has exactly what was produced."""
        with suppress(psycopg.errors.UndefinedTable):
            assert self.documents() == self.expected()
            return True
        return False

    def become_exact(self, within: float = 60) -> None:
        eventually(self.is_exact, within=within)

    def close(self) -> None:
        """Ends the processes and removes what the test made."""
        for process in self._processes:
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.wait(timeout=30)
        self.disconnect()
        for name in (self.table, f"{self.table}_references"):
            self.query(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
        for name in ("projections", "generations", "positions", "parked"):
            with suppress(psycopg.errors.UndefinedTable):
                table = sql.Identifier(f"foldline_{name}")
                self.query(sql.SQL("DELETE FROM {} WHERE projection = %s").format(table), self.name)
        admin = self.admin()
        admin.delete_topics([self.orders, self.customers])
        admin.close()


@contextmanager
def own_domain(folder: Path) -> Iterator[Domain]:
    """A domain that is gone afterwards."""
    domain = Domain(folder)
    try:
        yield domain
    finally:
        domain.close()
