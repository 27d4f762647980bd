"""Request bodies of the order commands."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

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
from foldline_command.orders.model import MAX_ITEMS, MAX_QUANTITY, Item


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
