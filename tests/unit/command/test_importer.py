"""Import lines: what each format reads, which lines are bad and why, and the order that a line makes."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from foldline_command import commands
from foldline_command.orders import importer
from foldline_command.orders.importer import READERS, BadLine, to_order
from foldline_command.orders.model import Order
from foldline_command.rules import Contended
from foldline_command.unit_of_work import Concurrent
from foldline_contracts.orders import events

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ITEM = {"productId": "p1", "name": "Lamp", "quantity": 2, "unitPrice": "19.99"}
CSV = "customerId,productId,name,quantity,unitPrice,createdAt,paid\n"


def read(form: str, text: str) -> list[tuple[int, Any]]:
    return list(READERS[form](io.StringIO(text, newline="")))


def orders(form: str, text: str) -> list[Order]:
    return [to_order(f"d-{number}", value, NOW) for number, value in read(form, text)]


def one(form: str, text: str) -> Order:
    (order,) = orders(form, text)
    return order


def facts(order: Order) -> list[str]:
    return [type(data).__name__ for data, _ in order.recorder.facts]


@pytest.mark.parametrize(
    ("line", "customer", "name", "total", "day"),
    [
        (" 00001 19970101  1   11.77", "00001", "1 CD", "11.77", (1997, 1, 1)),
        ("00002\t19970112\t12\t1297.10", "00002", "12 CDs", "1297.10", (1997, 1, 12)),
        (" 00111    1 19980630  2   29.33", "00111", "2 CDs", "29.33", (1998, 6, 30)),
        (" 00003 20000229 02 5.1\r", "00003", "2 CDs", "5.10", (2000, 2, 29)),
    ],
)
def test_a_cdnow_line_is_a_paid_order_of_its_day(
    line: str, customer: str, name: str, total: str, day: tuple[int, int, int]
) -> None:
    order = one("cdnow", line + "\n")
    assert (order.id, order.customer_id, order.currency) == ("d-1", customer, "USD")
    assert facts(order) == ["OrderCreated", "OrderSubmitted", "PaymentReceived", "OrderPaid"]
    assert {at for _, at in order.recorder.facts} == {datetime(*day, tzinfo=UTC)}
    created, submitted = (data for data, _ in order.recorder.facts[:2])
    assert isinstance(created, events.OrderCreated)
    assert [(line.name, line.quantity) for line in created.items] == [(name, 1)]
    assert submitted == events.OrderSubmitted(total=total, currency="USD", item_count=1)


def test_a_cdnow_purchase_for_nothing_is_paid_at_submission() -> None:
    order = one("cdnow", " 00001 19970101  1    0.00\n")
    assert facts(order) == ["OrderCreated", "OrderSubmitted", "OrderPaid"]


def test_a_heading_and_empty_lines_are_no_orders_but_count() -> None:
    text = "customer date cds dollars\n\n 00001 19970101 1 11.77\n   \n 00001 19970102 1 11.77\n"
    assert [number for number, _ in read("cdnow", text)] == [3, 5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("00001 19970101 1", "has 3 fields"),
        ("00001 1 2 19970101 1 11.77", "has 6 fields"),
        ("00001 19971301 1 11.77", "unconverted"),
        ("00001 1997111 1 11.77", "'1997111' is not YYYYMMDD"),
        ("00001 1997-1-1 1 11.77", "'1997-1-1' is not YYYYMMDD"),
        ("00001 19970229 1 11.77", "day is out of range"),
        ("00001 970101 1 11.77", "'970101' is not YYYYMMDD"),
        ("00001 19970101 one 11.77", "'one' is not a number"),
        ("00001 19970101 1.5 11.77", "'1.5' is not a number"),
        ("00001 19970101 -1 11.77", "'-1' is not a number"),
        ("00001 19970101 1 -11.77", "/items/0/unitPrice"),
        ("00001 19970101 1 1.12345", "/items/0/unitPrice"),
        ("00001 19970101 1 1e3", "/items/0/unitPrice"),
        ("00001 19970101 1 1000000000.01", "/items/0/unitPrice"),
        ("a/b 19970101 1 11.77", "/customerId"),
        ("\udcff 19970101 1 11.77", "/customerId"),
    ],
)
def test_a_bad_cdnow_line_says_why(line: str, reason: str) -> None:
    good = "00001 19970101 1 11.77"
    first, (number, value), last = read("cdnow", "\n".join([good, line, good]))
    assert number == 2
    with pytest.raises(BadLine) as caught:
        to_order("d-2", value, NOW)
    assert reason in str(caught.value)
    assert all(to_order("d", value, NOW).total for _, value in (first, last))


def test_an_ndjson_line_is_a_whole_order() -> None:
    past = {
        "customerId": "c1",
        "currency": "JPY",
        "createdAt": "2020-01-02T03:04:05+09:00",
        "items": [ITEM, ITEM | {"productId": "p2"}, ITEM],
        "note": "ring",
        "submitted": True,
    }
    order = one("ndjson", json.dumps(past) + "\n")
    assert facts(order) == ["OrderCreated", "OrderSubmitted"]
    assert {at for _, at in order.recorder.facts} == {datetime(2020, 1, 1, 18, 4, 5, tzinfo=UTC)}
    assert [(each.product_id, each.quantity) for each in order.items.values()] == [
        ("p1", 4),
        ("p2", 2),
    ]


def test_without_a_time_an_order_happens_now() -> None:
    order = one("ndjson", json.dumps({"customerId": "c1", "items": [ITEM]}))
    assert [
        (name, at) for name, (_, at) in zip(facts(order), order.recorder.facts, strict=True)
    ] == [("OrderCreated", NOW)]


def test_a_time_in_the_future_is_refused_but_for_a_day_of_grace() -> None:
    assert one("cdnow", "00001 20260103 1 11.77\n").total
    (_, tomorrow), (_, beyond) = read("cdnow", "c 20260103 1 1.00\nc 29990101 1 11.77\n")
    to_order("d-1", tomorrow, NOW)
    with pytest.raises(BadLine, match="2999-01-01T00:00:00Z is in the future"):
        to_order("d-2", beyond, NOW)
    past = {"customerId": "c1", "items": [ITEM], "createdAt": "2026-01-03T00:00:01Z"}
    ((_, late),) = read("ndjson", json.dumps(past))
    with pytest.raises(BadLine, match="is in the future"):
        to_order("d-1", late, NOW)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"items": []}, "has no items"),
        ({"items": [ITEM, ITEM | {"unitPrice": "1.00"}]}, "costs 19.99"),
        ({"items": [ITEM | {"unitPrice": 19.99}]}, "/items/0/unitPrice"),
        ({"items": [ITEM] * 501}, "/items"),
        ({"createdAt": "2020-01-02"}, "/createdAt"),
        ({"createdAt": "2020-01-02T03:04:05"}, "/createdAt"),
        ({"createdAt": 1577934245}, "/createdAt"),
        ({"paid": "yes"}, "/paid"),
        ({"orderId": "o1"}, "/orderId"),
        ({"note": "\ud800"}, "/note"),
        ({"customerId": None}, "/customerId"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_bad_ndjson_order_says_why(changes: dict[str, Any], reason: str) -> None:
    text = json.dumps({"customerId": "c1", "items": [ITEM], "submitted": True} | changes)
    ((_, value),) = read("ndjson", text)
    with pytest.raises(BadLine) as caught:
        to_order("d-1", value, NOW)
    assert reason in str(caught.value)


@pytest.mark.parametrize("line", ["{", '{"a":1,"a":2}', '{"a":NaN}', "[" * 70 + "]" * 70, "\udcff"])
def test_a_line_that_is_not_plain_json_is_bad_and_the_next_is_read(line: str) -> None:
    (_, value), (number, following) = read("ndjson", f"{line}\n\n{{}}\n")
    assert isinstance(value, BadLine)
    assert (number, following) == (3, {})


def test_every_fault_of_a_line_is_in_its_reason() -> None:
    with pytest.raises(BadLine) as caught:
        to_order("d-1", {"items": [ITEM | {"quantity": 0}], "x": 1}, NOW)
    assert all(
        part in str(caught.value) for part in ("/customerId: ", "/items/0/quantity: ", "/x: ")
    )


def test_a_csv_line_is_an_order_of_one_item() -> None:
    order = one("csv", CSV + 'c1,p1,"Lamp, ""big""",3,1.50,2020-01-02T00:00:00Z,true\n')
    assert facts(order)[-1] == "OrderPaid"
    assert [(each.name, each.quantity) for each in order.items.values()] == [('Lamp, "big"', 3)]
    assert order.recorder.facts[0][1] == datetime(2020, 1, 2, tzinfo=UTC)


