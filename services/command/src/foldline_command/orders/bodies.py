"""Request bodies of the order commands."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from foldline_command.bodies import (
    Amount,
    Body,
    Currency,
    Identifier,
    Name,
    Note,
    Quantity,
    UnitPrice,
)
from foldline_command.orders.model import MAX_ITEMS, Item
from foldline_contracts import times
from foldline_contracts.orders.events import MAX_QUANTITY


class ItemBody(Body):
    """One line."""

    product_id: Identifier
    name: Name
    quantity: Quantity
    unit_price: UnitPrice

    def to_item(self) -> Item:
        """The line as the order knows it."""
        return Item(
            product_id=self.product_id,
            name=self.name,
            quantity=self.quantity,
            unit_price=Decimal(self.unit_price),
        )


def _within_quantity(items: list[ItemBody]) -> list[ItemBody]:
    """Quantities of one product add up within the same body."""
    sums: dict[str, int] = {}
    for item in items:
        sums[item.product_id] = sums.get(item.product_id, 0) + item.quantity
    over = [product for product, quantity in sums.items() if quantity > MAX_QUANTITY]
    if over:
        raise ValueError(f"quantities of {over[0]} add up to more than {MAX_QUANTITY}")
    return items


def _moment(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 time with a zone")
    return times.from_text(value)


def _flag(value: object) -> object:
    """A JSON boolean, or its word as a CSV file holds it."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Moment = Annotated[datetime, BeforeValidator(_moment)]
Flag = Annotated[bool, BeforeValidator(_flag)]


class PlaceOrder(Body):
    """A new order."""

    order_id: Identifier | None = None
    customer_id: Identifier
    currency: Currency = "EUR"
    items: Annotated[list[ItemBody], Field(max_length=MAX_ITEMS), AfterValidator(_within_quantity)]
    note: Note | None = None


class ShippingAddress(Body):
    """Where an order goes."""

    recipient: Name
    street: Name
    city: Name
    postal_code: Name
    country: Name


class Payment(Body):
    """A payment towards the total."""

    payment_id: Identifier
    method: Name
    amount: Amount


class Shipment(Body):
    """Who carries the order, and how to follow it."""

    carrier: Name
    tracking_number: Name


class Cancellation(Body):
    """Why an order is cancelled."""

    reason: Note


class PastOrder(Body):
    """An order of the past, as an import file states it."""

    customer_id: Identifier
    currency: Currency = "EUR"
    #: RFC 3339; everything about the order happened then. Default: now.
    created_at: Moment | None = None
    items: Annotated[list[ItemBody], Field(max_length=MAX_ITEMS), AfterValidator(_within_quantity)]
    note: Note | None = None
    submitted: Flag = False
    paid: Flag = False
