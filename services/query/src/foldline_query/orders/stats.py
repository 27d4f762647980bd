"""Daily statistics out of ClickHouse: a query over one row per order, so exact by construction.

The store sums decimals per day, currency and status now; the averages are taken here, because
ClickHouse would round them its own way. A cancelled order counts in `ordersByStatus` only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

from foldline_contracts import money
from foldline_query.orders.parameters import DailyParameters
from foldline_query.problems import bad_parameter
from foldline_query.readers.clickhouse import ClickHouseStore

MAX_DAYS = 3_660
CANCELLED = "CANCELLED"
_LAST_DECIMAL = Decimal("0.0001")
#: Enough that no sum is rounded and no quotient comes to look like a half.
_DIGITS = 60


@dataclass(frozen=True, slots=True)
class Window:
    """Days, inclusive. Without an end of its own it is the last `MAX_DAYS` until the latest day with orders."""

    first: date | None
    last: date | None
    currency: str | None


def window(given: DailyParameters) -> Window:
    """The window that is asked for; an open end is `MAX_DAYS` away. Raises Problem 400."""
    first, last = given.from_, given.to
    if first is not None and last is not None:
        if first > last:
            raise bad_parameter("from", "is after `to`")
        if (last - first).days >= MAX_DAYS:
            raise bad_parameter("to", f"is more than {MAX_DAYS} days from `from`")
    return Window(
        first or (last and _moved(last, 1 - MAX_DAYS)),
        last or (first and _moved(first, MAX_DAYS - 1)),
        given.currency,
    )


def days(store: ClickHouseStore, table: str, wanted: Window) -> list[dict[str, Any]]:
    """One entry a day and currency that has orders."""
    conditions, parameters = _conditions(table, wanted)
    found = store.fetch(
        "SELECT submitted_date, currency, status, count() AS orders, "
        f"sum(submitted_total) AS revenue FROM {table} FINAL "
        f"WHERE {' AND '.join(conditions)} "
        "GROUP BY submitted_date, currency, status ORDER BY submitted_date, currency, status",
        parameters,
    )
    return summed(found)


def summed(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of (day, currency, status) to entries of (day, currency), in the order of the rows."""
    groups: dict[tuple[date, str], list[Mapping[str, Any]]] = {}
    for row in found:
        groups.setdefault((row["submitted_date"], row["currency"]), []).append(row)
    return [_entry(day, currency, rows) for (day, currency), rows in groups.items()]


def average(revenue: Decimal, count: int) -> Decimal | None:
    """The mean with 4 decimals, halves to even; None of nothing."""
    if count == 0:
        return None
    with localcontext(prec=_DIGITS):
        return (revenue / count).quantize(_LAST_DECIMAL, ROUND_HALF_EVEN)


def _entry(day: date, currency: str, rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    kept = [row for row in rows if row["status"] != CANCELLED]
    count = sum(int(row["orders"]) for row in kept)
    with localcontext(prec=_DIGITS):
        revenue = sum((Decimal(row["revenue"] or 0) for row in kept), Decimal(0))
    mean = average(revenue, count)
    return {
        "date": day.isoformat(),
        "currency": currency,
        "orderCount": count,
        "totalRevenue": money.to_text(revenue),
        "averageOrderValue": None if mean is None else money.to_text(mean),
        "ordersByStatus": {row["status"]: int(row["orders"]) for row in rows},
    }


def _conditions(table: str, wanted: Window) -> tuple[list[str], dict[str, Any]]:
    conditions = ["submitted_date IS NOT NULL"]
    parameters: dict[str, Any] = {}
    if wanted.first is not None and wanted.last is not None:
        # As text, which compares the same and knows no range that a day could be outside of.
        conditions.append("toString(submitted_date) BETWEEN {first:String} AND {last:String}")
        parameters |= {"first": wanted.first.isoformat(), "last": wanted.last.isoformat()}
    else:
        # No later than tomorrow, so that one order from the future does not hide all others.
        until = "toString(submitted_date) <= {until:String}"
        latest = f"SELECT max(submitted_date) FROM {table} FINAL WHERE {until}"
        conditions += [until, f"submitted_date > ({latest}) - {MAX_DAYS}"]
        parameters["until"] = _moved(datetime.now(UTC).date(), 1).isoformat()
    if wanted.currency is not None:
        conditions.append("currency = {currency:String}")
        parameters["currency"] = wanted.currency
    return conditions, parameters


def _moved(day: date, by: int) -> date:
    """The day so many days away, or the calendar's end."""
    try:
        return day + timedelta(days=by)
    except OverflowError:
        return date.max if by > 0 else date.min
