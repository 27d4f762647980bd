"""What the orders endpoints answer, for OpenAPI."""

from typing import get_args

from foldline_contracts.orders.events import OrderStatus
from foldline_query.openapi import (
    IDENTIFIER,
    MONEY,
    TIME,
    Api,
    Json,
    Operation,
    array,
    nullable,
    obj,
    ref,
)
from foldline_query.orders.parameters import (
    CustomerOrdersParameters,
    DailyParameters,
    DetailParameters,
    OrdersParameters,
    SearchParameters,
)

_COUNT: Json = {"type": "integer", "minimum": 0}
_TEXT: Json = {"type": "string"}
_STATUSES = list(get_args(OrderStatus))
_STATUS: Json = {"enum": _STATUSES}
_DATE: Json = {"type": "string", "format": "date"}
_FACET: Json = array(obj({"value": _TEXT, "count": _COUNT}))

_SUMMARY: dict[str, Json] = {
    "orderId": IDENTIFIER,
    "customerId": nullable(IDENTIFIER),
    "customerName": nullable(_TEXT),
    "status": nullable(_STATUS),
    "total": nullable(MONEY),
    "currency": nullable(_TEXT),
    "itemCount": nullable(_COUNT),
    "createdAt": nullable(TIME),
    "updatedAt": nullable(TIME),
    "version": _COUNT,
}
_DETAIL: dict[str, Json] = {
    **_SUMMARY,
    "customer": obj(
        {"customerId": nullable(IDENTIFIER), "name": nullable(_TEXT), "email": nullable(_TEXT)}
    ),
    "items": array(
        obj(
            {
                "productId": IDENTIFIER,
                "name": _TEXT,
                "quantity": _COUNT,
                "unitPrice": MONEY,
                "lineTotal": MONEY,
            }
        )
    ),
    "shipping": nullable({"type": "object"}),
    "payments": array({"type": "object"}),
    "history": array(
        obj({"status": _STATUS, "at": TIME, "reason": nullable(_TEXT)}, optional=("reason",))
    ),
    "note": nullable(_TEXT),
}
_DAY: dict[str, Json] = {
    "date": _DATE,
    "currency": _TEXT,
    "orderCount": _COUNT,
    "totalRevenue": MONEY,
    "averageOrderValue": nullable(MONEY),
    "ordersByStatus": {
        "type": "object",
        "properties": {status: {"type": "integer", "minimum": 1} for status in _STATUSES},
        "additionalProperties": False,
    },
}
_HIT: dict[str, Json] = {
    **_SUMMARY,
    "score": nullable({"type": "number"}),
    "highlights": {
        "description": "HTML: everything is escaped but `<em>` around what was found.",
        "type": "object",
        "additionalProperties": array(_TEXT),
    },
}


def declare(api: Api) -> None:
    """Declares the operations of orders."""
    _declare_lists(api)
    _declare_detail(api)
    _declare_statistics(api)
    _declare_search(api)


def _declare_lists(api: Api) -> None:
    page = obj(
        {
            "items": array(api.schema("OrderSummary", obj(_SUMMARY))),
            "nextCursor": nullable(_TEXT),
            "total": _COUNT,
            "freshness": ref("Freshness"),
        },
        optional=("total",),
    )
    answer = api.schema("OrderPage", page)
    api.get("/orders", Operation(summary="List orders", answer=answer, query=OrdersParameters))
    api.get(
        "/customers/{id}/orders",
        Operation(
            summary="List a customer's orders",
            answer=answer,
            query=CustomerOrdersParameters,
            path={"id": IDENTIFIER},
        ),
    )


def _declare_detail(api: Api) -> None:
    answer = obj(
        {
            "order": api.schema("Order", obj(_DETAIL)),
            "version": _COUNT,
            "lastUpdated": nullable(TIME),
            "stale": {"type": "boolean"},
            "staleReason": _TEXT,
            "freshness": ref("Freshness"),
        },
        optional=("staleReason",),
    )
    api.get(
        "/orders/{id}",
        Operation(
            summary="Show an order",
            answer=answer,
            query=DetailParameters,
            path={"id": IDENTIFIER},
            conditional=True,
            can_miss=True,
        ),
    )


def _declare_statistics(api: Api) -> None:
    day = api.schema("DailyStatistics", obj(_DAY))
    answer = obj({"days": array(day), "freshness": ref("Freshness")})
    api.get(
        "/stats/daily",
        Operation(summary="Orders by day of submission", answer=answer, query=DailyParameters),
    )


def _declare_search(api: Api) -> None:
    answer = obj(
        {
            "items": array(api.schema("SearchHit", obj(_HIT))),
            "nextCursor": nullable(_TEXT),
            "facets": obj({"status": _FACET, "customerId": _FACET, "productId": _FACET}),
            "total": _COUNT,
            "freshness": ref("Freshness"),
        }
    )
    api.get("/search", Operation(summary="Search orders", answer=answer, query=SearchParameters))