def test_an_empty_csv_field_is_its_default() -> None:
    order = one("csv", CSV + "c1,p1,Lamp,,1.50,,\n")
    assert [each.quantity for each in order.items.values()] == [1]
    assert (facts(order), order.recorder.facts[0][1]) == (["OrderCreated"], NOW)


def test_a_csv_line_has_the_number_at_which_it_ends() -> None:
    text = CSV + 'c1,p1,"two\nlines",1,1.50,,\nc1,p1,Lamp,1,1.50,,\n'
    assert [number for number, _ in read("csv", text)] == [3, 4]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("c1,p1", "number of columns"),
        ("c1,p1,Lamp,1,1.50,,,more", "number of columns"),
        ("c1,p1,Lamp,many,1.50,,", "/items/0/quantity"),
        ("c1,p1,Lamp,0,1.50,,", "/items/0/quantity"),
        ("c1,p1,Lamp,1,1.50,,maybe", "/paid"),
        ("c1,,Lamp,1,1.50,,", "/items/0/productId"),
        (",p1,Lamp,1,1.50,,", "/customerId"),
        ('c1,p1,"Lamp"x,1,1.50,,', "expected after"),
    ],
)
def test_a_bad_csv_line_says_why(line: str, reason: str) -> None:
    good = "c1,p1,Lamp,1,1.50,,"
    (_, value), (number, following) = read("csv", f"{CSV}{line}\n{good}\n")
    with pytest.raises(BadLine) as caught:
        to_order("d-2", value, NOW)
    assert reason in str(caught.value)
    assert number == 3
    assert facts(to_order("d-3", following, NOW)) == ["OrderCreated"]


def test_a_csv_column_that_is_unknown_is_named() -> None:
    ((_, value),) = read("csv", "customerId,productId,name,unitPrice,colour\nc1,p1,Lamp,1.50,red\n")
    with pytest.raises(BadLine, match="/colour"):
        to_order("d-2", value, NOW)


def test_a_block_that_keeps_meeting_other_writers_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = []

    def lose(*_: Any) -> Any:
        tries.append(1)
        raise Concurrent

    monkeypatch.setattr(importer, "_load_block", lose)
    engine: Any = None
    with pytest.raises(Contended, match="run this one again"):
        importer.load(engine, [(1, {})], "d", lambda _: None)
    assert len(tries) == commands.ATTEMPTS


def test_of_many_bad_lines_the_first_are_kept_and_all_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Any, block: list[Any], __: str) -> Any:
        return 0, 0, [(number, "bad") for number, _ in block]

    monkeypatch.setattr(importer, "_load_block", refuse)
    engine: Any = None
    report = importer.load(engine, [(n, {}) for n in range(1_234)], "d", lambda _: None)
    assert report.bad == 1_234
    assert [number for number, _ in report.faults] == list(range(20))
