"""Faults of every part of the pipeline: nothing lost, nothing doubled, and the answers say so meanwhile."""

import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from threading import Event
from typing import Any

import pytest
from support.eventually import eventually

from foldline_local.testing import RunningStack

from .conftest import Client

pytestmark = pytest.mark.e2e

PROJECTORS = {
    "order-summaries": "postgres",
    "order-details": "mongodb",
    "order-analytics": "clickhouse",
    "order-search": "elasticsearch",
}
ORDERS = 20
#: How long a part is away, at least.
ABSENCE_SECONDS = 30
#: Pause of the traffic between two orders: hundreds in all.
ORDER_SECONDS = 0.2
CUSTOMER = "faults"


@contextmanager
def stopped(pipeline: RunningStack, name: str) -> Iterator[None]:
    """The process is away for the block."""
    pipeline.stop(name)
    try:
        yield
    finally:
        pipeline.start(name)


def place_and_submit(client: Client) -> list[str]:
    """Twenty orders, submitted; the tokens."""
    orders = [client.place(CUSTOMER)[0] for _ in range(ORDERS)]
    return [client.send("POST", f"/orders/{order}/submit") for order in orders]


def assert_exact(client: Client, tokens: list[str]) -> None:
    """Every store shows each order once, at its version."""
    recent = tokens[-2 * ORDERS :]  # a request cannot carry any number of headers
    for token in tokens:
        order = order_of(token)
        detail = client.read(f"/orders/{order}", token)
        assert (detail["version"], detail["order"]["status"]) == (2, "SUBMITTED")
    versions: dict[str, list[int]] = {}
    cursor = ""
    while cursor is not None:
        page = client.read(f"/customers/{CUSTOMER}/orders?limit=200{cursor}", *recent)
        for item in page["items"]:
            versions.setdefault(item["orderId"], []).append(item["version"])
        cursor = f"&cursor={page['nextCursor']}" if page["nextCursor"] else None
    assert {order_of(token) for token in tokens} <= set(versions)
    assert all(seen == [2] for seen in versions.values())
    found = client.read(f"/search?customerId={CUSTOMER}&limit=1", *recent)
    assert found["total"] == len(versions)
    days = client.read("/stats/daily?currency=EUR", *recent)["days"]
    money = sum(Decimal(day["totalRevenue"]) for day in days)
    listed = client.read("/orders?count=true&limit=1&status=SUBMITTED")
    assert money >= Decimal(20) * listed["total"]


def order_of(token: str) -> str:
    """The id of the order that a token names."""
    return token.removeprefix("orders/").partition("@")[0]


def sent(client: Client, path: str, body: Any, key: str) -> str | None:
    """The command's token, or None when it is to be repeated."""
    headers = {"Idempotency-Key": key}
    answer = client.command.post(path, json=body, headers=headers)
    assert answer.status_code in (202, 503), answer.text
    return answer.headers["Foldline-Token"] if answer.status_code == 202 else None


def buy(client: Client) -> str:
    """An order, placed and submitted; what is refused for a while is repeated under its key. The token."""
    order = f"buy-{uuid.uuid4().hex[:12]}"
    item = {"productId": "p-1", "name": "Teapot", "quantity": 2, "unitPrice": "10.00"}
    body = {"orderId": order, "customerId": CUSTOMER, "items": [item]}
    eventually(lambda: sent(client, "/orders", body, f"{order}-place"), within=300)
    submit = f"/orders/{order}/submit"
    return eventually(lambda: sent(client, submit, None, f"{order}-submit"), within=300)


class Traffic:
    """Orders all the time, from a thread, until the block ends."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = Event()
        self._pool = ThreadPoolExecutor(1)
        self._running: Future[None]
        self.tokens: list[str] = []

    def __enter__(self) -> "Traffic":
        self._running = self._pool.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.tokens.append(buy(self._client))
            self._stop.wait(ORDER_SECONDS)

    def flows(self, seconds: float) -> int:
        """The orders that got through in this time. Raises at once what ended the traffic, if anything did."""
        before = len(self.tokens)
        wait([self._running], timeout=seconds)
        if self._running.done():
            self._running.result()
        return len(self.tokens) - before


@pytest.mark.timeout(900)
def test_stores_kafka_and_postgresql_away_for_half_a_minute_lose_and_double_nothing(
    client: Client, pipeline: RunningStack
) -> None:
    """One after the other under the same traffic; PostgreSQL holds the write side and order-summaries."""
    with Traffic(client) as traffic:
        with ExitStack() as away:
            for name in ("mongodb", "clickhouse", "elasticsearch"):
                away.enter_context(stopped(pipeline, name))
            assert traffic.flows(ABSENCE_SECONDS) > 0
        with stopped(pipeline, "kafka"):
            assert traffic.flows(ABSENCE_SECONDS) > 0
        with stopped(pipeline, "postgres"):
            assert_refused(client)
            traffic.flows(ABSENCE_SECONDS)
            assert_refused(client)
        eventually(lambda: traffic.flows(0.1), within=120)
    settled = datetime.now(UTC)
    eventually(lambda: client.has_caught_up(settled), within=300)
    assert_exact(client, traffic.tokens)


@pytest.mark.parametrize("projection", PROJECTORS)
def test_a_killed_projector_loses_and_doubles_nothing(
    client: Client, pipeline: RunningStack, projection: str
) -> None:
    first = place_and_submit(client)
    pipeline.kill(f"projector-{projection}", signal.SIGKILL)
    second = place_and_submit(client)
    pipeline.wait_ready(f"projector-{projection}")
    assert_exact(client, first + second)


def test_connect_that_was_away_loses_and_doubles_nothing(
    client: Client, pipeline: RunningStack
) -> None:
    with stopped(pipeline, "connect"):
        tokens = place_and_submit(client)
    assert_exact(client, tokens)


def test_commands_are_refused_cleanly_while_postgresql_is_away(
    client: Client, pipeline: RunningStack
) -> None:
    with stopped(pipeline, "postgres"):
        assert_refused(client)
    assert_exact(client, place_and_submit(client))


def assert_refused(client: Client) -> None:
    """Commands and queries say that PostgreSQL is away, and when to come again."""
    answer = client.command.post("/orders", json={"customerId": CUSTOMER, "items": []})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert client.query.get("/orders").status_code == 503
