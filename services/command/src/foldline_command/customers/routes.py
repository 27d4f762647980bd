"""The customer command: its body, its handler and where it is called."""

from collections.abc import Mapping
from typing import Annotated

from flask import Blueprint
from pydantic import StringConstraints
from sqlalchemy import Engine

from foldline_command import web
from foldline_command.bodies import Body, Name
from foldline_command.customers.model import Customer
from foldline_command.customers.tables import CUSTOMERS
from foldline_command.unit_of_work import UnitOfWork
from foldline_command.web import CommandRoute

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s\x00]{1,64}@[^@\s\x00]{1,190}$")]


class Identity(Body):
    """Who a customer is."""

    name: Name
    email: Email | None = None


def identify(uow: UnitOfWork, ids: Mapping[str, str], body: Identity) -> Customer:
    """Registers or renames."""
    customer = uow.find(CUSTOMERS, ids["customer_id"])
    if customer is None:
        uow.absent()
        customer = Customer(id=ids["customer_id"])
    customer.identify(body.name, body.email, uow.now)
    uow.save(CUSTOMERS, [customer])
    return customer


ROUTES = [
    CommandRoute(
        name="identifyCustomer",
        summary="Register or rename a customer.",
        method="PUT",
        path="/customers/<customer_id>",
        handle=identify,
        body=Identity,
        id_field="customerId",
    )
]


def blueprint(engine: Engine) -> tuple[Blueprint, list[CommandRoute]]:
    """The domain's routes on this database."""
    served = Blueprint("customers", __name__)
    for route in ROUTES:
        web.add(served, engine, route)
    return served, ROUTES
