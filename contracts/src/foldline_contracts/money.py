"""Money as decimal text: exact, no exponent, at least 2 and at most 4 decimals.

Amounts travel as JSON strings beside a currency and are `Decimal` in code, so no binary
float ever touches them. One amount has one text: trailing zeros are trimmed down to two.
"""

import re
from decimal import Decimal
from typing import Annotated

import msgspec

MAX_DECIMALS = 4
MAX_UNIT_PRICE = Decimal(10**9)
MAX_TOTAL = Decimal(10**15)
_PATTERN = r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,4})?\Z"
_TEXT = re.compile(_PATTERN)

#: An amount in an event: what `parse` takes.
Money = Annotated[str, msgspec.Meta(pattern=_PATTERN)]


def parse(text: str) -> Decimal:
    """The amount that `text` names, never negative.

    Raises ValueError when it is not plain decimal text with at most 4 decimals.
    """
    if _TEXT.fullmatch(text) is None:
        raise ValueError("must be a decimal number like 19.99 with at most 4 decimals")
    return Decimal(text)


def to_text(amount: Decimal) -> str:
    """The one text of `amount`: `39.98`, `5.00`, `0.0001`."""
    text = f"{amount:.{MAX_DECIMALS}f}"
    return text[:-2] if text.endswith("00") else text.removesuffix("0")
