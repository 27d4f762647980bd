"""Where the order commands are called."""

from flask import Blueprint
from sqlalchemy import Engine

from foldline_command import web
from foldline_command.bodies import Body, Empty
from foldline_command.orders import bodies, handlers
from foldline_command.web import CommandRoute, Handle


def _of_order(
    name: str, summary: str, call: str, handle: Handle, body: type[Body] = Empty
) -> CommandRoute:
    method, _, tail = call.partition(" ")
    return CommandRoute(
        name=name,
        summary=summary,
        method=method,
        path=f"/orders/<order_id>/{tail}",
        handle=handle,
        body=body,
        id_field="orderId",
    )


ROUTES = [
    CommandRoute(
        name="placeOrder",
        summary="Place an order.",
        method="POST",
        path="/orders",
        handle=handlers.place,
        body=bodies.PlaceOrder,
        id_field="orderId",
        location="/orders",
    ),
    _of_order("addItem", "Add an item.", "POST items", handlers.add_item, bodies.ItemBody),
    _of_order("removeItem", "Remove an item.", "DELETE items/<product_id>", handlers.remove_item),
    _of_order(
        "setShippingAddress",
        "Set the shipping address.",
        "PUT shipping-address",
        handlers.set_shipping_address,
        bodies.ShippingAddress,
    ),
    _of_order("submitOrder", "Submit the order.", "POST submit", handlers.submit),
    _of_order("payOrder", "Receive a payment.", "POST payments", handlers.pay, bodies.Payment),
    _of_order("shipOrder", "Ship the order.", "POST ship", handlers.ship, bodies.Shipment),
    _of_order("deliverOrder", "Deliver the order.", "POST deliver", handlers.deliver),
    _of_order(
        "cancelOrder", "Cancel the order.", "POST cancel", handlers.cancel, bodies.Cancellation
    ),
]


def blueprint(engine: Engine) -> tuple[Blueprint, list[CommandRoute]]:
    """The domain's routes on this database."""
    served = Blueprint("orders", __name__)
    for route in ROUTES:
        web.add(served, engine, route)
    return served, ROUTES
