"""The Flask application: the room's own routes and each installed domain's commands.

Every refusal is rendered here, in one place. A database that is away becomes 503 with Retry-After; an
unknown exception is logged with its request and answered 500.
"""

from importlib.metadata import entry_points

import structlog
from flask import Flask, Response, request
from psycopg.errors import UndefinedTable
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from foldline_command import database, operations, web
from foldline_command.config import Settings
from foldline_command.rules import Refused
from foldline_command.unit_of_work import NotReady
from foldline_contracts.problems import (
    BAD_PARAMETER,
    INTERNAL,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    UNAVAILABLE,
)

ENTRY_POINT_GROUP = "foldline.command_domains"
MAX_BODY_BYTES = 1024 * 1024

log = structlog.get_logger()


def create_app(settings: Settings) -> Flask:
    """A command service. Connects to nothing until it is asked something."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    engine = database.create(
        settings.write_database_url,
        connections=settings.threads,
        timeout_seconds=settings.database_timeout_seconds,
        statement_seconds=settings.statement_timeout_seconds,
    )
    app.extensions["engine"] = engine  # for whoever closes the application, which tests do
    routes: list[web.CommandRoute] = []
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name):
        blueprint, declared = point.load()(engine)
        app.register_blueprint(blueprint)
        routes += declared
    app.register_blueprint(operations.blueprint(engine, routes, settings.metrics_directory))
    app.after_request(web.measure)
    _handle_errors(app)
    return app


def _handle_errors(app: Flask) -> None:
    app.register_error_handler(web.Problem, lambda e: web.problem(e.kind, e.detail, e.members))
    app.register_error_handler(Refused, lambda e: web.problem(e.problem, e.detail, e.extensions))
    for kind in (OperationalError, InterfaceError, PoolTimeout, NotReady):
        app.register_error_handler(kind, _unavailable)
    app.register_error_handler(ProgrammingError, _not_migrated)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _internal)


def _unavailable(error: Exception) -> Response:
    log.warning("write_database_unavailable", path=request.path, reason=str(error).split("\n")[0])
    return web.problem(UNAVAILABLE, "The write database cannot serve now.", {})


def _not_migrated(error: ProgrammingError) -> Response:
    """Before `foldline migrate` has run, the service is not ready rather than broken."""
    return _unavailable(error) if isinstance(error.orig, UndefinedTable) else _internal(error)


def _http(error: HTTPException) -> Response:
    """What the framework refuses by itself, in our words."""
    if isinstance(error, MethodNotAllowed):
        detail = f"{request.method} is not served at {request.path}"
        response = web.problem(METHOD_NOT_ALLOWED, detail, {})
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response
    if error.code == 413:
        return web.problem(TOO_LARGE, f"The body is over {MAX_BODY_BYTES} bytes.", {})
    if error.code == 404:
        return web.problem(NOT_FOUND, f"There is nothing at {request.path}.", {})
    return web.problem(BAD_PARAMETER, error.description or "The request is malformed.", {})


def _internal(error: Exception) -> Response:
    log.error("request_failed", path=request.path, exc_info=error)
    return web.problem(INTERNAL, "The service failed; its log says more.", {})
