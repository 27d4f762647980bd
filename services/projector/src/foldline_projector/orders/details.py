"""order-details: the whole order as one document, in MongoDB.

Every field of the query API's detail stands here from the first event on, null where nothing has
filled it. Pure, so order, concurrency and failure are the engine's to promise.
"""

from typing import assert_never

from foldline_contracts import times
from foldline_contracts.codec import Event
from foldline_contracts.orders.events import (
    ItemAdded,
    ItemRemoved,
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderPaid,
    OrderShipped,
    OrderSubmitted,
    PaymentReceived,
    ShippingAddressSet,
)
from foldline_contracts.orders.readmodels import ORDER_DETAILS
from foldline_projector.orders.shared import (
    TOTALS,
    OrderEvent,
    customer_identity,
    lines_of,
    opened,
    priced,
    require,
    require_none,
    shipping_fields,
    status_after,
    touched,
    with_item,
    without_item,
)
from foldline_projector.projection import Projection
from foldline_projector.stores.port import Body


def evolve(body: Body | None, event: Event) -> Body:
    """The detail after one more event."""
    data: OrderEvent = event.data
    if isinstance(data, OrderCreated):
        require_none(body)
        return _created(event, data)
    known = require(body, data)
    return {
        **known,
        **touched(event, data),
        **_history(known, event, data),
        **_changes(known, event, data),
    }


def _created(event: Event, data: OrderCreated) -> Body:
    return {
        **opened(event, data),
        **priced(lines_of(data.items)),
        "shipping": None,
        "payments": [],
        "history": [{"status": "CREATED", "at": times.to_text(event.time)}],
        "note": data.personal.note,
    }


def _history(body: Body, event: Event, data: OrderEvent) -> Body:
    status = status_after(data)
    if status is None:
        return {}
    entry = {"status": status, "at": times.to_text(event.time)}
    if isinstance(data, OrderCancelled):
        entry["reason"] = data.reason
    return {"history": [*body["history"], entry]}


def _changes(body: Body, event: Event, data: OrderEvent) -> Body:
    match data:
        case ItemAdded():
            return priced(with_item(body["items"], data.item))
        case ItemRemoved():
            return priced(without_item(body["items"], data.product_id))
        case ShippingAddressSet() | OrderShipped():
            return {"shipping": shipping_fields(body["shipping"], data)}
        case PaymentReceived():
            return {"payments": [*body["payments"], _payment(event, data)]}
        case OrderCreated() | OrderSubmitted() | OrderPaid() | OrderDelivered() | OrderCancelled():
            return {}
        case _:
            assert_never(data)


def _payment(event: Event, data: PaymentReceived) -> Body:
    return {
        "paymentId": data.payment_id,
        "method": data.method,
        "amount": data.amount,
        "at": times.to_text(event.time),
    }


PROJECTION = Projection(
    read_model=ORDER_DETAILS,
    fold_version=1,
    evolve=evolve,
    evolve_reference=customer_identity,
    sums=(TOTALS,),
)
