"""order-search: what can be searched of an order, in Elasticsearch.

Names, note, reason and address in the shapes of order-details; no payments and no history. Pure,
so order, concurrency and failure are the engine's to promise.
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
from foldline_contracts.orders.readmodels import ORDER_SEARCH
from foldline_projector.orders.search_index import INDEX
from foldline_projector.orders.shared import (
    TOTALS,
    OrderEvent,
    customer_name,
    lines_of,
    opened,
    priced,
    require,
    require_none,
    shipping_fields,
    touched,
    with_item,
    without_item,
)
from foldline_projector.projection import Projection
from foldline_projector.stores.port import Body


def evolve(body: Body | None, event: Event) -> Body:
    """The searchable document after one more event."""
    data: OrderEvent = event.data
    if isinstance(data, OrderCreated):
        require_none(body)
        return {
            **opened(event, data),
            **priced(lines_of(data.items)),
            "note": data.personal.note,
            "reason": None,
            "shipping": None,
        }
    known = require(body, data)
    return {**known, **touched(event, data), **_changes(known, data)}


def _changes(body: Body, data: OrderEvent) -> Body:
    match data:
        case ItemAdded():
            return priced(with_item(body["items"], data.item))
        case ItemRemoved():
            return priced(without_item(body["items"], data.product_id))
        case ShippingAddressSet() | OrderShipped():
            return {"shipping": shipping_fields(body["shipping"], data)}
        case OrderCancelled():
            return {"reason": data.reason}
        case OrderCreated() | OrderSubmitted() | PaymentReceived() | OrderPaid() | OrderDelivered():
            return {}
        case _:
            assert_never(data)


PROJECTION = Projection(
    read_model=ORDER_SEARCH,
    fold_version=1,
    evolve=evolve,
    evolve_reference=customer_name,
    index=INDEX,
    sums=(TOTALS,),
)
