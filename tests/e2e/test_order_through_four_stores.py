"""One order over HTTP, answered by four read models with the version that the command returned."""

import uuid

import pytest
from support.eventually import eventually

from .conftest import Client

pytestmark = pytest.mark.e2e


def becomes_fresh(client: Client, path: str) -> None:
    """Fresh within a minute: right after a fault of another test an answer is rightly stale."""

    def is_fresh() -> bool:
        freshness = client.read(path)["freshness"]
        return freshness["stale"] is False and freshness["lagSeconds"] < 10

    eventually(is_fresh, within=60)


def test_every_read_model_answers_with_the_write_that_the_token_names(client: Client) -> None:
    customer = f"c-{uuid.uuid4().hex[:12]}"
    client.send("PUT", f"/customers/{customer}", {"name": "Zoë Ångström", "email": "z@example.org"})
    order, _ = client.place(customer, price="12.34")
    client.send("POST", f"/orders/{order}/submit")
    payment = {"paymentId": "pay-1", "method": "card", "amount": "24.68"}
    token = client.send("POST", f"/orders/{order}/payments", payment)
    assert token == f"orders/{order}@4"

    detail = client.read(f"/orders/{order}", token)
    assert detail["version"] == 4
    assert detail["order"]["status"] == "PAID"
    assert detail["order"]["total"] == "24.68"
    assert [change["status"] for change in detail["order"]["history"]] == [
        "CREATED",
        "SUBMITTED",
        "PAID",
    ]
    becomes_fresh(client, f"/orders/{order}")

    listed = client.read(f"/customers/{customer}/orders", token)["items"]
    assert [(item["orderId"], item["version"], item["status"]) for item in listed] == [
        (order, 4, "PAID")
    ]

    found = client.read(f"/search?q=teapto&customerId={customer}", token)
    assert [item["orderId"] for item in found["items"]] == [order]
    assert found["total"] == 1

    day = detail["order"]["createdAt"][:10]
    days = client.read(f"/stats/daily?from={day}&to={day}&currency=EUR", token)["days"]
    assert days[0]["ordersByStatus"]["PAID"] >= 1


def test_a_rename_reaches_orders_that_were_placed_before(client: Client) -> None:
    customer = f"c-{uuid.uuid4().hex[:12]}"
    order, placed = client.place(customer)
    assert client.read(f"/orders/{order}", placed)["order"]["customer"]["name"] is None
    token = client.send("PUT", f"/customers/{customer}", {"name": "Grace Hopper"})
    assert client.read(f"/orders/{order}", token)["order"]["customer"]["name"] == "Grace Hopper"
    summary = client.read(f"/customers/{customer}/orders", token)["items"][0]
    assert summary["customerName"] == "Grace Hopper"
    assert client.read(f"/search?q=hopper&customerId={customer}", token)["total"] == 1


def test_an_idle_pipeline_says_that_it_is_fresh(client: Client) -> None:
    for path in ("/orders", "/stats/daily", "/search"):
        becomes_fresh(client, path)


def test_a_version_that_does_not_exist_is_not_caught_up(client: Client) -> None:
    order, _ = client.place()
    headers = {"Foldline-Token": f"orders/{order}@99", "Prefer": "wait=1"}
    answer = client.query.get(f"/orders/{order}", headers=headers)
    assert answer.status_code == 504
    assert answer.json()["type"] == "/problems/not-caught-up"
    lenient = {**headers, "Prefer": "wait=0, handling=lenient"}
    assert client.query.get(f"/orders/{order}", headers=lenient).json()["stale"] is True
