"""The codec: tolerant of what it does not know, strict about what it does."""

import json
from datetime import UTC, datetime

import pytest

from foldline_contracts import codec
from foldline_contracts.codec import Event, UndecodableEvent
from foldline_contracts.orders.events import ORDERS, OrderCreated, OrderNote, OrderSubmitted

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
CREATED = OrderCreated(customer_id="c", currency="EUR", items=[], personal=OrderNote())
EVENT = Event("id-1", "orders", "o-1", 1, MOMENT, CREATED)


def wire(**changes: object) -> bytes:
    return json.dumps(json.loads(codec.encode(ORDERS, EVENT)) | changes).encode()


def test_an_event_survives_the_wire() -> None:
    assert codec.decode(ORDERS, codec.encode(ORDERS, EVENT)) == EVENT


def test_unknown_fields_are_ignored() -> None:
    assert codec.decode(ORDERS, wire(traceparent="00-1", future={"a": 1})) == EVENT


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"specversion":"1.0"}',
        wire(type="OrderTeleported.v1"),
        wire(type="OrderCreated.v9"),
        wire(specversion="0.3"),
        wire(sequence="-1"),
        wire(sequence="x"),
        wire(sequence=""),
        wire(sequence="0"),
        wire(sequence="01"),
        wire(sequence="1\n"),
        wire(sequence="9" * 19),
        wire(sequence="9" * 5000),
        wire(id=""),
        wire(id="x" * 65),
        wire(id="x\0"),
        wire(subject=""),
        wire(subject="x" * 65),
        wire(subject="x\0"),
        wire(time="yesterday"),
        wire(time="2026-01-02T00:00:00"),
        wire(data={"customerId": 7}),
        wire(data=None),
    ],
)
def test_what_is_no_event_is_undecodable(value: bytes) -> None:
    with pytest.raises(UndecodableEvent):
        codec.decode(ORDERS, value)


def order(**changes: object) -> bytes:
    item = {"productId": "p", "name": "Lamp", "quantity": 1, "unitPrice": "19.99"}
    given = {"customerId": "c", "currency": "EUR", "personal": {}}
    of_item = {name: value for name, value in changes.items() if name in item}
    return wire(data={**given, **changes, "items": [{**item, **of_item}]})


def test_an_order_is_read_as_it_was_written() -> None:
    event = codec.decode(ORDERS, order())
    assert event.data.items[0].unit_price == "19.99"


@pytest.mark.parametrize(
    "value",
    [
        order(customerId=""),
        order(customerId="c" * 65),
        order(currency="EURO"),
        order(productId=""),
        order(quantity=0),
        order(quantity=1_000_001),
        order(quantity=10**30),
        order(unitPrice="oops"),
        order(unitPrice="-1.00"),
        order(unitPrice="1e3"),
        order(unitPrice="NaN"),
        order(unitPrice="19.99\n"),
        order(unitPrice="9" * 17),
        order(name="La\0mp"),
        order(name="La\\\0mp"),
        order(personal={"note": "\0"}),
    ],
)
def test_what_a_store_could_not_keep_is_undecodable(value: bytes) -> None:
    with pytest.raises(UndecodableEvent):
        codec.decode(ORDERS, value)


def test_a_total_is_an_amount() -> None:
    submitted = OrderSubmitted(total="oops", currency="EUR", item_count=1)
    value = codec.encode(ORDERS, Event("id-2", "orders", "o-1", 2, MOMENT, submitted))
    with pytest.raises(UndecodableEvent, match="total"):
        codec.decode(ORDERS, value)


@pytest.mark.parametrize("name", ["C:\\u0000", "\\\\u0000", "\n", '"'])
def test_text_that_only_looks_like_nul_is_text(name: str) -> None:
    assert codec.decode(ORDERS, order(name=name)).data.items[0].name == name
