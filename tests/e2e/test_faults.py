"""Faults of every part of the pipeline: nothing lost, nothing doubled, and the answers say so meanwhile."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

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
    for token in tokens:
        order = token.removeprefix("orders/").partition("@")[0]
        detail = client.read(f"/orders/{order}", token)
        assert (detail["version"], detail["order"]["status"]) == (2, "SUBMITTED")
    versions: dict[str, list[int]] = {}
    cursor = ""
    while cursor is not None:
        page = client.read(f"/customers/{CUSTOMER}/orders?limit=200{cursor}", *tokens)
        for item in page["items"]:
            versions.setdefault(item["orderId"], []).append(item["version"])
        cursor = f"&cursor={page['nextCursor']}" if page["nextCursor"] else None
    assert all(seen == [2] for seen in versions.values())
    found = client.read(f"/search?customerId={CUSTOMER}&limit=1", *tokens)
    assert found["total"] == len(versions)
    days = client.read("/stats/daily?currency=EUR", *tokens)["days"]
    money = sum(Decimal(day["totalRevenue"]) for day in days)
    listed = client.read("/orders?count=true&limit=1&status=SUBMITTED")
    assert money >= Decimal(20) * listed["total"]


@pytest.mark.parametrize("projection", PROJECTORS)
def test_a_killed_projector_loses_and_doubles_nothing(
    client: Client, pipeline: RunningStack, projection: str
) -> None:
    first = place_and_submit(client)
    pipeline.kill(f"projector-{projection}", signal.SIGKILL)
    second = place_and_submit(client)
    pipeline.wait_ready(f"projector-{projection}")
    assert_exact(client, first + second)


@pytest.mark.parametrize("name", ["mongodb", "clickhouse", "elasticsearch", "connect", "kafka"])
def test_a_service_that_was_away_loses_and_doubles_nothing(
    client: Client, pipeline: RunningStack, name: str
) -> None:
    with stopped(pipeline, name):
        tokens = place_and_submit(client)
    assert_exact(client, tokens)


def test_commands_are_refused_cleanly_while_postgresql_is_away(
    client: Client, pipeline: RunningStack
) -> None:
    with stopped(pipeline, "postgres"):
        answer = client.command.post("/orders", json={"customerId": CUSTOMER, "items": []})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert client.query.get("/orders").status_code == 503
    assert_exact(client, place_and_submit(client))
