"""Bodies: what JSON leaves open is refused, and every fault is named by its pointer."""

import json
from typing import Any

import pytest

from foldline_command.bodies import Body, InvalidBody, MalformedJson, decode, validate
from foldline_command.customers.routes import Identity
from foldline_command.orders.bodies import Cancellation, ItemBody, Payment, PlaceOrder

ITEM = {"productId": "p1", "name": "Lamp", "quantity": 2, "unitPrice": "19.99"}


def order(**changes: Any) -> dict[str, Any]:
    return {"customerId": "c1", "items": [ITEM]} | changes


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"\xff",
        b"{'a':1}",
        b'{"a":1}x',
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"[" * 100_000,
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 70 + b"1" + b"}" * 70,
        b'{"a":' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_what_is_not_plain_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode(raw)


FAULTS: list[tuple[type[Body], Any, set[str]]] = [
    (PlaceOrder, {}, {"/customerId", "/items"}),
    (PlaceOrder, None, {""}),
    (PlaceOrder, [], {""}),
    (PlaceOrder, order(colour="red"), {"/colour"}),
    (PlaceOrder, order(customer_id="c2"), {"/customer_id"}),
    (PlaceOrder, order(**{"a/b~c": 1}), {"/a~1b~0c"}),
    (PlaceOrder, order(orderId=""), {"/orderId"}),
    (PlaceOrder, order(orderId="a b"), {"/orderId"}),
    (PlaceOrder, order(orderId="x" * 65), {"/orderId"}),
    (PlaceOrder, order(customerId="ä"), {"/customerId"}),
    (PlaceOrder, order(customerId="a\n"), {"/customerId"}),
    (PlaceOrder, order(orderId=".", customerId=".."), {"/orderId", "/customerId"}),
    (PlaceOrder, order(items=[ITEM | {"productId": ".."}]), {"/items/0/productId"}),
    (PlaceOrder, order(currency="eur"), {"/currency"}),
    (PlaceOrder, order(currency=None), {"/currency"}),
    (PlaceOrder, order(note="x" * 2001), {"/note"}),
    (PlaceOrder, order(note="a\0b"), {"/note"}),
    (PlaceOrder, order(note="\ud800"), {"/note"}),
    (PlaceOrder, order(items=[ITEM] * 501), {"/items"}),
    (PlaceOrder, order(items=[ITEM | {"quantity": 600_000}] * 2), {"/items"}),
    (PlaceOrder, order(items=[ITEM, ITEM | {"unitPrice": 1, "quantity": 0}]),
     {"/items/1/unitPrice", "/items/1/quantity"}),
    (ItemBody, ITEM | {"quantity": 1_000_001}, {"/quantity"}),
    (ItemBody, ITEM | {"quantity": -1}, {"/quantity"}),
    (ItemBody, ITEM | {"quantity": 1.5}, {"/quantity"}),
    (ItemBody, ITEM | {"quantity": "1"}, {"/quantity"}),
    (ItemBody, ITEM | {"quantity": True}, {"/quantity"}),
    (ItemBody, ITEM | {"quantity": 10**400}, {"/quantity"}),
    (ItemBody, ITEM | {"quantity": 1e300}, {"/quantity"}),
    (ItemBody, ITEM | {"quantity": float("inf")}, {"/quantity"}),
    (ItemBody, ITEM | {"name": ""}, {"/name"}),
    (ItemBody, ITEM | {"name": "x" * 201}, {"/name"}),
    *[
        (ItemBody, ITEM | {"unitPrice": price}, {"/unitPrice"})
        for price in (19.99, 0, "-1", "1e3", "1.00000", "01", ".5", "5.", "1000000000.0001",
                      "NaN", "", " 1", "1\n", "1,5", "1_0", "\uff11")
    ],
    (Payment, {"paymentId": "p", "method": "card", "amount": "0.00"}, {"/amount"}),
    (Payment, {"paymentId": "p", "method": "card", "amount": 5}, {"/amount"}),
    (Payment, {"paymentId": "p", "method": "card", "amount": "1000000000000000.01"}, {"/amount"}),
    (Cancellation, {}, {"/reason"}),
    (Identity, {"name": ""}, {"/name"}),
    (Identity, {"name": "Ada", "email": "nobody"}, {"/email"}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "value", "pointers"), FAULTS, ids=lambda each: str(each)[:40])
def test_every_fault_is_named(model: type[Body], value: Any, pointers: set[str]) -> None:
    with pytest.raises(InvalidBody) as caught:
        validate(model, value)
    assert {fault["pointer"] for fault in caught.value.errors} == pointers
    assert all(fault["detail"] for fault in caught.value.errors)


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (PlaceOrder, order()),
        (PlaceOrder, order(items=[])),
        (PlaceOrder, order(orderId="a.b_c~d-E", currency="JPY", note="x" * 2000)),
        (ItemBody, ITEM | {"unitPrice": "0"}),
        (ItemBody, ITEM | {"unitPrice": "1000000000.0000"}),
        (ItemBody, ITEM | {"quantity": 1_000_000}),
        (ItemBody, ITEM | {"quantity": 2.0}),
        (ItemBody, ITEM | {"name": "😀" * 200}),
        (Identity, {"name": "Ada", "email": None}),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_stands_at_the_limits_is_valid(model: type[Body], value: Any) -> None:
    validate(model, decode(json.dumps(value).encode()))


def test_a_lone_surrogate_in_a_field_name_can_be_reported() -> None:
    with pytest.raises(InvalidBody) as caught:
        validate(PlaceOrder, order(**{"\ud800": 1}))
    assert json.dumps(caught.value.errors, ensure_ascii=False).encode()
