"""Sentences of the command API that no other module holds: edges of limits, no-ops, what problems carry."""

import io
import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from foldline_command import commands
from foldline_command.app import MAX_BODY_BYTES
from foldline_command.unit_of_work import UnitOfWork

from .conftest import ITEM, Api

pytestmark = pytest.mark.integration

Sql = psycopg.Connection[Any]
ADDRESS = {
    "recipient": "Ada",
    "street": "Way 1",
    "city": "Köln",
    "postalCode": "50667",
    "country": "DE",
}


def types(sql: Sql, key: str) -> list[str]:
    query = "SELECT type FROM outbox WHERE aggregateid = %s ORDER BY version"
    return [name.removesuffix(".v1") for (name,) in sql.execute(query, [key])]


def payment(amount: str, **changes: str) -> dict[str, str]:
    return {"paymentId": "pay", "method": "card", "amount": amount} | changes


def test_the_same_address_again_is_accepted_without_an_event(api: Api, sql: Sql) -> None:
    path = f"/orders/{(order := api.place())}/shipping-address"
    answers = [api.call("PUT", path, ADDRESS) for _ in range(3)]
    assert [(each.status_code, each.get_json()["version"]) for each in answers] == [(202, 2)] * 3
    assert {each.headers["ETag"] for each in answers} == {'"2"'}
    assert types(sql, order) == ["OrderCreated", "ShippingAddressSet"]


def test_a_no_op_is_remembered_under_its_key_too(api: Api) -> None:
    path, key = f"/orders/{api.place()}/shipping-address", uuid4().hex
    api.call("PUT", path, ADDRESS)
    first = api.call("PUT", path, ADDRESS, {"Idempotency-Key": key})
    api.call("PUT", path, ADDRESS | {"city": "Bonn"})
    again = api.call("PUT", path, ADDRESS, {"Idempotency-Key": key})
    assert (first.get_json(), first.status_code) == (again.get_json(), again.status_code)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_repeated_payment_id_agrees_or_is_refused(api: Api, sql: Sql) -> None:
    order = api.place()
    path = f"/orders/{order}/payments"
    api.post(f"/orders/{order}/submit")
    assert api.post(path, payment("39.98")).get_json()["version"] == 4
    assert api.post(path, payment("39.9800")).get_json()["version"] == 4
    for other in (payment("39.97"), payment("39.98", method="cash")):
        answer = api.post(path, other)
        assert (answer.status_code, answer.get_json()["type"]) == (
            409,
            "/problems/payment-conflict",
        )
    assert types(sql, order)[2:] == ["PaymentReceived", "OrderPaid"]


def test_overpayment_says_what_is_due(api: Api) -> None:
    order = api.place()
    api.post(f"/orders/{order}/submit")
    api.post(f"/orders/{order}/payments", payment("30"))
    answer = api.post(f"/orders/{order}/payments", payment("9.99", paymentId="more"))
    assert (answer.status_code, answer.get_json()["type"]) == (409, "/problems/overpayment")
    assert answer.get_json()["due"] == "9.98"


def test_a_total_of_0_is_paid_by_submission(api: Api, sql: Sql) -> None:
    order = api.place(items=[ITEM | {"unitPrice": "0"}])
    assert api.post(f"/orders/{order}/submit").get_json()["version"] == 3
    assert types(sql, order)[1:] == ["OrderSubmitted", "OrderPaid"]
    shipped = api.post(f"/orders/{order}/ship", {"carrier": "DHL", "trackingNumber": "T"})
    assert shipped.status_code == 202


