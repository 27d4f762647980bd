"""Problem details (RFC 9457) of the query service: its own types, and the exception that carries one.

Anything that a request can do wrong, or a store can fail at, is raised as `Problem` and rendered
in one place; a handler never builds an error answer itself.

    Problem
      bad_parameters(...)   400, `errors` names each parameter
      not_found(...)        404
      unavailable(...)      503 with Retry-After
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from foldline_contracts.problems import BAD_PARAMETER, COMMON, NOT_FOUND, UNAVAILABLE, ProblemType

NOT_CAUGHT_UP = ProblemType(
    "not-caught-up",
    504,
    "Not caught up",
    "The read model has not reached a `Foldline-Token` within the wait; `seenVersion` says how far "
    "it is. Try again, wait longer, or accept a stale answer with `Prefer: handling=lenient`.",
)
NO_SUCH_GENERATION = ProblemType(
    "no-such-generation",
    404,
    "No such generation",
    "`Foldline-Generation` names a generation that the read model never had, or that was dropped; "
    "`GET /projections` lists them.",
)
TOO_MANY_WAITERS = ProblemType(
    "too-many-waiters",
    503,
    "Too many waiters",
    "As many requests as allowed are waiting for tokens already; try again after `Retry-After`.",
)

#: What this service answers with; the shared types for bodies are not among them.
SERVED = tuple(
    kind
    for kind in (*COMMON, NO_SUCH_GENERATION, NOT_CAUGHT_UP, TOO_MANY_WAITERS)
    if kind.slug not in ("malformed-json", "too-large", "unsupported-media-type", "invalid-body")
)

RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request."""

    #: Name of the query parameter, header or path segment.
    parameter: str
    detail: str


class Problem(Exception):
    """Ends the request with a problem answer."""

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.members = dict(members or {})
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The problem document."""
        base = {"type": self.kind.uri, "title": self.kind.title, "status": self.kind.status}
        return {**base, "detail": self.detail, **self.members}


def bad_parameters(faults: Iterable[Fault]) -> Problem:
    """400 that names every bad parameter."""
    listed = [{"parameter": fault.parameter, "detail": fault.detail} for fault in faults]
    detail = "; ".join(f"{fault['parameter']}: {fault['detail']}" for fault in listed)
    return Problem(BAD_PARAMETER, detail, members={"errors": listed})


def bad_parameter(parameter: str, detail: str) -> Problem:
    """400 for a single parameter."""
    return bad_parameters([Fault(parameter, detail)])


def not_found(detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """404."""
    return Problem(NOT_FOUND, detail, headers=headers)


def unavailable(detail: str) -> Problem:
    """503: a dependency is away, or a projection has never been prepared."""
    return Problem(UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_SECONDS)})
