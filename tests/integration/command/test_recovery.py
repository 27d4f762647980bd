"""The keeper and the connector after faults: they go on by themselves, or say in one line why not."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
from kafka.errors import KafkaError
from sqlalchemy.engine import make_url
from support.eventually import eventually

from foldline_command import keeper
from foldline_contracts.watermark import Watermark
from foldline_local.testing import RunningStack

from .conftest import FOLDLINE, Stack

pytestmark = pytest.mark.integration

METRICS_PORT = 29418
#: Well over the promised 5 s, since the machine may be busy, and well under the 30 s of Kafka's clients.
STOP_SECONDS = 20


@dataclass(frozen=True)
class Keeper:
    """A running keeper."""

    process: subprocess.Popen[bytes]
    log: Path
    stack: Stack

    def has_published_since(self, moment: datetime) -> bool:
        as_of = keeper.status(self.stack.url)["as_of"]
        return as_of is not None and as_of > moment

    def goes_on(self) -> None:
        """Publishes a watermark of what is committed from now on."""
        now = datetime.now(UTC)
        eventually(lambda: self.has_published_since(now), within=180)
        assert self.process.poll() is None

    def troubles(self) -> int:
        """How often it has said that something is away."""
        said = self.log.read_text()
        return said.count("keeper_waits") + said.count("watermark_delayed")


@pytest.fixture
def running(stack: Stack, tmp_path: Path) -> Iterator[Keeper]:
    environ = os.environ | {"FOLDLINE_METRICS_PORT": str(METRICS_PORT)}
    log = tmp_path / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen([FOLDLINE, "outbox", "keep"], env=environ, stderr=output) as process,
    ):
        try:
            found = Keeper(process, log, stack)
            found.goes_on()
            yield found
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["kafka", "postgres"])
def test_the_keeper_goes_on_after_a_restart(
    running: Keeper, services: RunningStack, name: str
) -> None:
    before = running.troubles()
    services.stop(name)
    try:
        eventually(lambda: running.troubles() > before, within=60)
    finally:
        services.start(name)
    running.goes_on()


def test_no_call_to_a_kafka_that_stands_still_takes_long(
    stack: Stack, services: RunningStack
) -> None:
    """The keeper ends after the call in hand, so this is how soon it can be stopped."""
    topics = keeper.Topics(stack.kafka)
    now = datetime.now(UTC)
    mark = Watermark(as_of=now, published_at=now, ends=topics.ends(), incarnation=1)
    with services.frozen("kafka"):
        started = monotonic()
        with pytest.raises(KafkaError):
            topics.ends()
        with pytest.raises(KafkaError):
            topics.publish(mark)
        topics.close()
        assert monotonic() - started < STOP_SECONDS


@contextmanager
def undone(url: str, harm: str, cure: str) -> Iterator[None]:
    """Harm to the database, as its superuser, for the block."""
    address = make_url(url).set(username="postgres").render_as_string(False)
    with psycopg.connect(address, autocommit=True) as database:
        database.execute(harm)  # type: ignore[call-overload]
        try:
            yield
        finally:
            database.execute(cure)  # type: ignore[call-overload]


def apply(**more: str) -> subprocess.CompletedProcess[str]:
    command = [FOLDLINE, "connector", "apply"]
    return subprocess.run(command, env=os.environ | more, capture_output=True, text=True)


def refusal(done: Any) -> str:
    """The one line that a failed command said."""
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.splitlines()
    return str(line)


def test_a_missing_publication_is_named(stack: Stack) -> None:
    away = ("ALTER PUBLICATION foldline_outbox RENAME TO away",)
    back = "ALTER PUBLICATION away RENAME TO foldline_outbox"
    with undone(stack.url, *away, back), keeper.connect(stack.url) as database:
        assert not keeper._is_confirmed(database, "0/0")
        assert "publication foldline_outbox is missing" in refusal(apply())
    with keeper.connect(stack.url) as database:
        assert keeper._is_confirmed(database, "0/0")
    assert "running" in apply().stdout


def test_an_account_that_cannot_log_in_is_named(stack: Stack) -> None:
    assert "stranger" in refusal(apply(FOLDLINE_DEBEZIUM_USER="stranger"))
    assert "unchanged, running" in apply().stdout
