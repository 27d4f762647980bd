"""RFC 9457 problem types that both HTTP services use, and the shape of a type.

A problem's `type` is a relative URI `/problems/<slug>`; each service serves its own list at
`/problems`. Rooms and domains define more of them beside the rule that raises them.
"""

from dataclasses import dataclass

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem: its slug, HTTP status and what it means."""

    slug: str
    status: int
    title: str
    #: One sentence for the list at `/problems` and the docs: what it means, what to do.
    meaning: str

    @property
    def uri(self) -> str:
        """The problem's `type`."""
        return f"/problems/{self.slug}"


MALFORMED_JSON = ProblemType(
    "malformed-json", 400, "Malformed JSON", "The body is not JSON, or an object names a key twice."
)
BAD_PARAMETER = ProblemType(
    "bad-parameter",
    400,
    "Bad parameter",
    "A query parameter, header or path segment is malformed; `errors` names it.",
)
NOT_FOUND = ProblemType("not-found", 404, "Not found", "There is nothing at this address.")
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed",
    405,
    "Method not allowed",
    "The address exists; `Allow` lists its methods.",
)
TOO_LARGE = ProblemType("too-large", 413, "Body too large", "The body is over 1 MiB.")
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    "unsupported-media-type",
    415,
    "Unsupported media type",
    "Send `Content-Type: application/json`.",
)
INVALID_BODY = ProblemType(
    "invalid-body",
    422,
    "Invalid body",
    "The body breaks its schema; `errors` lists each fault with a JSON pointer.",
)
UNAVAILABLE = ProblemType(
    "unavailable",
    503,
    "Unavailable",
    "A dependency does not answer; try again after `Retry-After` seconds.",
)
INTERNAL = ProblemType(
    "internal", 500, "Internal error", "A fault of ours; the service's log says more."
)

COMMON = (
    MALFORMED_JSON,
    BAD_PARAMETER,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_BODY,
    UNAVAILABLE,
    INTERNAL,
)
