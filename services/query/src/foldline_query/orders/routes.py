"""The endpoints of orders: parse, wait, observe, read, answer; one step a line.

The order of the steps is what freshness rests on: `open` waits for the tokens and observes the
read model's state, only then are data read, from the generation that `open` fixed.
"""

from flask import Blueprint, Response, request

from foldline_contracts.tokens import Token
from foldline_query import web
from foldline_query.orders import details, schema, search, stats, summaries
from foldline_query.orders.parameters import (
    CustomerOrdersParameters,
    DailyParameters,
    DetailParameters,
    OrdersParameters,
    SearchParameters,
)
from foldline_query.parameters import identifier, read
from foldline_query.problems import not_found
from foldline_query.services import Services
from foldline_query.tokens.reading import Consistency

SUMMARIES = "order-summaries"
DETAILS = "order-details"
ANALYTICS = "order-analytics"
SEARCH = "order-search"


def blueprint(room: Services) -> Blueprint:
    """The routes of orders."""
    routes = Blueprint("orders", __name__)
    schema.declare(room.api)
    _lists(routes, room)
    _detail(routes, room)
    _statistics(routes, room)
    _search(routes, room)
    return routes


def _lists(routes: Blueprint, room: Services) -> None:
    def page(wanted: summaries.Wanted) -> Response:
        view = room.read_models[SUMMARIES].open(web.consistency())
        found = summaries.page(room.stores.postgresql, view.documents, wanted)
        return web.viewed(found, view, view.freshness())

    @routes.get("/orders")
    def list_orders() -> Response:
        given = read(OrdersParameters, request.args)
        return page(summaries.wanted(given, given.customer_id))

    @routes.get("/customers/<customer_id>/orders")
    def list_customer_orders(customer_id: str) -> Response:
        customer = identifier("id", customer_id)
        given = read(CustomerOrdersParameters, request.args)
        return page(summaries.wanted(given, customer))


def _detail(routes: Blueprint, room: Services) -> None:
    @routes.get("/orders/<order_id>")
    def show_order(order_id: str) -> Response:
        key = identifier("id", order_id)
        minimum = read(DetailParameters, request.args).min_version
        access = room.read_models[DETAILS]
        view = access.open(_with_minimum(web.consistency(), key, minimum))
        found = details.find(room.stores.mongodb, access, view, key)
        if found.order is None:
            detail = f"There is no order {key}, as far as the read model knows."
            raise not_found(detail, view.headers(found.freshness))
        return web.viewed(found.body(), view, found.freshness, found.etag(view))


def _with_minimum(consistency: Consistency, key: str, minimum: int | None) -> Consistency:
    if minimum is None:
        return consistency
    return consistency.and_also(Token("orders", key, minimum))


def _statistics(routes: Blueprint, room: Services) -> None:
    @routes.get("/stats/daily")
    def daily() -> Response:
        window = stats.window(read(DailyParameters, request.args))
        view = room.read_models[ANALYTICS].open(web.consistency())
        days = stats.days(room.stores.clickhouse, view.documents, window)
        return web.viewed({"days": days}, view, view.freshness())


def _search(routes: Blueprint, room: Services) -> None:
    @routes.get("/search")
    def find_orders() -> Response:
        wanted = search.wanted(read(SearchParameters, request.args))
        view = room.read_models[SEARCH].open(web.consistency())
        found = search.page(room.stores.elasticsearch, view.documents, wanted)
        return web.viewed(found, view, view.freshness())
