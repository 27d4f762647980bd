"""Consistency tokens: `orders/<id>@<version>`, one form for all read models.

A command answers with the token of what it wrote; a query takes tokens and waits until the read
model has them. A token names an aggregate and its version, never an offset, so it means the same
in every store and across a generation flip.
"""

import re
from dataclasses import dataclass

from foldline_contracts.identifiers import is_identifier

HEADER = "Foldline-Token"
_TOKEN = re.compile(r"^([a-z][a-z0-9-]{0,63})/([^/@]+)@([1-9][0-9]{0,17})$")


@dataclass(frozen=True, order=True, slots=True)
class Token:
    """At least `version` of one aggregate."""

    kind: str
    key: str
    version: int

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}@{self.version}"


def parse(text: str) -> Token:
    """The token in `text`. Raises ValueError when it is malformed."""
    match = _TOKEN.fullmatch(text.strip())
    if match is None or not is_identifier(match[2]):
        raise ValueError(f"not a token like orders/<id>@<version>: {text!r}")
    return Token(match[1], match[2], int(match[3]))
