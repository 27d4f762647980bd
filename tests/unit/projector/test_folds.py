"""Given these events, then this body: the four folds of orders as tables."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from support.order_events import (
    ADDRESS,
    CANCELLED,
    LIFE,
    created,
    customer,
    item,
    numbered,
)

from foldline_contracts.codec import Event
from foldline_contracts.orders.events import (
    ORDERS,
    ItemAdded,
    ItemRemoved,
    OrderCancelled,
    OrderShipped,
    OrderSubmitted,
    ShippingAddressSet,
)
from foldline_contracts.orders.readmodels import (
    ORDER_ANALYTICS,
    ORDER_SUMMARIES,
)
from foldline_projector.orders import analytics, details, search, summaries
from foldline_projector.projection import Projection, projections
from foldline_projector.stores.port import Body

PROJECTIONS = (summaries.PROJECTION, details.PROJECTION, analytics.PROJECTION, search.PROJECTION)
every_projection = pytest.mark.parametrize(
    "projection", PROJECTIONS, ids=lambda projection: projection.read_model.name
)


def given(projection: Projection, *payloads: msgspec.Struct) -> Body:
    body: Body | None = None
    for event in numbered("o1", payloads):
        body = projection.evolve(body, event)
    assert body is not None
    return body


def subset(body: Body, *fields: str) -> list[Any]:
    return [body[field] for field in fields]


T1 = "2026-03-01T23:59:00.000000Z"


def test_a_new_order_has_every_field_of_its_summary() -> None:
    assert given(summaries.PROJECTION, created(item(quantity=2))) == {
        "customerId": "c1",
        "status": "CREATED",
        "total": "39.98",
        "currency": "EUR",
        "itemCount": 1,
        "createdAt": T1,
        "updatedAt": T1,
        "lines": {"p1": [2, "19.99"]},
    }


def test_a_new_order_has_every_field_of_its_detail() -> None:
    assert given(details.PROJECTION, created(item(quantity=2))) == {
        "customerId": "c1",
        "status": "CREATED",
        "total": "39.98",
        "currency": "EUR",
        "itemCount": 1,
        "createdAt": T1,
        "updatedAt": T1,
        "items": [
            {
                "productId": "p1",
                "name": "Lamp",
                "quantity": 2,
                "unitPrice": "19.99",
                "lineTotal": "39.98",
            }
        ],
        "shipping": None,
        "payments": [],
        "history": [{"status": "CREATED", "at": T1}],
        "note": None,
    }


def test_an_order_without_items_costs_nothing() -> None:
    for projection in (summaries.PROJECTION, details.PROJECTION, search.PROJECTION):
        assert subset(given(projection, created()), "total", "itemCount") == ["0.00", 0]


@every_projection
@pytest.mark.parametrize(
    ("payloads", "total"),
    [
        ([created(item(quantity=2), item("p2", 1, "0.0001"))], "39.9801"),
        ([created(item()), ItemAdded(item=item(quantity=3))], "79.96"),
        ([created(item(), item()), ItemAdded(item=item("p2", 2, "1.50"))], "42.98"),
        ([created(item(), item("p2", 2, "1.50")), ItemRemoved(product_id="p1")], "3.00"),
        ([created(item()), ItemRemoved(product_id="p1")], "0.00"),
        ([created(item("p1", 1_000_000, "1000000000"))], "1000000000000000.00"),
    ],
)
def test_the_total_follows_the_lines(
    projection: Projection, payloads: Sequence[msgspec.Struct], total: str
) -> None:
    assert given(projection, *payloads)["total"] == total


@every_projection
@pytest.mark.parametrize(
    ("length", "status"),
    [
        (1, "CREATED"),
        (5, "CREATED"),
        (6, "SUBMITTED"),
        (7, "SUBMITTED"),
        (8, "PAID"),
        (9, "SHIPPED"),
        (10, "DELIVERED"),
    ],
)
def test_the_status_follows_the_life_of_an_order(
    projection: Projection, length: int, status: str
) -> None:
    assert given(projection, *LIFE[:length])["status"] == status


@every_projection
def test_a_cancelled_order_says_so(projection: Projection) -> None:
    assert given(projection, *CANCELLED)["status"] == "CANCELLED"


def test_items_stand_in_first_added_order_and_keep_their_first_name() -> None:
    body = given(
        details.PROJECTION,
        created(item("b"), item("a")),
        ItemAdded(item=item("c")),
        ItemAdded(item=item("a", 4, name="Renamed")),
    )
    assert [(line["productId"], line["quantity"]) for line in body["items"]] == [
        ("b", 1),
        ("a", 5),
        ("c", 1),
    ]
    assert body["items"][1]["name"] == "Lamp"


def test_a_detail_tells_the_whole_life() -> None:
    body = given(details.PROJECTION, *LIFE)
    assert [entry["status"] for entry in body["history"]] == [
        "CREATED",
        "SUBMITTED",
        "PAID",
        "SHIPPED",
        "DELIVERED",
    ]
    assert body["payments"] == [
        {
            "paymentId": "pay1",
            "method": "card",
            "amount": "139.98",
            "at": "2026-03-02T00:05:00.000000Z",
        }
    ]
    assert body["shipping"] == {
        "recipient": "Ada",
        "street": "Way 1",
        "city": "Köln",
        "postalCode": "50667",
        "country": "DE",
        "carrier": "DHL",
        "trackingNumber": "T1",
    }
    assert subset(body, "note", "createdAt", "updatedAt") == [
        "ring twice",
        T1,
        "2026-03-02T00:08:00.000000Z",
    ]


def test_only_a_cancellation_has_a_reason_in_history() -> None:
    history = given(details.PROJECTION, *CANCELLED)["history"]
    assert history[-1] == {
        "status": "CANCELLED",
        "at": "2026-03-02T00:01:00.000000Z",
        "reason": "too slow",
    }
    assert "reason" not in history[0]


def test_shipping_fields_that_are_not_known_are_null() -> None:
    addressed = given(details.PROJECTION, created(), ShippingAddressSet(personal=ADDRESS))
    assert subset(addressed["shipping"], "city", "carrier", "trackingNumber") == [
        "Köln",
        None,
        None,
    ]
    shipped = given(
        details.PROJECTION, created(), OrderShipped(carrier="DHL", tracking_number="T1")
    )
    assert subset(shipped["shipping"], "city", "carrier") == [None, "DHL"]


def test_search_keeps_note_reason_and_address() -> None:
    body = given(
        search.PROJECTION,
        created(item(), note="gift"),
        ShippingAddressSet(personal=ADDRESS),
        OrderCancelled(reason="too slow", previous_status="CREATED", total="19.99"),
    )
    assert subset(body, "note", "reason") == ["gift", "too slow"]
    assert body["shipping"]["city"] == "Köln"
    assert subset(given(search.PROJECTION, created()), "note", "reason", "shipping") == [None] * 3


def test_statistics_belong_to_the_utc_day_of_submission() -> None:
    body = given(analytics.PROJECTION, *LIFE[:5])
    assert subset(body, "submittedDate", "submittedTotal") == [None, None]
    body = given(analytics.PROJECTION, *LIFE[:6])
    assert subset(body, "submittedDate", "submittedTotal", "total", "lines") == [
        "2026-03-02",
        "139.98",
        "139.98",
        None,
    ]
    assert given(analytics.PROJECTION, *LIFE)["submittedDate"] == "2026-03-02"


def test_cancellation_before_and_after_submission_keeps_what_was_submitted() -> None:
    early = OrderCancelled(reason="r", previous_status="CREATED", total="19.99")
    assert subset(
        given(analytics.PROJECTION, created(item()), early), "submittedDate", "total"
    ) == [
        None,
        "19.99",
    ]
    assert given(analytics.PROJECTION, *CANCELLED)["submittedTotal"] == "19.99"


@every_projection
def test_a_body_that_was_handed_out_is_never_changed(projection: Projection) -> None:
    body: Body | None = None
    for event in numbered("o1", LIFE):
        before = msgspec.json.encode(body)
        after = projection.evolve(body, event)
        assert msgspec.json.encode(body) == before
        body = after


@every_projection
def test_every_field_stands_there_from_the_first_event_on(projection: Projection) -> None:
    fields = set(given(projection, created()))
    assert all(set(given(projection, *LIFE[:n])) == fields for n in range(1, len(LIFE) + 1))
    columns = {column.field for column in projection.read_model.primary_columns}
    assert not columns or columns == fields


@every_projection
def test_an_order_begins_with_its_creation_and_only_once(projection: Projection) -> None:
    submitted = OrderSubmitted(total="1.00", currency="EUR", item_count=1)
    with pytest.raises(ValueError, match="before OrderCreated"):
        given(projection, submitted)
    with pytest.raises(ValueError, match="a second time"):
        given(projection, created(), created())


@every_projection
def test_lines_that_add_up_to_more_than_a_store_keeps_are_refused(projection: Projection) -> None:
    most = item("p1", 1_000_000, "1000000000.00")
    assert given(projection, created(most))["total"] == "1000000000000000.00"
    with pytest.raises(ValueError, match="add up to more"):
        given(projection, created(most), ItemAdded(item=item("p2", 1, "0.01")))


@every_projection
def test_every_event_type_can_be_folded(projection: Projection) -> None:
    folded = {type(payload) for payload in (*LIFE, *CANCELLED)}
    assert folded == set(ORDERS.events.values())
    given(projection, *LIFE)
    given(projection, *CANCELLED)


def test_a_customer_is_named_after_the_last_event() -> None:
    def name(projection: Projection, events: list[Event]) -> Body:
        body: Body | None = None
        assert projection.evolve_reference is not None
        for event in events:
            body = projection.evolve_reference(body, event)
        assert body is not None
        return body

    events = customer("c1", "Ada", "Eve")
    assert name(summaries.PROJECTION, events) == {"name": "Eve"}
    assert name(search.PROJECTION, events) == {"name": "Eve"}
    assert name(details.PROJECTION, events) == {"name": "Eve", "email": "eve@example.org"}
    assert analytics.PROJECTION.evolve_reference is None


def test_projections_are_found_by_entry_point() -> None:
    assert {name: each.read_model.name for name, each in projections().items()} == {
        name: name
        for name in ("order-summaries", "order-details", "order-analytics", "order-search")
    }
    assert ORDER_SUMMARIES.reference == "customers"
    assert ORDER_ANALYTICS.reference is None
