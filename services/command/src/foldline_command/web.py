"""From a request to a command and from its outcome to a response, the same for every domain.

A domain declares `CommandRoute`s as data; views, OpenAPI and metrics follow from them. Whatever a
client can do wrong ends as a problem document here, never as a 500.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from flask import Blueprint, Response, g, request
from sqlalchemy import Engine
from werkzeug.exceptions import RequestEntityTooLarge

from foldline_command import commands, idempotency, metrics
from foldline_command.aggregate import Aggregate
from foldline_command.bodies import Body, Empty, InvalidBody, MalformedJson, decode, validate
from foldline_command.commands import Answer, Conditions
from foldline_command.unit_of_work import UnitOfWork
from foldline_contracts import tokens
from foldline_contracts.identifiers import RULE, is_identifier
from foldline_contracts.problems import (
    BAD_PARAMETER,
    CONTENT_TYPE,
    INVALID_BODY,
    MALFORMED_JSON,
    UNSUPPORTED_MEDIA_TYPE,
    ProblemType,
)

JSON = "application/json"
RETRY_SECONDS = 1
_ETAG = re.compile(r'^"(0|[1-9][0-9]{0,17})"$')

#: (unit of work, path ids, body) to the aggregate that the command was about.
Handle = Callable[[UnitOfWork, Mapping[str, str], Any], Aggregate]


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandRoute:
    """One command of a domain: where it is called, what it takes, what runs."""

    #: Name in metrics and OpenAPI: `placeOrder`.
    name: str
    summary: str
    method: str
    #: Path with `<id>` segments, every one of them an identifier.
    path: str
    handle: Handle
    body: type[Body] = Empty
    #: Name of the id in the answer: `orderId`.
    id_field: str
    #: Whether it makes an aggregate whose address goes into `Location`.
    location: str | None = None


class Problem(Exception):
    """Ends the request with a problem answer."""

    def __init__(self, kind: ProblemType, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.members = members


def problem(kind: ProblemType, detail: str, members: Mapping[str, object]) -> Response:
    """A problem document; one that asks for patience says how much."""
    body = {"type": kind.uri, "title": kind.title, "status": kind.status, "detail": detail}
    response = Response(
        msgspec.json.encode({**body, **members}), kind.status, content_type=CONTENT_TYPE
    )
    if kind.status == 503:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def add(blueprint: Blueprint, engine: Engine, route: CommandRoute) -> None:
    """Serves one command."""

    def view(**ids: str) -> Response:
        g.command, g.started = route.name, time.monotonic()
        return _accept(engine, route, ids)

    blueprint.add_url_rule(route.path, route.name, view, methods=[route.method])


def measure(response: Response) -> Response:
    """Counts a command by what it was answered, refusals included; for the application's `after_request`."""
    if "command" in g:
        metrics.REQUESTS.labels(g.command, str(response.status_code)).inc()
        metrics.SECONDS.labels(g.command).observe(time.monotonic() - g.started)
    return response


def _accept(engine: Engine, route: CommandRoute, ids: Mapping[str, str]) -> Response:
    for name, value in ids.items():
        if not is_identifier(value):
            raise _bad_parameter(name, RULE)
    decoded = _decoded()
    conditions = _conditions(decoded)
    body = _validated(route.body, decoded)
    answer = commands.run(engine, lambda uow: route.handle(uow, ids, body), conditions)
    return _accepted(route, answer)


def _accepted(route: CommandRoute, answer: Answer) -> Response:
    body = msgspec.json.encode({route.id_field: answer.id, "version": answer.version})
    response = Response(body, 202, mimetype=JSON)
    response.set_etag(str(answer.version))
    response.headers[tokens.HEADER] = str(answer.token)
    if route.location is not None:
        response.headers["Location"] = f"{route.location}/{answer.id}"
    if answer.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _decoded() -> Any:
    """The body as JSON data; no body at all is an empty object."""
    raw = _raw()
    if not raw:
        return {}
    if request.mimetype != JSON:
        sent = request.mimetype or "none"
        raise Problem(UNSUPPORTED_MEDIA_TYPE, f"Content-Type is {sent}, it must be {JSON}")
    try:
        return decode(raw)
    except MalformedJson as error:
        raise Problem(MALFORMED_JSON, str(error)) from error


def _raw() -> bytes:
    """The body's bytes. Without a length in front they end, or turn out to be no body, only while they are read."""
    try:
        raw = request.get_data(cache=False)
        if len(raw) == request.max_content_length and request.environ["wsgi.input"].read(1):
            raise RequestEntityTooLarge
    except RequestEntityTooLarge:
        raise
    except Exception as error:  # each server has errors of its own for malformed chunks
        detail = "The body ends early, or its chunks are malformed."
        raise Problem(MALFORMED_JSON, detail) from error
    return raw


def _validated(model: type[Body], decoded: Any) -> Body:
    try:
        return validate(model, decoded)
    except InvalidBody as error:
        raise Problem(INVALID_BODY, str(error), errors=error.errors) from error


def _conditions(decoded: Any) -> Conditions:
    if_match = request.headers.get("If-Match")
    key = request.headers.get(idempotency.HEADER)
    if key is None:
        return Conditions(expected_version=_expected_version(if_match))
    try:
        parsed = idempotency.parse(key)
    except ValueError as error:
        raise _bad_parameter(idempotency.HEADER, str(error)) from error
    return Conditions(
        expected_version=_expected_version(if_match),
        idempotency_key=parsed,
        fingerprint=idempotency.fingerprint(request.method, request.path, if_match, decoded),
    )


def _expected_version(if_match: str | None) -> int | None:
    if if_match is None:
        return None
    matched = _ETAG.fullmatch(if_match.strip())
    if matched is None:
        raise _bad_parameter("If-Match", 'must be one version in quotes, such as "3"')
    return int(matched[1])


def _bad_parameter(name: str, detail: str) -> Problem:
    errors = [{"parameter": name, "detail": detail}]
    return Problem(BAD_PARAMETER, f"{name}: {detail}", errors=errors)
