"""The command API on a real PostgreSQL: every call, every header, every refusal."""

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from foldline_command.app import create_app
from foldline_command.config import Settings
from foldline_contracts import codec, money
from foldline_contracts.orders.events import ORDERS
from foldline_contracts.slices import initial_map, slice_of

from .conftest import ITEM, PARTITIONS, Api

pytestmark = pytest.mark.integration

Sql = psycopg.Connection[Any]
ADDRESS = {
    "recipient": "Ada",
    "street": "Way 1",
    "city": "Köln",
    "postalCode": "50667",
    "country": "DE",
}


def outbox(sql: Sql, key: str) -> list[tuple[str, int, int, str]]:
    """Type, version, partition and payload of one aggregate's events."""
    query = (
        "SELECT type, version, partition, payload FROM outbox WHERE aggregateid = %s"
        " ORDER BY version"
    )
    return sql.execute(query, [key]).fetchall()


def test_the_whole_life_of_an_order(api: Api, sql: Sql) -> None:
    order = api.place(note="ring")
    steps: list[tuple[str, str, Any, int]] = [
        ("POST", "items", ITEM | {"productId": "p2", "unitPrice": "0.0200"}, 2),
        ("DELETE", "items/p2", None, 3),
        ("PUT", "shipping-address", ADDRESS, 4),
        ("POST", "submit", None, 5),
        ("POST", "payments", {"paymentId": "a", "method": "card", "amount": "39.9"}, 6),
        ("POST", "payments", {"paymentId": "b", "method": "card", "amount": "0.08"}, 8),
        ("POST", "ship", {"carrier": "DHL", "trackingNumber": "T1"}, 9),
        ("POST", "deliver", None, 10),
    ]
    for method, tail, body, version in steps:
        answer = api.call(method, f"/orders/{order}/{tail}", body)
        assert (answer.status_code, answer.get_json()) == (
            202,
            {"orderId": order, "version": version},
        )
        assert answer.headers["ETag"] == f'"{version}"'
        assert answer.headers["Foldline-Token"] == f"orders/{order}@{version}"
    events = outbox(sql, order)
    assert [version for _, version, _, _ in events] == list(range(1, 11))
    assert [name.removesuffix(".v1") for name, _, _, _ in events] == [
        "OrderCreated",
        "ItemAdded",
        "ItemRemoved",
        "ShippingAddressSet",
        "OrderSubmitted",
        "PaymentReceived",
        "PaymentReceived",
        "OrderPaid",
        "OrderShipped",
        "OrderDelivered",
    ]


def test_the_outbox_row_says_what_the_event_says(api: Api, sql: Sql) -> None:
    order = api.place()
    query = "SELECT id::text, aggregatetype, contenttype, partition, payload FROM outbox WHERE aggregateid = %s"
    row = sql.execute(query, [order]).fetchone()
    assert row is not None
    event = codec.decode(ORDERS, row[4].encode())
    assert (event.id, ORDERS.topic, codec.CONTENT_TYPE) == row[:3]
    assert row[3] == initial_map(PARTITIONS)[slice_of(order)]
    assert row[4].encode() == codec.encode(ORDERS, event)


def test_a_new_order_has_an_address_of_its_own(api: Api) -> None:
    answer = api.post("/orders", {"customerId": "c1", "items": []})
    order = answer.get_json()["orderId"]
    assert answer.headers["Location"] == f"/orders/{order}"
    assert answer.get_json()["version"] == 1


def test_an_id_may_be_chosen_once(api: Api) -> None:
    order = api.place(orderId=f"mine.{uuid4().hex}")
    again = api.post("/orders", {"orderId": order, "customerId": "c1", "items": [ITEM]})
    assert (again.status_code, again.get_json()["type"]) == (409, "/problems/order-exists")


def test_money_is_kept_exactly(api: Api, sql: Sql) -> None:
    order = api.place(items=[ITEM | {"quantity": 3, "unitPrice": "0.1000"}])
    payload = json.loads(outbox(sql, order)[0][3])
    assert payload["data"]["items"][0]["unitPrice"] == "0.10"
    api.post(f"/orders/{order}/submit")
    assert json.loads(outbox(sql, order)[1][3])["data"]["total"] == "0.30"
    assert money.to_text(money.parse("0.3")) == "0.30"


def test_customers_register_rename_and_stay(api: Api, sql: Sql) -> None:
    path = f"/customers/{uuid4().hex}"
    versions = [
        api.call("PUT", path, body).get_json()["version"]
        for body in (
            {"name": "Ada"},
            {"name": "Ada"},
            {"name": "Ada", "email": None},
            {"name": "Ada King", "email": "ada@example.org"},
        )
    ]
    assert versions == [1, 1, 1, 2]
    found = [name for name, *_ in outbox(sql, path.rpartition("/")[2])]
    assert found == ["CustomerRegistered.v1", "CustomerRenamed.v1"]


def test_what_changes_nothing_makes_no_event(api: Api, sql: Sql) -> None:
    order = api.place()
    payment = {"paymentId": "a", "method": "card", "amount": "1.00"}
    calls = [
        ("PUT", "shipping-address", ADDRESS),
        ("POST", "submit", None),
        ("POST", "payments", payment),
    ]
    for method, tail, body in calls:
        api.call(method, f"/orders/{order}/{tail}", body)
        if tail != "submit":
            before = len(outbox(sql, order))
            if tail == "payments":
                answer = api.call(method, f"/orders/{order}/{tail}", body)
                assert answer.status_code == 202
                assert answer.get_json()["version"] == before
            assert len(outbox(sql, order)) == before


