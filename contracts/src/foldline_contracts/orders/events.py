"""Events of orders and customers, version 1, exactly as they stand on the wire.

Money is decimal text, personal data stands only in `personal`. Changes are additive; a break is
a `.v2` type with an upcaster. Golden files in `foldline_contracts/golden` freeze the bytes.
The bounds are those within which every store can keep what an event says: an event beyond them is
undecodable, so it stops its own aggregate and no projector.
"""

from typing import Annotated, Literal

import msgspec

from foldline_contracts.aggregates import AggregateKind
from foldline_contracts.identifiers import Identifier
from foldline_contracts.money import Money

MAX_QUANTITY = 1_000_000

Quantity = Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)]
Currency = Annotated[str, msgspec.Meta(min_length=3, max_length=3)]

OrderStatus = Literal["CREATED", "SUBMITTED", "PAID", "SHIPPED", "DELIVERED", "CANCELLED"]


class _Data(msgspec.Struct, kw_only=True, rename="camel"):
    """Base of all event data: camelCase on the wire, unknown fields ignored."""


class Item(_Data):
    """One line of an order."""

    product_id: Identifier
    name: str
    quantity: Quantity
    unit_price: Money


class OrderNote(_Data, omit_defaults=True):
    """Personal part of a new order."""

    note: str | None = None


class OrderCreated(_Data):
    """An order was placed."""

    customer_id: Identifier
    currency: Currency
    items: list[Item]
    personal: OrderNote


class ItemAdded(_Data):
    """A line was added, or its quantity grew by `item.quantity`."""

    item: Item


class ItemRemoved(_Data):
    """A whole line was removed."""

    product_id: Identifier


class Address(_Data):
    """Where an order goes: personal."""

    recipient: str
    street: str
    city: str
    postal_code: str
    country: str


class ShippingAddressSet(_Data):
    """The shipping address was set or replaced."""

    personal: Address


class OrderSubmitted(_Data):
    """The order is complete and awaits payment. It carries totals, so statistics need no look-up."""

    total: Money
    currency: Currency
    item_count: Quantity


class PaymentReceived(_Data):
    """A payment towards the total arrived."""

    payment_id: Identifier
    method: str
    amount: Money


class OrderPaid(_Data):
    """Payments reached the total."""

    total: Money


class OrderShipped(_Data):
    """The order left with a carrier."""

    carrier: str
    tracking_number: str


class OrderDelivered(_Data):
    """The order arrived."""


class OrderCancelled(_Data):
    """The order was cancelled while it was `previous_status`."""

    reason: str
    previous_status: OrderStatus
    total: Money


class CustomerIdentity(_Data):
    """Who a customer is: personal."""

    name: str
    email: str | None = None


class CustomerRegistered(_Data):
    """A customer was registered."""

    personal: CustomerIdentity


class CustomerRenamed(_Data):
    """A customer's name or email changed."""

    personal: CustomerIdentity


ORDERS = AggregateKind(
    name="orders",
    topic="order-events",
    source="/foldline/orders",
    events={
        f"{shape.__name__}.v1": shape
        for shape in (
            OrderCreated,
            ItemAdded,
            ItemRemoved,
            ShippingAddressSet,
            OrderSubmitted,
            PaymentReceived,
            OrderPaid,
            OrderShipped,
            OrderDelivered,
            OrderCancelled,
        )
    },
)

CUSTOMERS = AggregateKind(
    name="customers",
    topic="customer-events",
    source="/foldline/customers",
    events={f"{shape.__name__}.v1": shape for shape in (CustomerRegistered, CustomerRenamed)},
)
