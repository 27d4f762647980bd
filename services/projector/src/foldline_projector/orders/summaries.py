"""order-summaries: one row an order for lists, in PostgreSQL.

The lines are kept as `{productId: [quantity, unitPrice]}`, only so that a total can follow from
them: a list shows no items. Pure, so order, concurrency and failure are the engine's to promise.
"""

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
from foldline_contracts.orders.readmodels import ORDER_SUMMARIES
from foldline_projector.orders.shared import (
    TOTALS,
    OrderEvent,
    customer_name,
    opened,
    require,
    require_none,
    tallied,
    tally,
    touched,
)
from foldline_projector.projection import Projection
from foldline_projector.stores.port import Body


def evolve(body: Body | None, event: Event) -> Body:
    """The summary after one more event."""
    data: OrderEvent = event.data
    if isinstance(data, OrderCreated):
        require_none(body)
        return {**opened(event, data), **tallied(tally({}, *data.items))}
    known = require(body, data)
    return {**known, **touched(event, data), **_changes(known, data)}


def _changes(body: Body, data: OrderEvent) -> Body:
    match data:
        case ItemAdded():
            return tallied(tally(body["lines"], data.item))
        case ItemRemoved():
            lines = {key: line for key, line in body["lines"].items() if key != data.product_id}
            return tallied(lines)
        case (
            OrderCreated()
            | ShippingAddressSet()
            | OrderSubmitted()
            | PaymentReceived()
            | OrderPaid()
            | OrderShipped()
            | OrderDelivered()
            | OrderCancelled()
        ):
            return {}
        case _:
            assert_never(data)


PROJECTION = Projection(
    read_model=ORDER_SUMMARIES,
    fold_version=1,
    evolve=evolve,
    evolve_reference=customer_name,
    sums=(TOTALS,),
)
