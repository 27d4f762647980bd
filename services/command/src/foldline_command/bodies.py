"""From bytes to a validated command: JSON decoded with care, then a pydantic model.

Every fault of a body is reported at once with a JSON pointer. What JSON leaves open (duplicate keys, NaN,
numbers of any length, endless nesting) is refused here, so that nothing behind needs to wonder.
"""

import json
from decimal import Decimal
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from foldline_contracts import money
from foldline_contracts.identifiers import PATTERN, identifier

MAX_DEPTH = 64


class MalformedJson(ValueError):
    """The body is not JSON, or names a key twice."""


class InvalidBody(ValueError):
    """The body breaks its schema; `errors` lists each fault."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(f"{len(errors)} fault(s) in the body")
        self.errors = errors


class Body(BaseModel):
    """Base of request bodies: camelCase, exact types, no unknown field."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=False
    )


class Empty(Body):
    """No body, or an empty object."""


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    return text


def _price(text: str) -> str:
    if money.parse(text) > money.MAX_UNIT_PRICE:
        raise ValueError(f"must be at most {money.MAX_UNIT_PRICE}")
    return text


def _positive(text: str) -> str:
    if not Decimal(0) < money.parse(text) <= money.MAX_TOTAL:
        raise ValueError("must be above 0 and at most 10^15")
    return text


def _whole(value: object) -> object:
    """JSON Schema calls 2.0 an integer, and so does the description of this API."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _described(pattern: str) -> WithJsonSchema:
    """What the description says; validators say the same with better words."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


_UNIT_PRICE = r"^((0|[1-9][0-9]{0,8})(\.[0-9]{1,4})?|1000000000(\.0{1,4})?)$"
_CENTS = r"0\.([1-9][0-9]{0,3}|0[1-9][0-9]{0,2}|00[1-9][0-9]?|000[1-9])"
_AMOUNT = rf"^({_CENTS}|[1-9][0-9]{{0,14}}(\.[0-9]{{1,4}})?|1000000000000000(\.0{{1,4}})?)$"
_TEXT: JsonDict = {"pattern": r"^[^\u0000]*$"}

Identifier = Annotated[str, AfterValidator(identifier), _described(PATTERN)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
UnitPrice = Annotated[str, AfterValidator(_price), _described(_UNIT_PRICE)]
Amount = Annotated[str, AfterValidator(_positive), _described(_AMOUNT)]
Name = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra=_TEXT),
    AfterValidator(_without_nul),
]
Note = Annotated[str, Field(max_length=2000, json_schema_extra=_TEXT), AfterValidator(_without_nul)]
Quantity = Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(_whole)]

B = TypeVar("B", bound=Body)


def decode(raw: bytes) -> Any:
    """The JSON value in `raw`. Raises MalformedJson."""
    try:
        value = json.loads(
            raw.decode(), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise MalformedJson(str(error)) from error
    if _depth(value, MAX_DEPTH) > MAX_DEPTH:
        raise MalformedJson(f"nested deeper than {MAX_DEPTH}")
    return value


def validate(model: type[B], value: Any) -> B:
    """The command that `value` states. Raises InvalidBody with every fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise InvalidBody([_fault(fault["loc"], fault["msg"]) for fault in faults]) from error


def _fault(location: tuple[int | str, ...], message: str) -> dict[str, str]:
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in location]
    pointer = "".join(f"/{step}" for step in steps)
    return {"pointer": pointer, "detail": message}


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _depth(value: Any, limit: int) -> int:
    """How deep `value` nests, counted no further than one beyond `limit`."""
    level, depth = [value], 0
    while level and depth <= limit:
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        depth += 1
    return depth