@pytest.mark.parametrize("paid", [False, True])
def test_an_order_is_cancelled_before_it_ships_and_then_stays(
    api: Api, sql: Sql, paid: bool
) -> None:
    order = api.place()
    api.post(f"/orders/{order}/submit")
    if paid:
        api.post(f"/orders/{order}/payments", payment("39.98"))
    assert api.post(f"/orders/{order}/cancel", {"reason": "no"}).status_code == 202
    before = types(sql, order)
    refused = {
        "submit": (None, "order-not-open"),
        "items": (ITEM, "order-not-open"),
        "payments": (payment("1.00", paymentId="late"), "not-awaiting-payment"),
        "ship": ({"carrier": "DHL", "trackingNumber": "T"}, "order-not-paid"),
        "deliver": (None, "order-not-shipped"),
        "cancel": ({"reason": "no"}, "order-not-cancellable"),
    }
    for tail, (body, slug) in refused.items():
        answer = api.post(f"/orders/{order}/{tail}", body)
        assert (answer.status_code, answer.get_json()["type"]) == (409, f"/problems/{slug}")
    assert types(sql, order) == before


def test_an_order_of_500_items_takes_no_other_but_more_of_one(api: Api, sql: Sql) -> None:
    items = [ITEM | {"productId": f"p{number}"} for number in range(500)]
    order = api.place(items=items)
    more = api.post(f"/orders/{order}/items", ITEM | {"productId": "more"})
    assert (more.status_code, more.get_json()["type"]) == (409, "/problems/too-many-items")
    assert api.post(f"/orders/{order}/items", ITEM).status_code == 202
    over = {"customerId": "c1", "items": [*items, ITEM | {"productId": "more"}]}
    answer = api.post("/orders", over)
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/items")
    assert len(types(sql, order)) == 2


def test_the_greatest_total_is_accepted_and_nothing_beyond(api: Api) -> None:
    most = ITEM | {"quantity": 1_000_000, "unitPrice": "1000000000"}
    order = api.place(items=[most])
    beyond = ITEM | {"productId": "p2", "quantity": 1, "unitPrice": "0.0001"}
    answer = api.post(f"/orders/{order}/items", beyond)
    assert (answer.status_code, answer.get_json()["type"]) == (409, "/problems/total-too-large")
    placed = api.post("/orders", {"customerId": "c1", "items": [most, beyond]})
    assert (placed.status_code, placed.get_json()["type"]) == (409, "/problems/total-too-large")


def test_prices_that_differ_within_a_body_are_a_broken_rule(api: Api) -> None:
    body = {"customerId": "c1", "items": [ITEM, ITEM | {"unitPrice": "1.00"}]}
    answer = api.post("/orders", body)
    assert (answer.status_code, answer.get_json()["type"]) == (409, "/problems/price-mismatch")


def test_every_fault_of_a_body_has_its_pointer(api: Api) -> None:
    item = {"productId": "a b", "name": "", "quantity": 0, "unitPrice": 19.99, "a/b~c": 1}
    body = {"currency": "eur", "items": [ITEM, item], "note": "x" * 2001, "colour": "red"}
    answer = api.post("/orders", body)
    assert answer.status_code == 422
    errors = answer.get_json()["errors"]
    assert {fault["pointer"] for fault in errors} == {
        "/customerId",
        "/currency",
        "/items/1/productId",
        "/items/1/name",
        "/items/1/quantity",
        "/items/1/unitPrice",
        "/items/1/a~1b~0c",
        "/note",
        "/colour",
    }
    assert all(fault["detail"] for fault in errors)


def test_a_body_of_1_mib_is_read_and_one_byte_more_is_not(api: Api) -> None:
    command = json.dumps({"customerId": "c1", "items": []}).encode()
    assert api.raw("/orders", command.ljust(MAX_BODY_BYTES)).status_code == 202
    over = api.raw("/orders", command.ljust(MAX_BODY_BYTES + 1))
    assert (over.status_code, over.get_json()["type"]) == (413, "/problems/too-large")


def test_a_body_without_a_length_is_bounded_too(api: Api) -> None:
    with api.app.test_client() as client:
        answer = client.open(
            "/orders",
            method="POST",
            input_stream=io.BytesIO(b" " * (MAX_BODY_BYTES + 1)),
            content_type="application/json",
            environ_overrides={"wsgi.input_terminated": True},
        )
    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_parameters_and_case_of_the_media_type_do_not_count(api: Api, content_type: str) -> None:
    assert api.raw("/orders", b'{"customerId":"c1","items":[]}', content_type).status_code == 202


