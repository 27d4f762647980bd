"""The description of the command API (OpenAPI 3.1), made from the very routes and models that serve it."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from foldline_command.bodies import Empty
from foldline_contracts.identifiers import PATTERN
from foldline_contracts.problems import CONTENT_TYPE

if TYPE_CHECKING:
    from foldline_command.web import CommandRoute

Json = dict[str, Any]

_IDENTIFIER: Json = {"type": "string", "pattern": PATTERN}
_PROBLEM: Json = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["type", "title", "status", "detail"],
}
_KEY = r'^([!#-~]([ !#-~]{0,253}[!#-~])?|"[ !#-\[\]-~]{1,255}")$'
_REFUSALS = {
    "400": "Malformed: JSON, a header or a path segment.",
    "404": "No such aggregate or item.",
    "409": "A rule of the domain is broken, or the idempotency key is in use.",
    "412": "`If-Match` names another version.",
    "413": "The body is over 1 MiB.",
    "415": "The body is not application/json.",
    "422": "The body breaks its schema, or the idempotency key was used for another command.",
    "503": "The write database cannot serve now; see `Retry-After`.",
}
_HEADERS: list[Json] = [
    {
        "name": "If-Match",
        "in": "header",
        "description": "The version that the aggregate must be at, in quotes.",
        "schema": {"type": "string", "pattern": '^"(0|[1-9][0-9]{0,17})"$'},
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes the command safe to repeat for 24 hours.",
        "schema": {"type": "string", "pattern": _KEY},
    },
]


def document(routes: Sequence["CommandRoute"]) -> Json:
    """The whole document."""
    bodies = {route.body for route in routes if route.body is not Empty}
    names, schemas = models_json_schema(
        [(body, "validation") for body in sorted(bodies, key=lambda each: each.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Json] = {}
    for route in routes:
        body = names[(route.body, "validation")] if route.body is not Empty else None
        path = re.sub(r"<(\w+)>", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, body)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Foldline commands", "version": version("foldline")},
        "paths": paths | _operations(),
        "components": {"schemas": {**schemas.get("$defs", {}), "Problem": _PROBLEM}},
    }


def _operation(route: "CommandRoute", body: Json | None) -> Json:
    ids = re.findall(r"<(\w+)>", route.path)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _IDENTIFIER} for name in ids
    ]
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*parameters, *_HEADERS],
        "responses": {"202": _accepted(route)}
        | {code: _refusal(t) for code, t in _REFUSALS.items()},
    }
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
    return operation


def _accepted(route: "CommandRoute") -> Json:
    schema = {
        "type": "object",
        "properties": {route.id_field: _IDENTIFIER, "version": {"type": "integer", "minimum": 1}},
        "required": [route.id_field, "version"],
        "additionalProperties": False,
    }
    text: Json = {"schema": {"type": "string"}}
    return {
        "description": "Accepted: durable, with the version after it.",
        "headers": {"ETag": text, "Foldline-Token": text},
        "content": {"application/json": {"schema": schema}},
    }


def _refusal(description: str) -> Json:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {CONTENT_TYPE: {"schema": schema}}}


def _problem_type() -> Json:
    schema = {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}
    summary = "One problem type."
    return {
        "operationId": "problem",
        "summary": summary,
        "parameters": [{"name": "slug", "in": "path", "required": True, "schema": schema}],
        "responses": {
            "200": {"description": summary, "content": {"application/json": {}}},
            "404": _refusal("There is no such problem type."),
        },
    }


def _operations() -> dict[str, Json]:
    """The room's own routes."""

    def get(
        name: str, summary: str, media: str = "application/json", *, ready: bool = False
    ) -> Json:
        responses: Json = {"200": {"description": summary, "content": {media: {}}}}
        if ready:
            responses["503"] = _refusal("Not ready: a dependency does not answer or is missing.")
        return {"get": {"operationId": name, "summary": summary, "responses": responses}}

    return {
        "/healthz": get("healthz", "The process is alive."),
        "/readyz": get("readyz", "Commands can be accepted.", ready=True),
        "/metrics": get("metrics", "Metrics for Prometheus.", "text/plain"),
        "/problems": get("problems", "Every problem type."),
        "/problems/{slug}": {"get": _problem_type()},
        "/openapi.json": get("openapi", "This document."),
    }
