"""Query parameters of the orders endpoints."""

from typing import Annotated, Literal

from pydantic import Field

from foldline_contracts.orders.events import OrderStatus
from foldline_query.parameters import (
    Currency,
    Cursor,
    Date,
    Flag,
    Identifier,
    Limit,
    Moment,
    Money,
    Parameters,
    Whole,
)

Sort = Literal["-createdAt", "createdAt", "-total", "total", "-updatedAt"]
MAX_TEXT = 200
MAX_WORDS = 16
_WORDS = rf"^\s*(\S+\s+){{0,{MAX_WORDS - 1}}}\S*\s*$"


class CustomerOrdersParameters(Parameters):
    """Filters, order and page of a list of orders."""

    status: OrderStatus | None = None
    created_from: Moment | None = Field(None, description="Inclusive; a date is its first moment.")
    created_to: Moment | None = Field(None, description="Exclusive; a date is its first moment.")
    sort: Sort = Field("-createdAt", description="Ties are ordered by orderId the same way.")
    limit: Limit = 50
    cursor: Cursor | None = Field(None, description="`nextCursor` of the page before.")
    count: Flag = Field(False, description="Whether to count all that match into `total`.")


class OrdersParameters(CustomerOrdersParameters):
    """The same over all customers."""

    customer_id: Identifier | None = None


class DetailParameters(Parameters):
    """What a single order can be asked with."""

    min_version: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="Like `Foldline-Token: orders/<id>@<minVersion>`."
    )


class DailyParameters(Parameters):
    """The window of daily statistics."""

    from_: Date | None = Field(None, alias="from", description="First day, inclusive.")
    to: Date | None = Field(None, description="Last day, inclusive.")
    currency: Currency | None = None


class SearchParameters(Parameters):
    """What to search for."""

    q: Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=_WORDS)] | None = Field(
        None,
        description=f"At most {MAX_WORDS} words; typing errors and accents are forgiven. "
        "Without it all match.",
    )
    status: OrderStatus | None = None
    customer_id: Identifier | None = None
    min_total: Money | None = None
    max_total: Money | None = None
    limit: Limit = 50
    cursor: Cursor | None = None
