"""Shadow reads: recent queries of real readers, answered by both generations and compared.

The query service keeps which paths were read lately and answers any of them from a generation that is
named in a header, so what is compared is the whole way of an answer: statement, index, order,
pagination. A pair that differs is asked again, since live traffic may have moved between its two halves.
Failure: a query service that does not answer makes this part undone, which the verification says.
"""

from collections.abc import Mapping
from time import sleep
from typing import Any

import httpx

from foldline_projector.rebuild.operation import Difference

GENERATION = "Foldline-Generation"
#: How often a pair of answers may differ before it is a difference, and the pause between.
ATTEMPTS = 10
AGAIN_SECONDS = 0.3
TIMEOUT_SECONDS = 10.0
#: What an answer says about its freshness, which two generations never share.
_FRESHNESS = frozenset({"freshness", "stale", "staleReason", "lastUpdated"})


class NoShadow(Exception):
    """The reads could not be tried; the message says why."""


def compare_reads(
    url: str, projection: str, old: int, new: int, most: int
) -> tuple[int, list[Difference]]:
    """Compares the answers to at most `most` recent reads; how many agreed, and those that did not.

    Raises NoShadow.
    """
    agreed, different = 0, []
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as http:
            answer = http.get(f"/projections/{projection}/reads", params={"limit": most})
            for each in answer.raise_for_status().json()["reads"]:
                fields = _compare(http, each["path"], old, new)
                if fields:
                    different.append(Difference(f"GET {each['path']}", fields))
                else:
                    agreed += 1
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise NoShadow(f"the query service at {url} does not tell: {error}") from error
    return agreed, different


def _compare(http: httpx.Client, path: str, old: int, new: int) -> tuple[str, ...]:
    """Names of the parts that differ; none when both answer alike."""
    fields: tuple[str, ...] = ()
    for _ in range(ATTEMPTS):
        ours, theirs = _read(http, path, old), _read(http, path, new)
        fields = tuple(sorted(_differing(ours, theirs)))
        if not fields:
            return ()
        sleep(AGAIN_SECONDS)
    return fields


def _read(http: httpx.Client, path: str, generation: int) -> Mapping[str, Any]:
    answer = http.get(path, headers={GENERATION: str(generation)})
    body = answer.json()
    return {"status": answer.status_code, **body}


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> set[str]:
    names = (ours.keys() | theirs.keys()) - _FRESHNESS
    return {name for name in names if ours.get(name) != theirs.get(name)}
