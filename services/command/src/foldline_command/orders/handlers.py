"""The order commands: load, act, save. The transaction around them is `foldline_command.commands`."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from uuid import uuid4

from foldline_command.bodies import Empty
from foldline_command.orders import bodies, rules
from foldline_command.orders.model import Order
from foldline_command.orders.tables import ORDERS
from foldline_command.unit_of_work import UnitOfWork

Ids = Mapping[str, str]


def place(uow: UnitOfWork, ids: Ids, body: bodies.PlaceOrder) -> Order:  # noqa: ARG001
    """A new order; without an id it gets one."""
    order_id = body.order_id or str(uuid4())
    if uow.find(ORDERS, order_id) is not None:
        raise rules.OrderExists(f"order {order_id} was placed before")
    uow.absent()
    order = Order(id=order_id)
    items = [item.to_item() for item in body.items]
    order.create(body.customer_id, body.currency, items, body.note, uow.now)
    uow.save(ORDERS, [order])
    return order


def add_item(uow: UnitOfWork, ids: Ids, body: bodies.ItemBody) -> Order:
    """One more line, or more of one."""
    return _change(uow, ids, lambda order: order.add_item(body.to_item(), uow.now))


def remove_item(uow: UnitOfWork, ids: Ids, body: Empty) -> Order:  # noqa: ARG001
    """A line less."""
    return _change(uow, ids, lambda order: order.remove_item(ids["product_id"], uow.now))


def set_shipping_address(uow: UnitOfWork, ids: Ids, body: bodies.ShippingAddress) -> Order:
    """Where it goes."""
    address = body.model_dump()
    return _change(uow, ids, lambda order: order.set_shipping_address(address, uow.now))


def submit(uow: UnitOfWork, ids: Ids, body: Empty) -> Order:  # noqa: ARG001
    """Complete, awaiting payment."""
    return _change(uow, ids, lambda order: order.submit(uow.now))


def pay(uow: UnitOfWork, ids: Ids, body: bodies.Payment) -> Order:
    """A payment."""
    amount = Decimal(body.amount)
    return _change(uow, ids, lambda order: order.pay(body.payment_id, body.method, amount, uow.now))


def ship(uow: UnitOfWork, ids: Ids, body: bodies.Shipment) -> Order:
    """On its way."""
    return _change(uow, ids, lambda order: order.ship(body.carrier, body.tracking_number, uow.now))


def deliver(uow: UnitOfWork, ids: Ids, body: Empty) -> Order:  # noqa: ARG001
    """Arrived."""
    return _change(uow, ids, lambda order: order.deliver(uow.now))


def cancel(uow: UnitOfWork, ids: Ids, body: bodies.Cancellation) -> Order:
    """Off."""
    return _change(uow, ids, lambda order: order.cancel(body.reason, uow.now))


def _change(uow: UnitOfWork, ids: Ids, act: Callable[[Order], None]) -> Order:
    order = uow.find(ORDERS, ids["order_id"])
    if order is None:
        raise rules.OrderNotFound(f"there is no order {ids['order_id']}")
    act(order)
    uow.save(ORDERS, [order])
    return order
