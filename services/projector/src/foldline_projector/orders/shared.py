"""What the folds of orders have in common: lines, totals, status, and the customer's section.

Pure functions that return new values, because a body that was handed out may still be cached:
nothing here changes what it was given.
"""

from decimal import Decimal
from typing import Any, TypeAlias

from foldline_contracts import money, times
from foldline_contracts.codec import Event
from foldline_contracts.orders.events import (
    CustomerRegistered,
    CustomerRenamed,
    Item,
    ItemAdded,
    ItemRemoved,
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderPaid,
    OrderShipped,
    OrderStatus,
    OrderSubmitted,
    PaymentReceived,
    ShippingAddressSet,
)
from foldline_projector.projection import Sum
from foldline_projector.stores.port import Body

OrderEvent: TypeAlias = (
    OrderCreated
    | ItemAdded
    | ItemRemoved
    | ShippingAddressSet
    | OrderSubmitted
    | PaymentReceived
    | OrderPaid
    | OrderShipped
    | OrderDelivered
    | OrderCancelled
)
CustomerEvent: TypeAlias = CustomerRegistered | CustomerRenamed
Line: TypeAlias = dict[str, Any]

#: What all orders of a currency come to: every read model of orders must agree on it.
TOTALS = Sum("total", per="currency")


class NoSuchOrder(ValueError):
    """An order begins with OrderCreated, and only once."""


def require(body: Body | None, data: OrderEvent) -> Body:
    """The body that `data` changes. Raises NoSuchOrder when there is none."""
    if body is None:
        raise NoSuchOrder(f"{type(data).__name__} comes before OrderCreated")
    return body


def require_none(body: Body | None) -> None:
    """Raises NoSuchOrder when the order was created before."""
    if body is not None:
        raise NoSuchOrder("OrderCreated comes a second time")


def status_after(data: OrderEvent) -> OrderStatus | None:
    """The status that an event leads to; None when it leaves the status as it is."""
    match data:
        case OrderCreated():
            return "CREATED"
        case OrderSubmitted():
            return "SUBMITTED"
        case OrderPaid():
            return "PAID"
        case OrderShipped():
            return "SHIPPED"
        case OrderDelivered():
            return "DELIVERED"
        case OrderCancelled():
            return "CANCELLED"
        case _:
            return None


def opened(event: Event, data: OrderCreated) -> Body:
    """The fields of a new order that every document of it begins with, without its lines."""
    moment = times.to_text(event.time)
    return {
        "customerId": data.customer_id,
        "status": "CREATED",
        "total": "0.00",
        "currency": data.currency,
        "itemCount": 0,
        "createdAt": moment,
        "updatedAt": moment,
    }


def touched(event: Event, data: OrderEvent) -> Body:
    """The changes that every event makes: when, and the status it leads to."""
    changes: Body = {"updatedAt": times.to_text(event.time)}
    status = status_after(data)
    if status is not None:
        changes["status"] = status
    return changes


def with_item(lines: list[Line], item: Item) -> list[Line]:
    """The lines after adding `item`: quantities of one product add up, first-added order stays."""
    known = any(line["productId"] == item.product_id for line in lines)
    if not known:
        return [*lines, _line(item, item.quantity)]
    return [
        _line(item, line["quantity"] + item.quantity, line["name"])
        if line["productId"] == item.product_id
        else line
        for line in lines
    ]


def _line(item: Item, quantity: int, name: str | None = None) -> Line:
    return {
        "productId": item.product_id,
        "name": item.name if name is None else name,
        "quantity": quantity,
        "unitPrice": item.unit_price,
        "lineTotal": money.to_text(Decimal(item.unit_price) * quantity),
    }


def without_item(lines: list[Line], product_id: str) -> list[Line]:
    """The lines without one product."""
    return [line for line in lines if line["productId"] != product_id]


def lines_of(items: list[Item]) -> list[Line]:
    """The lines of a new order."""
    lines: list[Line] = []
    for item in items:
        lines = with_item(lines, item)
    return lines


def priced(lines: list[Line]) -> Body:
    """The fields that follow from the lines."""
    total = sum((Decimal(line["lineTotal"]) for line in lines), Decimal(0))
    return {"items": lines, "total": money.to_text(total), "itemCount": len(lines)}


def tally(lines: Body, *items: Item) -> Body:
    """The short form of lines, `{productId: [quantity, unitPrice]}`, after adding items."""
    lines = dict(lines)
    for item in items:
        quantity = lines[item.product_id][0] if item.product_id in lines else 0
        lines[item.product_id] = [quantity + item.quantity, item.unit_price]
    return lines


def tallied(lines: Body) -> Body:
    """The fields that follow from lines in short form."""
    total = sum((Decimal(price) * quantity for quantity, price in lines.values()), Decimal(0))
    return {"lines": lines, "total": money.to_text(total), "itemCount": len(lines)}


def shipping_fields(shipping: Body | None, data: ShippingAddressSet | OrderShipped) -> Body:
    """The shipping section after an address was set or the order left; null where not known."""
    known = shipping or dict.fromkeys(
        ("recipient", "street", "city", "postalCode", "country", "carrier", "trackingNumber")
    )
    match data:
        case ShippingAddressSet(personal=to):
            changes = {
                "recipient": to.recipient,
                "street": to.street,
                "city": to.city,
                "postalCode": to.postal_code,
                "country": to.country,
            }
        case OrderShipped():
            changes = {"carrier": data.carrier, "trackingNumber": data.tracking_number}
    return {**known, **changes}


def customer_name(_: Body | None, event: Event) -> Body:
    """The customer's section where only the name is shown."""
    data: CustomerEvent = event.data
    return {"name": data.personal.name}


def customer_identity(_: Body | None, event: Event) -> Body:
    """The customer's section where name and email are shown."""
    data: CustomerEvent = event.data
    return {"name": data.personal.name, "email": data.personal.email}
