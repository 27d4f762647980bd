"""From a request and to a response: the few steps that every read shares.

Kept apart from the routes so that a domain of another team answers with the same headers, the
same conditional requests and the same order of steps.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from flask import Response, g, request

from foldline_contracts.problems import CONTENT_TYPE as PROBLEM
from foldline_query import metrics
from foldline_query.access import View
from foldline_query.freshness import Freshness
from foldline_query.problems import Problem
from foldline_query.tokens import reading
from foldline_query.tokens.reading import Consistency

JSON = "application/json"
#: What a query string has unquoted, or quoted already.
_QUERY = "/?:@!$&'()*+,;=%"


def consistency() -> Consistency:
    """What this request asks of freshness; what it prefers is confirmed on any answer."""
    found = reading.of(request.headers)
    g.preference_applied = found.preferences.applied
    return found


def answer(
    body: Mapping[str, Any],
    freshness: Freshness,
    headers: Mapping[str, str],
    etag: str | None = None,
) -> Response:
    """The body as JSON with its headers, or 304 when the client has it already."""
    metrics.count_stale(route(), freshness)
    response = Response(msgspec.json.encode(body), 200, dict(headers), mimetype=JSON)
    if etag is None:
        return response
    response.set_etag(etag, weak=True)
    response.make_conditional(request)
    return response


def plain(body: Mapping[str, Any]) -> Response:
    """An answer that rests on no read model."""
    return Response(msgspec.json.encode(body), 200, mimetype=JSON)


def viewed(
    body: Mapping[str, Any], view: View, freshness: Freshness, etag: str | None = None
) -> Response:
    """An answer from one view, with its freshness in the body too; remembered as a read."""
    if view.reads is not None:
        view.reads.note(_path(), view.observation.now)
    full = {**body, "freshness": freshness.body()}
    return answer(full, freshness, view.headers(freshness), etag)


def _path() -> str:
    """The request's path and query, as it can be asked again."""
    path, query = quote(request.path), quote(request.query_string, safe=_QUERY)
    return f"{path}?{query}" if query else path


def problem(error: Problem) -> Response:
    """The problem document."""
    body = msgspec.json.encode(error.body())
    return Response(body, error.kind.status, error.headers, content_type=PROBLEM)


def route() -> str:
    """The rule that serves this request, for metrics: few values, never an id."""
    return request.url_rule.rule if request.url_rule else "unknown"
