"""The arithmetic of daily statistics."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from foldline_query.orders.parameters import DailyParameters
from foldline_query.orders.stats import MAX_DAYS, Window, average, summed, window
from foldline_query.parameters import read
from foldline_query.problems import Problem


@pytest.mark.parametrize(
    ("revenue", "count", "expected"),
    [
        ("10", 4, "2.5000"),
        ("10", 3, "3.3333"),
        ("20", 3, "6.6667"),
        ("0.0001", 2, "0.0000"),
        ("0.0003", 2, "0.0002"),
        ("0.0005", 2, "0.0002"),
        ("0.0007", 2, "0.0004"),
        ("0", 5, "0.0000"),
        ("99999999999999999999.9999", 1, "99999999999999999999.9999"),
    ],
)
def test_an_average_rounds_halves_to_even(revenue: str, count: int, expected: str) -> None:
    assert str(average(Decimal(revenue), count)) == expected


def test_there_is_no_average_of_nothing() -> None:
    assert average(Decimal(0), 0) is None


@given(st.integers(0, 10**25), st.integers(1, 10**9))
def test_an_average_is_the_nearest_of_four_decimals(units: int, count: int) -> None:
    found = average(Decimal(units).scaleb(-4), count)
    assert found is not None
    exact = Fraction(units, 10_000 * count)
    assert abs(Fraction(found) - exact) <= Fraction(1, 20_000)
    if abs(Fraction(found) - exact) == Fraction(1, 20_000):
        assert int(found.scaleb(4)) % 2 == 0


def row(status: str, orders: int, revenue: str, currency: str = "EUR") -> dict[str, object]:
    return {
        "submitted_date": date(2026, 3, 1),
        "currency": currency,
        "status": status,
        "orders": orders,
        "revenue": Decimal(revenue),
    }


def test_cancelled_orders_count_in_their_status_only() -> None:
    rows = [row("CANCELLED", 2, "500"), row("PAID", 1, "10"), row("SHIPPED", 2, "20.50")]
    assert summed(rows) == [
        {
            "date": "2026-03-01",
            "currency": "EUR",
            "orderCount": 3,
            "totalRevenue": "30.50",
            "averageOrderValue": "10.1667",
            "ordersByStatus": {"CANCELLED": 2, "PAID": 1, "SHIPPED": 2},
        }
    ]


def test_currencies_are_kept_apart() -> None:
    days = summed([row("PAID", 1, "10"), row("PAID", 1, "7", "USD")])
    assert [(day["currency"], day["totalRevenue"]) for day in days] == [
        ("EUR", "10.00"),
        ("USD", "7.00"),
    ]


def asked(**query: str) -> Window:
    return window(read(DailyParameters, MultiDict(query)))


def test_an_open_end_is_as_far_as_allowed() -> None:
    assert asked() == Window(None, None, None)
    first = asked(**{"to": "2026-03-01"}).first
    assert first is not None
    assert (date(2026, 3, 1) - first).days == MAX_DAYS - 1
    assert asked(**{"from": "9999-12-01"}).last == date.max


def test_a_window_of_just_the_most_days_is_allowed() -> None:
    assert asked(**{"from": "2016-01-01", "to": "2026-01-07"}).currency is None
    with pytest.raises(Problem):
        asked(**{"from": "2016-01-01", "to": "2026-01-08"})
    with pytest.raises(Problem):
        asked(**{"from": "2026-01-02", "to": "2026-01-01"})
