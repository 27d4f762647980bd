"""order-analytics: one row an order, from which ClickHouse computes statistics by day.

No counter is kept anywhere: a day's numbers are a query over these rows, so a duplicate cannot
double one. Lines stand in the row only while they can change, so that `total` can follow them; from
submission on they are null. Pure, so order, concurrency and failure are the engine's to promise.
"""

from datetime import UTC
from typing import assert_never

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
from foldline_contracts.orders.readmodels import ORDER_ANALYTICS
from foldline_projector.orders.shared import (
    TOTALS,
    OrderEvent,
    require,
    require_none,
    status_after,
    tallied,
    tally,
)
from foldline_projector.projection import Projection
from foldline_projector.stores.port import Body


def evolve(body: Body | None, event: Event) -> Body:
    """The row after one more event."""
    data: OrderEvent = event.data
    if isinstance(data, OrderCreated):
        require_none(body)
        return _created(data)
    known = require(body, data)
    status = status_after(data) or known["status"]
    return {**known, "status": status, **_changes(known, event, data)}


def _created(data: OrderCreated) -> Body:
    return {
        "status": "CREATED",
        "currency": data.currency,
        **_totals(tally({}, *data.items)),
        "submittedDate": None,
        "submittedTotal": None,
    }


def _changes(body: Body, event: Event, data: OrderEvent) -> Body:
    match data:
        case ItemAdded():
            return _totals(tally(body["lines"], data.item))
        case ItemRemoved():
            lines = {key: line for key, line in body["lines"].items() if key != data.product_id}
            return _totals(lines)
        case OrderSubmitted():
            return {
                "submittedDate": event.time.astimezone(UTC).date().isoformat(),
                "submittedTotal": data.total,
                "total": data.total,
                "lines": None,
            }
        case OrderCancelled():
            return {"lines": None}
        case (
            OrderCreated()
            | ShippingAddressSet()
            | PaymentReceived()
            | OrderPaid()
            | OrderShipped()
            | OrderDelivered()
        ):
            return {}
        case _:
            assert_never(data)


def _totals(lines: Body) -> Body:
    fields = tallied(lines)
    return {"lines": fields["lines"], "total": fields["total"]}


PROJECTION = Projection(read_model=ORDER_ANALYTICS, fold_version=1, evolve=evolve, sums=(TOTALS,))
