"""The `Prefer` header (RFC 7240), of which `wait` and `handling` mean something here.

Preferences that are unknown or make no sense are ignored, as the RFC asks; of one that is given
twice the first counts. `Preference-Applied` names what was honoured, with the value in force.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.request import parse_http_list

DEFAULT_WAIT = 5.0
MAX_WAIT = 30.0
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a request prefers."""

    #: Seconds to wait for tokens.
    wait: float = DEFAULT_WAIT
    #: Whether a stale answer is welcome when a token is not reached.
    lenient: bool = False
    #: The answer's `Preference-Applied`, empty when nothing was honoured.
    applied: str = ""


def parse(header: str) -> Preferences:
    """The preferences in `header`."""
    found: dict[str, str] = {}
    for name, value in _pairs(header):
        found.setdefault(name, value)
    wait, handling = found.get("wait", ""), found.get("handling", "").lower()
    applied = []
    seconds = DEFAULT_WAIT
    if _SECONDS.fullmatch(wait):
        seconds = min(float(wait), MAX_WAIT)
        applied.append(f"wait={seconds:g}")
    if handling in ("lenient", "strict"):
        applied.append(f"handling={handling}")
    return Preferences(seconds, handling == "lenient", ", ".join(applied))


def _pairs(header: str) -> Iterator[tuple[str, str]]:
    for preference in parse_http_list(header):
        name, _, value = preference.partition(";")[0].partition("=")
        yield name.strip().lower(), value.strip().strip('"')
