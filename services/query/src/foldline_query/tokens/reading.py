"""What a request says about consistency: tokens, preferences, a generation; parsed once.

A malformed token is 400. Of several tokens for one aggregate only the greatest counts, so a
client may send everything that it has collected.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from werkzeug.datastructures import Headers

from foldline_contracts import tokens
from foldline_contracts.tokens import Token
from foldline_query.problems import bad_parameter
from foldline_query.tokens import preferences
from foldline_query.tokens.preferences import Preferences

MAX_TOKENS = 100
#: Header of a request that wants this generation instead of the active one, and of every answer.
GENERATION = "Foldline-Generation"
GENERATION_PATTERN = "^[1-9][0-9]{0,8}$"


@dataclass(frozen=True, slots=True)
class Consistency:
    """What the answer must have, and what to do when it does not."""

    tokens: tuple[Token, ...] = ()
    preferences: Preferences = field(default_factory=Preferences)
    #: The generation that the request names; None follows the pointer.
    generation: int | None = None

    def and_also(self, token: Token) -> "Consistency":
        """The same with one more token."""
        return replace(self, tokens=_greatest((*self.tokens, token)))


def of(headers: Headers) -> Consistency:
    """The consistency that these request headers ask for."""
    given = [part for line in headers.getlist(tokens.HEADER) for part in line.split(",")]
    if len(given) > MAX_TOKENS:
        raise bad_parameter(tokens.HEADER, f"at most {MAX_TOKENS} tokens")
    return Consistency(
        _greatest(_parse(text) for text in given),
        preferences.parse(",".join(headers.getlist("Prefer"))),
        _generation(headers.getlist(GENERATION)),
    )


def _parse(text: str) -> Token:
    try:
        return tokens.parse(text)
    except ValueError as error:
        raise bad_parameter(tokens.HEADER, str(error)) from error


def _generation(given: list[str]) -> int | None:
    if not given:
        return None
    if len(given) > 1 or re.fullmatch(GENERATION_PATTERN, given[0], re.ASCII) is None:
        raise bad_parameter(GENERATION, "must be one generation's number, such as 2")
    return int(given[0])


def _greatest(given: Iterable[Token]) -> tuple[Token, ...]:
    found: dict[tuple[str, str], Token] = {}
    for token in given:
        known = found.get((token.kind, token.key))
        if known is None or known.version < token.version:
            found[token.kind, token.key] = token
    return tuple(found.values())