def test_a_command_without_a_body_takes_none_or_an_empty_object(api: Api) -> None:
    empty: tuple[dict[str, Any] | None, ...] = (None, {})
    for body in empty:
        assert api.post(f"/orders/{api.place()}/submit", body).status_code == 202
    answer = api.post(f"/orders/{api.place()}/submit", {"now": True})
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/now")


def test_a_customer_has_its_version_as_an_order_has(api: Api) -> None:
    customer = f"c-{uuid4().hex}"
    path = f"/customers/{customer}"
    first = api.call("PUT", path, {"name": "Ada"}, {"If-Match": '"0"'})
    assert (first.status_code, first.get_json()) == (202, {"customerId": customer, "version": 1})
    assert first.headers["ETag"] == '"1"'
    assert first.headers["Foldline-Token"] == f"customers/{customer}@1"
    assert "Location" not in first.headers
    again = api.call("PUT", path, {"name": "Eve"}, {"If-Match": '"0"'})
    assert (again.status_code, again.get_json()["currentVersion"]) == (412, 1)
    assert api.call("PUT", path, {"name": "Eve"}, {"If-Match": '"1"'}).status_code == 202


@pytest.mark.parametrize(
    ("path", "status"),
    [("/customers/a%20b", 400), (f"/customers/{'x' * 65}", 400), (f"/customers/{'x' * 64}", 202)],
)
def test_an_identifier_of_a_path_is_checked(api: Api, path: str, status: int) -> None:
    answer = api.call("PUT", path, {"name": "Ada"})
    assert answer.status_code == status
    if status == 400:
        assert answer.get_json()["errors"][0]["parameter"] == "customer_id"


def test_every_command_knows_that_its_order_is_missing_before_the_key_is_kept(
    api: Api, sql: Sql
) -> None:
    calls: list[tuple[str, str, Any]] = [
        ("POST", "items", ITEM),
        ("DELETE", "items/p1", None),
        ("PUT", "shipping-address", ADDRESS),
        ("POST", "submit", None),
        ("POST", "payments", payment("1.00")),
        ("POST", "ship", {"carrier": "DHL", "trackingNumber": "T"}),
        ("POST", "deliver", None),
        ("POST", "cancel", {"reason": "no"}),
    ]
    for method, tail, body in calls:
        key = uuid4().hex
        answer = api.call(method, f"/orders/nobody/{tail}", body, {"Idempotency-Key": key})
        assert (answer.status_code, answer.get_json()["type"]) == (404, "/problems/order-not-found")
        kept = sql.execute("SELECT 1 FROM idempotency_keys WHERE key = %s", [key]).fetchone()
        assert kept is None


def test_a_key_is_kept_for_24_hours(api: Api, sql: Sql) -> None:
    key = uuid4().hex
    api.post("/orders", {"customerId": "c1", "items": []}, Idempotency_Key=key)
    query = (
        "SELECT extract(epoch FROM expires_at - now()) / 3600 FROM idempotency_keys WHERE key = %s"
    )
    row = sql.execute(query, [key]).fetchone()
    assert row is not None
    assert 23.9 < float(row[0]) <= 24


def test_a_writer_that_always_loses_is_told_to_come_back(
    api: Api, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer changes the order between each of the command's readings and its writing."""
    order = api.place(items=[])
    find = UnitOfWork.find

    def overtaken(uow: UnitOfWork, *args: Any) -> Any:
        found = find(uow, *args)
        sql.execute("UPDATE orders SET version = version + 1 WHERE id = %s", [order])
        return found

    monkeypatch.setattr(UnitOfWork, "find", overtaken)
    answer = api.post(f"/orders/{order}/items", ITEM)
    assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/contended")
    assert int(answer.headers["Retry-After"]) >= 1
    row = sql.execute("SELECT version FROM orders WHERE id = %s", [order]).fetchone()
    assert row == (1 + commands.ATTEMPTS,)
    assert types(sql, order) == ["OrderCreated"]
