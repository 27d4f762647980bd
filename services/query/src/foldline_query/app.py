"""The Flask application: services, the room's own routes, each installed domain's blueprint.

Every answer passes through here on its way out: problems are rendered, stores that are away
become 503, preferences are confirmed and requests are counted. An unknown exception is logged
with its request and answered 500; nothing else ever is.
"""

import time
from importlib.metadata import entry_points
from typing import Any

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from foldline_contracts.problems import BAD_PARAMETER, INTERNAL, METHOD_NOT_ALLOWED, NOT_FOUND
from foldline_query import console, metrics, operations, overview, services, web
from foldline_query.config import Settings
from foldline_query.problems import NO_SUCH_GENERATION, Problem, unavailable
from foldline_query.readers.port import NoSuchGeneration, NotPrepared, StoreUnavailable

ENTRY_POINT_GROUP = "foldline.query_domains"

log = structlog.get_logger()


def create_app(settings: Settings) -> Flask:
    """A query service. Connects to nothing until it is asked something."""
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = True
    room = services.build(settings)
    app.extensions["foldline"] = room
    app.register_blueprint(operations.blueprint(room))
    app.register_blueprint(overview.blueprint(room))
    app.register_blueprint(console.blueprint())
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name):
        app.register_blueprint(point.load()(room))
    _handle_errors(app)
    app.before_request(_start)
    app.after_request(_finish)
    return app


def _handle_errors(app: Flask) -> None:
    app.register_error_handler(Problem, web.problem)
    app.register_error_handler(StoreUnavailable, _unavailable)
    app.register_error_handler(NotPrepared, _unavailable)
    app.register_error_handler(NoSuchGeneration, _no_such_generation)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _internal)


def _unavailable(error: StoreUnavailable | NotPrepared) -> Response:
    log.warning("store_unavailable", path=request.path, reason=str(error))
    return web.problem(unavailable(str(error)))


def _no_such_generation(error: NoSuchGeneration) -> Response:
    return web.problem(Problem(NO_SUCH_GENERATION, str(error)))


def _http(error: HTTPException) -> Response:
    """What the framework refuses by itself, in our words."""
    if isinstance(error, MethodNotAllowed):
        allow = {"Allow": ", ".join(sorted(error.valid_methods or ()))}
        detail = f"{request.method} is not served at {request.path}"
        return web.problem(Problem(METHOD_NOT_ALLOWED, detail, headers=allow))
    if error.code == 404:
        return web.problem(Problem(NOT_FOUND, f"There is nothing at {request.path}."))
    if error.code is not None and error.code < 400:
        redirect = error.get_response()
        return Response(redirect.get_data(), redirect.status, dict(redirect.headers))
    return web.problem(Problem(BAD_PARAMETER, error.description or "The request is malformed."))


def _internal(error: Exception) -> Response:
    log.error("request_failed", path=request.path, exc_info=error)
    return web.problem(Problem(INTERNAL, "The service failed; its log says more."))


def _start() -> None:
    g.started = time.monotonic()


def _finish(response: Response) -> Response:
    applied = g.get("preference_applied", "")
    if applied:
        response.headers["Preference-Applied"] = applied
    if request.method in ("GET", "HEAD"):
        response.headers.setdefault("Cache-Control", "no-cache")
        response.headers["Vary"] = "Foldline-Token, Foldline-Generation, Prefer"
    route: Any = web.route()
    metrics.REQUESTS.labels(route, str(response.status_code)).inc()
    metrics.SECONDS.labels(route).observe(time.monotonic() - g.get("started", time.monotonic()))
    return response
