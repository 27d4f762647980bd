"""Each endpoint against rows in its real store."""

import pytest

from .conftest import World
from .rows import ADDRESS, CREATED, DOCUMENTS, analytics, detail, item, reference, summary

pytestmark = pytest.mark.integration

PATHS = {
    "order-summaries": "/orders",
    "order-details": "/orders/o1",
    "order-analytics": "/stats/daily",
    "order-search": "/search",
}


@pytest.mark.parametrize("name", PATHS)
def test_a_read_model_that_was_never_prepared_is_unavailable(world: World, name: str) -> None:
    answer = world.get(PATHS[name])
    assert answer.status_code == 503
    assert answer.content_type == "application/problem+json"
    assert answer.json["type"] == "/problems/unavailable"
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize("name", PATHS)
def test_an_answer_says_how_fresh_it_is(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1"))
    answer = world.get(PATHS[name])
    assert answer.status_code == 200, answer.text
    freshness = answer.json["freshness"]
    assert freshness["stale"] is False, freshness
    assert freshness["parked"] == 0
    assert freshness["lagSeconds"] == 0
    assert answer.headers["Foldline-As-Of"] == freshness["asOf"]
    assert answer.headers["Foldline-Generation"] == "1"
    assert answer.headers["Foldline-Stale"] == "false"


def test_a_summary_has_all_its_fields(world: World) -> None:
    world.write("order-summaries", summary("o1", 3, name="Zoë", total="39.98"), summary("o2"))
    by_id = {each["orderId"]: each for each in world.get("/orders").json["items"]}
    assert by_id["o1"] == {
        "orderId": "o1",
        "customerId": "c1",
        "customerName": "Zoë",
        "status": "CREATED",
        "total": "39.98",
        "currency": "EUR",
        "itemCount": 1,
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "version": 3,
    }
    assert by_id["o2"]["customerName"] is None


def test_a_customers_orders_are_theirs_alone(world: World) -> None:
    world.write("order-summaries", summary("o1"), summary("o2", customerId="c2"))
    assert [each["orderId"] for each in world.get("/customers/c2/orders").json["items"]] == ["o2"]
    assert [each["orderId"] for each in world.get("/orders?customerId=c1").json["items"]] == ["o1"]
    assert world.get("/customers/nobody/orders").json["items"] == []


def test_lists_are_filtered_and_counted(world: World) -> None:
    world.write(
        "order-summaries",
        summary("o1", status="PAID", createdAt="2026-03-01T00:00:00.000000Z"),
        summary("o2", status="PAID", createdAt="2026-03-02T00:00:00.000000Z"),
        summary("o3", status="SHIPPED", createdAt="2026-03-01T10:00:00.000000Z"),
    )

    def ids(query: str) -> list[str]:
        return [each["orderId"] for each in world.get(f"/orders?{query}").json["items"]]

    assert ids("status=PAID") == ["o2", "o1"]
    assert ids("createdFrom=2026-03-01&createdTo=2026-03-02") == ["o3", "o1"]
    assert ids("createdFrom=2026-03-01T11:00:00%2B01:00&sort=createdAt") == ["o3", "o2"]
    body = world.get("/orders?status=PAID&limit=1&count=true").json
    assert body["total"] == 2
    assert len(body["items"]) == 1
    assert "total" not in world.get("/orders").json


def test_a_detail_has_all_its_fields(world: World) -> None:
    world.write(
        "order-details",
        detail("o1", 4, name="Zoë", shipping=ADDRESS, note="für Zoë"),
        references=(reference("c1", 1, 1),),
    )
    body = world.get("/orders/o1").json
    assert body["version"] == 4
    assert body["lastUpdated"] == CREATED
    assert body["stale"] is False
    assert "staleReason" not in body
    order = body["order"]
    assert order["customer"] == {"customerId": "c1", "name": "Zoë", "email": "Zoë@x.test"}
    assert order["shipping"] == ADDRESS
    assert order["items"] == [item("p1", "Teapot")]
    assert order["history"] == [{"status": "CREATED", "at": CREATED}]


def test_what_no_event_has_filled_is_null(world: World) -> None:
    world.write("order-details", detail("o1"))
    order = world.get("/orders/o1").json["order"]
    assert order["customer"] == {"customerId": "c1", "name": None, "email": None}
    assert order["note"] is None
    assert order["shipping"] is None
    assert order["payments"] == []


def test_an_unknown_order_is_not_found(world: World) -> None:
    world.write("order-details", detail("o1"))
    answer = world.get("/orders/o2")
    assert answer.status_code == 404
    assert answer.json["type"] == "/problems/not-found"
    assert answer.headers["Foldline-Stale"] == "false"


def test_a_known_etag_is_answered_without_a_body(world: World) -> None:
    world.write("order-details", detail("o1", 2, name="Ada"))
    first = world.get("/orders/o1")
    etag = first.headers["ETag"]
    assert etag == 'W/"g1-o2-c1"'
    again = world.get("/orders/o1", If_None_Match=etag)
    assert again.status_code == 304
    assert again.data == b""
    assert again.headers["ETag"] == etag
    assert again.headers["Foldline-Generation"] == "1"
    assert again.headers["Foldline-Stale"] == "false"
    assert again.headers["Foldline-As-Of"]
    world.write("order-details", detail("o1", 3, name="Ada"))
    assert world.get("/orders/o1", If_None_Match=etag).status_code == 200


def test_days_count_what_was_submitted_and_not_cancelled(world: World) -> None:
    world.write(
        "order-analytics",
        analytics("o1", submittedTotal="10.00"),
        analytics("o2", submittedTotal="0.0001", status="PAID"),
        analytics("o3", submittedTotal="5.00", status="CANCELLED"),
        analytics("o4", submittedDate=None, submittedTotal=None, status="CREATED"),
        analytics("o5", currency="USD"),
        analytics("o6", submittedDate="2026-03-02", status="CANCELLED"),
    )
    assert world.get("/stats/daily?from=2026-03-01&to=2026-03-02").json["days"] == [
        {
            "date": "2026-03-01",
            "currency": "EUR",
            "orderCount": 2,
            "totalRevenue": "10.0001",
            "averageOrderValue": "5.00",
            "ordersByStatus": {"CANCELLED": 1, "PAID": 1, "SUBMITTED": 1},
        },
        {
            "date": "2026-03-01",
            "currency": "USD",
            "orderCount": 1,
            "totalRevenue": "10.00",
            "averageOrderValue": "10.00",
            "ordersByStatus": {"SUBMITTED": 1},
        },
        {
            "date": "2026-03-02",
            "currency": "EUR",
            "orderCount": 0,
            "totalRevenue": "0.00",
            "averageOrderValue": None,
            "ordersByStatus": {"CANCELLED": 1},
        },
    ]


def test_an_order_counts_once_however_often_it_was_written(world: World) -> None:
    world.write("order-analytics", analytics("o1", 1))
    world.write("order-analytics", analytics("o1", 2, status="PAID"))
    world.write("order-analytics", analytics("o1", 1))
    (day,) = world.get("/stats/daily").json["days"]
    assert day["orderCount"] == 1
    assert day["ordersByStatus"] == {"PAID": 1}


def test_a_window_without_ends_is_the_last_days_that_have_orders(world: World) -> None:
    world.write(
        "order-analytics",
        analytics("o1", submittedDate="1997-01-01"),
        analytics("o2", submittedDate="2007-01-08"),
        analytics("o3", submittedDate="2007-01-09"),
        analytics("o4", submittedDate="2099-01-01"),  # from the future: it hides nobody
    )

    def dates(query: str) -> list[str]:
        return [day["date"] for day in world.get(f"/stats/daily{query}").json["days"]]

    assert dates("") == ["2007-01-08", "2007-01-09"]
    assert dates("?from=2099-01-01") == ["2099-01-01"]
    assert dates("?to=2007-01-08") == ["1997-01-01", "2007-01-08"]
    assert dates("?from=1997-01-01") == ["1997-01-01", "2007-01-08"]
    assert dates("?from=1997-01-02") == ["2007-01-08", "2007-01-09"]
    assert dates("?currency=USD") == []
    assert world.get("/stats/daily?from=0001-01-01&to=0001-01-02").json["days"] == []
