"""Events of orders and customers for tests, in the order in which an aggregate would write them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

import msgspec

from foldline_contracts.codec import Event, encode
from foldline_contracts.orders.events import (
    CUSTOMERS,
    ORDERS,
    Address,
    CustomerIdentity,
    CustomerRegistered,
    CustomerRenamed,
    Item,
    ItemAdded,
    ItemRemoved,
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderNote,
    OrderPaid,
    OrderShipped,
    OrderSubmitted,
    PaymentReceived,
    ShippingAddressSet,
)

START = datetime(2026, 3, 1, 23, 59, 0, tzinfo=UTC)


def item(product: str = "p1", quantity: int = 1, price: str = "19.99", name: str = "Lamp") -> Item:
    return Item(product_id=product, name=name, quantity=quantity, unit_price=price)


def created(*items: Item, customer: str = "c1", note: str | None = None) -> OrderCreated:
    return OrderCreated(
        customer_id=customer, currency="EUR", items=list(items), personal=OrderNote(note=note)
    )


ADDRESS = Address(recipient="Ada", street="Way 1", city="Köln", postal_code="50667", country="DE")

#: The whole life of an order of 2 lamps and a chair.
LIFE: Sequence[msgspec.Struct] = (
    created(item(quantity=2), note="ring twice"),
    ItemAdded(item=item("p2", 1, "100.00", "Chair")),
    ItemAdded(item=item("p3", 3, "1.50", "Nail")),
    ItemRemoved(product_id="p3"),
    ShippingAddressSet(personal=ADDRESS),
    OrderSubmitted(total="139.98", currency="EUR", item_count=2),
    PaymentReceived(payment_id="pay1", method="card", amount="139.98"),
    OrderPaid(total="139.98"),
    OrderShipped(carrier="DHL", tracking_number="T1"),
    OrderDelivered(),
)
CANCELLED: Sequence[msgspec.Struct] = (
    created(item()),
    OrderSubmitted(total="19.99", currency="EUR", item_count=1),
    OrderCancelled(reason="too slow", previous_status="SUBMITTED", total="19.99"),
)


def numbered(
    key: str, payloads: Sequence[msgspec.Struct], kind: str = "orders", first: int = 1
) -> list[Event]:
    """The payloads as events of one aggregate, a minute apart, with ids that are always the same."""
    return [
        Event(
            str(uuid5(NAMESPACE_URL, f"{kind}/{key}@{version}")),
            kind,
            key,
            version,
            START + timedelta(minutes=version - 1),
            payload,
        )
        for version, payload in enumerate(payloads, first)
    ]


def customer(key: str, *names: str) -> list[Event]:
    """A customer who was registered under the first name and renamed to the others."""
    payloads: list[msgspec.Struct] = []
    for number, name in enumerate(names):
        identity = CustomerIdentity(name=name, email=f"{name.lower()}@example.org")
        shape = CustomerRegistered if number == 0 else CustomerRenamed
        payloads.append(shape(personal=identity))
    return numbered(key, payloads, "customers")


def wire(event: Event) -> bytes:
    """The event's bytes on the wire."""
    return encode(CUSTOMERS if event.kind == "customers" else ORDERS, event)
