"""Lists of orders out of PostgreSQL, in keyset pages.

A page starts behind the sort key of the last one, so a row is neither missed nor given twice
however many share a value, and a deep page costs as much as the first. The whole key, tie-break
included, runs in one direction, which one index serves both ways. Page and count come from one
snapshot.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from foldline_contracts import money, times
from foldline_query import pagination
from foldline_query.orders.parameters import CustomerOrdersParameters
from foldline_query.problems import bad_parameter
from foldline_query.readers.postgresql import Connection, PostgresStore, Row, rows

_COLUMNS = """key, customer_id, customer_name, status, total, currency, item_count, created_at,
    updated_at, primary_version"""


@dataclass(frozen=True, slots=True)
class _Order:
    """A sort as SQL knows it."""

    column: str
    descending: bool

    @property
    def sql(self) -> str:
        way = "DESC" if self.descending else "ASC"
        return f"{self.column} {way}, key {way}"

    @property
    def behind(self) -> str:
        return f"({self.column}, key) {'<' if self.descending else '>'} (%s, %s)"


_ORDERS = {
    "-createdAt": _Order("created_at", True),
    "createdAt": _Order("created_at", False),
    "-total": _Order("total", True),
    "total": _Order("total", False),
    "-updatedAt": _Order("updated_at", True),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked request for a page."""

    conditions: tuple[tuple[str, Any], ...]
    sort: str
    limit: int
    #: Sort value and key of the last row of the page before.
    behind: tuple[Any, str] | None
    count: bool
    #: What the cursor is bound to.
    binding: dict[str, Any]


def wanted(given: CustomerOrdersParameters, customer_id: str | None) -> Wanted:
    """The page that these parameters ask for. Raises Problem 400 for a bad cursor."""
    filters = {
        "customer_id = %s": customer_id,
        "status = %s": given.status,
        "created_at >= %s": given.created_from,
        "created_at < %s": given.created_to,
    }
    conditions = tuple((sql, value) for sql, value in filters.items() if value is not None)
    binding = {"list": "orders", "sort": given.sort, **{sql: str(v) for sql, v in conditions}}
    behind = None if given.cursor is None else _behind(given.cursor, given.sort, binding)
    return Wanted(conditions, given.sort, given.limit, behind, given.count, binding)


def page(store: PostgresStore, table: str, wanted: Wanted) -> dict[str, Any]:
    """The page, with one row looked at beyond it to know whether there is a next one."""
    with store.snapshot() as connection:
        found = _rows(connection, table, wanted)
        total = {"total": _count(connection, table, wanted)} if wanted.count else {}
    shown = found[: wanted.limit]
    more = len(found) > wanted.limit
    return {
        "items": [summary(row) for row in shown],
        "nextCursor": _cursor(shown[-1], wanted) if more else None,
        **total,
    }


def summary(row: Row) -> dict[str, Any]:
    """A row as the API shows it."""
    return {
        "orderId": row["key"],
        "customerId": row["customer_id"],
        "customerName": row["customer_name"],
        "status": row["status"],
        "total": None if row["total"] is None else money.to_text(row["total"]),
        "currency": row["currency"],
        "itemCount": row["item_count"],
        "createdAt": _time(row["created_at"]),
        "updatedAt": _time(row["updated_at"]),
        "version": row["primary_version"],
    }


def _rows(connection: Connection, table: str, wanted: Wanted) -> list[Row]:
    order = _ORDERS[wanted.sort]
    where, values = _where(wanted)
    if wanted.behind is not None:
        where, values = [*where, order.behind], [*values, *wanted.behind]
    sql = f"SELECT {_COLUMNS} FROM {table} {_clause(where)} ORDER BY {order.sql} LIMIT %s"
    return rows(connection, sql, [*values, wanted.limit + 1])


def _count(connection: Connection, table: str, wanted: Wanted) -> int:
    where, values = _where(wanted)
    sql = f"SELECT count(*) AS total FROM {table} {_clause(where)}"
    return int(rows(connection, sql, values)[0]["total"])


def _where(wanted: Wanted) -> tuple[list[str], list[Any]]:
    return [sql for sql, _ in wanted.conditions], [value for _, value in wanted.conditions]


def _clause(conditions: list[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _cursor(row: Row, wanted: Wanted) -> str:
    value = row[_ORDERS[wanted.sort].column]
    text = times.to_text(value) if isinstance(value, datetime) else money.to_text(value)
    return pagination.encode([text, row["key"]], wanted.binding)


def _behind(cursor: str, sort: str, binding: dict[str, Any]) -> tuple[Any, str]:
    try:
        value, key = pagination.decode(cursor, binding, 2)
        is_money = _ORDERS[sort].column == "total"
        return Decimal(value) if is_money else times.from_text(value), str(key)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise bad_parameter("cursor", str(error)) from error


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else times.to_text(moment)
