"""Query parameters: declared once as a pydantic model, read strictly, described in OpenAPI from it.

A parameter that is unknown, given twice or malformed is 400, with every fault named at once.
"""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from werkzeug.datastructures import MultiDict

from foldline_contracts import identifiers, money, times
from foldline_query import pagination
from foldline_query.problems import Fault, bad_parameter, bad_parameters

_WHOLE = re.compile(r"[0-9]{1,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
MONEY_PATTERN = r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,4})?$"


class Parameters(BaseModel):
    """Base of all declarations: camelCase outside, nothing unknown, immutable."""

    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, frozen=True, arbitrary_types_allowed=True
    )


P = TypeVar("P", bound=Parameters)


def _whole(text: Any) -> Any:
    if isinstance(text, str):
        if _WHOLE.fullmatch(text) is None:
            raise ValueError("must be a whole number")
        return int(text)
    return text


def _flag(text: Any) -> Any:
    if isinstance(text, str):
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"
    return text


def to_date(text: Any) -> Any:
    """A date like `2026-11-24`. Raises ValueError."""
    if isinstance(text, str):
        if _DATE.fullmatch(text) is None:
            raise ValueError("must be a date like 2026-11-24")
        return date.fromisoformat(text)
    return text


def to_moment(text: Any) -> Any:
    """RFC 3339, or a date, which is its first moment in UTC. Raises ValueError."""
    if not isinstance(text, str):
        return text
    if _DATE.fullmatch(text):
        found = date.fromisoformat(text)
        return datetime(found.year, found.month, found.day, tzinfo=UTC)
    if _MOMENT.fullmatch(text) is None:
        raise ValueError("must be a time like 2026-11-24T09:30:00Z or a date like 2026-11-24")
    return times.from_text(text.upper())


def _money(text: Any) -> Any:
    return money.parse(text) if isinstance(text, str) else text


Whole = Annotated[int, BeforeValidator(_whole)]
Limit = Annotated[Whole, Field(ge=1, le=200)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Identifier = Annotated[
    str,
    BeforeValidator(identifiers.identifier),
    WithJsonSchema({"type": "string", "pattern": identifiers.PATTERN}),
]
Date = Annotated[
    date, BeforeValidator(to_date), WithJsonSchema({"type": "string", "format": "date"})
]
Moment = Annotated[
    datetime,
    BeforeValidator(to_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
            ]
        }
    ),
]
Money = Annotated[
    Decimal,
    BeforeValidator(_money),
    WithJsonSchema({"type": "string", "pattern": MONEY_PATTERN}),
]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
Cursor = Annotated[str, Field(min_length=1, max_length=pagination.MAX_LENGTH)]


def read(declared: type[P], given: MultiDict[str, str]) -> P:
    """The request's parameters. Raises Problem 400 that names every fault."""
    twice = [Fault(name, "is given twice") for name in given if len(given.getlist(name)) > 1]
    try:
        parameters = declared.model_validate(given.to_dict(), by_alias=True, by_name=False)
    except ValidationError as error:
        raise bad_parameters([*twice, *map(_fault, error.errors())]) from error
    if twice:
        raise bad_parameters(twice)
    return parameters


def identifier(name: str, text: str) -> str:
    """A path segment that must be an identifier. Raises Problem 400."""
    try:
        return identifiers.identifier(text)
    except ValueError as error:
        raise bad_parameter(name, str(error)) from error


def _fault(error: Any) -> Fault:
    name = ".".join(map(str, error["loc"])) or "query"
    if error["type"] == "extra_forbidden":
        return Fault(name, "is not a parameter here")
    return Fault(name, error["msg"].removeprefix("Value error, "))