REFUSALS: list[tuple[str, str, Any, int, str]] = [
    ("POST", "items", ITEM | {"unitPrice": "20.00"}, 409, "price-mismatch"),
    ("POST", "items", ITEM | {"quantity": 1_000_000}, 409, "quantity-too-large"),
    ("DELETE", "items/absent", None, 404, "item-not-found"),
    ("POST", "payments", {"paymentId": "a", "method": "card", "amount": "1.00"}, 409,
     "not-awaiting-payment"),
    ("POST", "ship", {"carrier": "DHL", "trackingNumber": "T"}, 409, "order-not-paid"),
    ("POST", "deliver", None, 409, "order-not-shipped"),
    ("POST", "deliver", {"when": "now"}, 422, "invalid-body"),
    ("POST", "cancel", None, 422, "invalid-body"),
    ("POST", "cancel", {"reason": 5}, 422, "invalid-body"),
    ("POST", "items", ITEM | {"unitPrice": 19.99}, 422, "invalid-body"),
    ("POST", "items", ITEM | {"name": "\0"}, 422, "invalid-body"),
    ("DELETE", "items/a%20b", None, 400, "bad-parameter"),
    ("DELETE", "items/%ff", None, 400, "bad-parameter"),
    ("GET", "submit", None, 405, "method-not-allowed"),
    ("POST", "explode", None, 404, "not-found"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "tail", "body", "status", "slug"), REFUSALS)
def test_a_refusal_is_a_problem_and_changes_nothing(
    api: Api, sql: Sql, method: str, tail: str, body: Any, status: int, slug: str
) -> None:
    order = api.place()
    answer = api.call(method, f"/orders/{order}/{tail}", body)
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    problem = answer.get_json()
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert len(outbox(sql, order)) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"customerId":"a","customerId":"b","items":[]}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"customerId":"\\ud800","items":[]}', "application/json", 422),
        (b'{"\\udfff":1,"customerId":"c","items":[]}', "application/json", 422),
        (b"[" * 500_000, "application/json", 400),
        (b'{"a":' + b"1" * 10_000 + b"}", "application/json", 400),
        (b'{"a":1e999}', "application/json", 422),
        (b"null", "application/json", 422),
        (b"", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b" " * (1024 * 1024 + 1), "application/json", 413),
    ],
    ids=lambda each: str(each)[:20],
)
def test_bytes_that_are_no_command_get_a_clean_answer(
    api: Api, body: bytes, content_type: str, status: int
) -> None:
    answer = api.raw("/orders", body, content_type)
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"


def test_an_unknown_order_is_404(api: Api) -> None:
    answer = api.post("/orders/nobody/submit")
    assert (answer.status_code, answer.get_json()["type"]) == (404, "/problems/order-not-found")


@pytest.mark.parametrize("value", ["1", "*", 'W/"1"', '"a"', '"1", "2"', "", '"-1"', '"01"'])
def test_a_malformed_if_match_is_400(api: Api, value: str) -> None:
    answer = api.post(f"/orders/{api.place()}/submit", If_Match=value)
    assert (answer.status_code, answer.get_json()["type"]) == (400, "/problems/bad-parameter")


def test_if_match_is_judged_before_rules(api: Api) -> None:
    order = api.place()
    refused = api.post(f"/orders/{order}/deliver", If_Match='"7"')
    assert (refused.status_code, refused.get_json()["currentVersion"]) == (412, 1)
    assert api.post(f"/orders/{order}/deliver", If_Match='"1"').status_code == 409
    assert api.post(f"/orders/{order}/submit", If_Match='"1"').status_code == 202
    body = {"customerId": "c1", "items": []}
    assert api.post("/orders", body, If_Match='"1"').status_code == 412


def test_every_rule_is_listed(api: Api) -> None:
    listed = {each["type"] for each in api.call("GET", "/problems").get_json()["problems"]}
    raised = {f"/problems/{slug}" for *_, slug in REFUSALS}
    assert raised | {"/problems/order-exists", "/problems/overpayment"} <= listed
    for uri in listed:
        assert api.call("GET", uri).get_json()["type"] == uri
    assert api.call("GET", "/problems/none").status_code == 404


def test_the_service_is_not_ready_without_its_slot(api: Api) -> None:
    answer = api.call("GET", "/readyz")
    assert (answer.status_code, answer.get_json()["missing"]) == (503, ["slot foldline_outbox"])
    assert api.call("GET", "/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/orders/o/submit"])
def test_an_absent_database_is_503_with_patience(path: str) -> None:
    url = "postgresql://foldline@127.0.0.1:1/nowhere"
    away = Api(create_app(Settings(write_database_url=url, database_timeout_seconds=1)))
    answer = away.call("GET" if path == "/readyz" else "POST", path)
    assert answer.status_code == 503
    assert answer.content_type == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1


def test_refusals_are_counted_by_the_status_that_was_answered(api: Api) -> None:
    def counted() -> float:
        text = api.call("GET", "/metrics").text
        name = 'foldline_command_requests_total{command="shipOrder",status="422"}'
        found = [line.split()[-1] for line in text.splitlines() if line.startswith(name)]
        return float(found[0]) if found else 0.0

    before = counted()
    api.post(f"/orders/{api.place()}/ship", {})
    assert counted() == before + 1


def test_the_description_names_every_command(api: Api) -> None:
    paths = api.call("GET", "/openapi.json").get_json()["paths"]
    assert len([path for path in paths if path.startswith(("/orders", "/customers"))]) == 10
