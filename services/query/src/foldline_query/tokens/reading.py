"""What a request says about consistency: its tokens and its preferences, parsed once.

A malformed token is 400. Of several tokens for one aggregate only the greatest counts, so a
client may send everything that it has collected.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from werkzeug.datastructures import Headers

from foldline_contracts import tokens
from foldline_contracts.tokens import Token
from foldline_query.problems import bad_parameter
from foldline_query.tokens import preferences
from foldline_query.tokens.preferences import Preferences

MAX_TOKENS = 100


@dataclass(frozen=True, slots=True)
class Consistency:
    """What the answer must have, and what to do when it does not."""

    tokens: tuple[Token, ...] = ()
    preferences: Preferences = field(default_factory=Preferences)

    def and_also(self, token: Token) -> "Consistency":
        """The same with one more token."""
        return Consistency(_greatest((*self.tokens, token)), self.preferences)


def of(headers: Headers) -> Consistency:
    """The consistency that these request headers ask for."""
    given = [part for line in headers.getlist(tokens.HEADER) for part in line.split(",")]
    if len(given) > MAX_TOKENS:
        raise bad_parameter(tokens.HEADER, f"at most {MAX_TOKENS} tokens")
    return Consistency(
        _greatest(_parse(text) for text in given),
        preferences.parse(",".join(headers.getlist("Prefer"))),
    )


def _parse(text: str) -> Token:
    try:
        return tokens.parse(text)
    except ValueError as error:
        raise bad_parameter(tokens.HEADER, str(error)) from error


def _greatest(given: Iterable[Token]) -> tuple[Token, ...]:
    found: dict[tuple[str, str], Token] = {}
    for token in given:
        known = found.get((token.kind, token.key))
        if known is None or known.version < token.version:
            found[token.kind, token.key] = token
    return tuple(found.values())
