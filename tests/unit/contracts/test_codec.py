"""The codec: tolerant of what it does not know, strict about what it does."""

import json
from datetime import UTC, datetime

import pytest

from foldline_contracts import codec
from foldline_contracts.codec import Event, UndecodableEvent
from foldline_contracts.orders.events import ORDERS, OrderCreated, OrderNote

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
        wire(time="yesterday"),
        wire(time="2026-01-02T00:00:00"),
        wire(data={"customerId": 7}),
        wire(data=None),
    ],
)
def test_what_is_no_event_is_undecodable(value: bytes) -> None:
    with pytest.raises(UndecodableEvent):
        codec.decode(ORDERS, value)
