"""Health, metrics and the description of the service itself.

`/healthz` says that the process answers; `/readyz` that each store does, asked all at once, so
that it takes no longer than the slowest of them.
"""

from concurrent.futures import ThreadPoolExecutor

import msgspec
from flask import Blueprint, Response

from foldline_contracts.problems import ProblemType
from foldline_query import metrics, web
from foldline_query.openapi import Operation, array, obj
from foldline_query.problems import SERVED, not_found
from foldline_query.readers.port import NotPrepared, Store, StoreUnavailable
from foldline_query.services import Services

_TEXT = {"type": "string"}
_STATUS = obj({"status": _TEXT})
_READY = obj(
    {"status": _TEXT, "stores": {"type": "object", "additionalProperties": {"type": "string"}}}
)
_PROBLEM = obj({"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "meaning": _TEXT})


def blueprint(room: Services) -> Blueprint:
    """The routes of this module."""
    routes = Blueprint("operations", __name__)
    _declare(room)

    @routes.get("/healthz")
    def healthy() -> Response:
        return _json({"status": "ok"})

    @routes.get("/readyz")
    def ready() -> Response:
        stores = room.stores.by_name()
        with ThreadPoolExecutor(max_workers=len(stores)) as pool:
            found = dict(zip(stores, pool.map(_ping, stores.values()), strict=True))
        is_ready = all(answer == "ok" for answer in found.values())
        body = {"status": "ok" if is_ready else "unavailable", "stores": found}
        return _json(body, 200 if is_ready else 503)

    @routes.get("/metrics")
    def show_metrics() -> Response:
        text = metrics.exposition(room.settings.metrics_directory)
        return Response(text, content_type=metrics.CONTENT_TYPE)

    @routes.get("/problems")
    def list_problems() -> Response:
        return _json({"problems": [_problem(kind) for kind in SERVED]})

    @routes.get("/problems/<slug>")
    def show_problem(slug: str) -> Response:
        found = next((kind for kind in SERVED if kind.slug == slug), None)
        if found is None:
            raise not_found(f"There is no problem type {slug}.")
        return _json(_problem(found))

    @routes.get("/openapi.json")
    def describe() -> Response:
        return _json(room.api.document())

    return routes


def _problem(kind: ProblemType) -> dict[str, object]:
    return {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "meaning": kind.meaning,
    }


def _ping(store: Store) -> str:
    try:
        store.ping()
    except (StoreUnavailable, NotPrepared) as error:
        return str(error)
    return "ok"


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, mimetype=web.JSON)


def _declare(room: Services) -> None:
    plain = {
        "/healthz": Operation(summary="Alive", answer=_STATUS, reads=False),
        "/readyz": Operation(
            summary="Each store answers", answer=_READY, reads=False, also={503: _READY}
        ),
        "/metrics": Operation(
            summary="Prometheus metrics", answer=_TEXT, reads=False, media_type="text/plain"
        ),
        "/problems": Operation(
            summary="The problem types of this service",
            answer=obj({"problems": array(_PROBLEM)}),
            reads=False,
        ),
        "/problems/{slug}": Operation(
            summary="One problem type",
            answer=_PROBLEM,
            path={"slug": _TEXT},
            reads=False,
            can_miss=True,
        ),
        "/openapi.json": Operation(
            summary="This description", answer={"type": "object"}, reads=False
        ),
    }
    for path, operation in plain.items():
        room.api.get(path, operation)
