"""The description of the whole API (OpenAPI 3.1), put together from what each blueprint declares.

Parameters come from the very models that read them, so the description cannot say otherwise.
What every read has in common (tokens, preferences, freshness headers, problems) stands here once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from foldline_contracts.identifiers import PATTERN
from foldline_contracts.problems import CONTENT_TYPE
from foldline_query.freshness import REASONS
from foldline_query.parameters import Parameters
from foldline_query.problems import SERVED
from foldline_query.tokens.reading import GENERATION, GENERATION_PATTERN

Json = dict[str, Any]

IDENTIFIER: Json = {"type": "string", "pattern": PATTERN}
TIME: Json = {"type": "string", "format": "date-time"}
MONEY: Json = {"type": "string", "pattern": r"^[0-9]+\.[0-9]{2,4}$"}
TOKEN_PATTERN = r"^[a-z][a-z0-9-]{0,63}/[A-Za-z0-9._~-]{1,64}@[1-9][0-9]{0,17}$"


def nullable(schema: Json) -> Json:
    """The schema or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def obj(properties: Mapping[str, Json], optional: tuple[str, ...] = ()) -> Json:
    """An object with exactly these properties, all required but the optional ones."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def array(items: Json) -> Json:
    """A list."""
    return {"type": "array", "items": items}


def ref(name: str) -> Json:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One GET."""

    summary: str
    #: Schema of the 200 answer.
    answer: Json
    query: type[Parameters] | None = None
    #: Path parameters by name.
    path: Mapping[str, Json] = field(default_factory=dict)
    #: Whether it reads a read model: tokens, preferences, freshness headers, 503 and 504.
    reads: bool = True
    #: Whether it reads all read models at once, so that no generation can be named.
    of_all: bool = False
    #: Whether it answers If-None-Match.
    conditional: bool = False
    can_miss: bool = False
    media_type: str = "application/json"
    #: Other statuses with a body of their own.
    also: Mapping[int, Json] = field(default_factory=dict)


class Api:
    """What the blueprints have declared so far."""

    def __init__(self) -> None:
        self._paths: dict[str, Json] = {}
        self._schemas: dict[str, Json] = dict(_SCHEMAS)

    def schema(self, name: str, schema: Json) -> Json:
        """Declares a schema and returns the reference to it."""
        self._schemas[name] = schema
        return ref(name)

    def get(self, path: str, operation: Operation) -> None:
        """Declares what is served at `path`."""
        self._paths[path] = {"get": _operation(path, operation)}

    def document(self) -> Json:
        """The OpenAPI document."""
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Foldline query service",
                "version": version("foldline"),
                "description": "Read models of a CQRS system; every answer says how fresh it is.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "paths": dict(sorted(self._paths.items())),
            "components": {
                "schemas": self._schemas,
                "parameters": _PARAMETERS,
                "headers": _HEADERS,
                "responses": _RESPONSES,
            },
        }


def _operation(path: str, operation: Operation) -> Json:
    content = {operation.media_type: {"schema": operation.answer}}
    good: Json = {"description": "The answer.", "content": content}
    if operation.reads:
        good["headers"] = _header_refs(operation.conditional)
    return {
        "operationId": _operation_id(path),
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {"200": good, **_other_responses(operation)},
    }


def _other_responses(operation: Operation) -> Json:
    names = {"500": "Problem"}
    if operation.reads or operation.query:
        names["400"] = "Problem"
    if operation.reads:
        names |= {"503": "Away", "504": "NotCaughtUp"}
    if operation.conditional:
        names["304"] = "NotModified"
    if operation.can_miss or _names_generation(operation):
        names["404"] = "Missing"
    found: Json = {code: {"$ref": f"#/components/responses/{name}"} for code, name in names.items()}
    for status, schema in operation.also.items():
        content = {"application/json": {"schema": schema}}
        found[str(status)] = {"description": "Not so.", "content": content}
    return dict(sorted(found.items()))


def _names_generation(operation: Operation) -> bool:
    return operation.reads and not operation.of_all


def _parameters(operation: Operation) -> list[Json]:
    path = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in operation.path.items()
    ]
    shared = ["Token", "Prefer"] if operation.reads else []
    shared += ["Generation"] if _names_generation(operation) else []
    shared += ["IfNoneMatch"] if operation.conditional else []
    refs = [{"$ref": f"#/components/parameters/{name}"} for name in shared]
    return [*path, *_query(operation.query), *refs]


def _query(declared: type[Parameters] | None) -> list[Json]:
    if declared is None:
        return []
    schema = declared.model_json_schema(by_alias=True)
    return [_query_parameter(name, each) for name, each in schema.get("properties", {}).items()]


def _query_parameter(name: str, schema: Json) -> Json:
    """Absence is said by `required`, so neither null nor pydantic's title is part of the schema."""
    kept = {key: value for key, value in schema.items() if key not in ("title", "description")}
    choices = [each for each in kept.pop("anyOf", []) if each != {"type": "null"}]
    if kept.get("default") is None:
        kept.pop("default", None)
    if choices:
        kept |= choices[0] if len(choices) == 1 else {"anyOf": choices}
    shown = {"name": name, "in": "query", "required": False, "schema": kept}
    return {**shown, "description": schema["description"]} if "description" in schema else shown


def _operation_id(path: str) -> str:
    words = path.replace("{", "").replace("}", "").replace(".", "/").replace("-", "/").split("/")
    return "get" + "".join(word[:1].upper() + word[1:] for word in words)


def _header_refs(conditional: bool) -> Json:
    names = ["Foldline-As-Of", "Foldline-Generation", "Foldline-Stale", "Preference-Applied"]
    return {
        name: {"$ref": f"#/components/headers/{name}"}
        for name in [*names, *(["ETag"] if conditional else [])]
    }


def _problem(description: str, headers: tuple[str, ...] = ()) -> Json:
    shown: Json = {
        "description": description,
        "content": {CONTENT_TYPE: {"schema": ref("Problem")}},
    }
    if headers:
        shown["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return shown


_FRESHNESS_HEADERS = ("Foldline-As-Of", "Foldline-Generation", "Foldline-Stale")

_SCHEMAS: dict[str, Json] = {
    "Freshness": {
        "description": "Everything committed before `asOf` is in the answer.",
        **obj(
            {
                "asOf": nullable(TIME),
                "lagSeconds": nullable({"type": "number", "minimum": 0}),
                "stale": {"type": "boolean"},
                "reason": {
                    "enum": list(REASONS),
                    "description": " ".join(f"`{k}`: {v}" for k, v in REASONS.items()),
                },
                "parked": nullable({"type": "integer", "minimum": 0}),
            },
            optional=("reason",),
        ),
    },
    "Problem": {
        "description": "RFC 9457 problem details.",
        "type": "object",
        "properties": {
            "type": {"enum": [kind.uri for kind in SERVED]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "errors": array(obj({"parameter": {"type": "string"}, "detail": {"type": "string"}})),
            "seenVersion": {"type": "integer"},
            "freshness": ref("Freshness"),
        },
        "required": ["type", "title", "status", "detail"],
    },
}

_PARAMETERS: Json = {
    "Token": {
        "name": "Foldline-Token",
        "in": "header",
        "required": False,
        "description": "What the answer must have: tokens of earlier commands. Repeatable.",
        "schema": {
            "type": "array",
            "items": {"type": "string", "pattern": TOKEN_PATTERN},
            "minItems": 1,
            "maxItems": 100,
        },
    },
    "Prefer": {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "description": "RFC 7240: `wait=<seconds>` (5 by default, 30 at most) and "
        "`handling=lenient` for a stale answer instead of 504.",
        "schema": {"type": "string"},
    },
    "Generation": {
        "name": GENERATION,
        "in": "header",
        "required": False,
        "description": "The generation to read instead of the active one: a shadow read.",
        "schema": {"type": "string", "pattern": GENERATION_PATTERN},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
    },
}

_HEADERS: Json = {
    "Foldline-As-Of": {
        "description": "`asOf` of the freshness, or `unknown`.",
        "schema": {"type": "string"},
    },
    "Foldline-Generation": {
        "description": "The read model's generation that answered.",
        "schema": {"type": "string"},
    },
    "Foldline-Stale": {
        "description": "Whether the answer is known to be behind.",
        "schema": {"enum": ["true", "false"]},
    },
    "Preference-Applied": {
        "description": "The preferences that were honoured.",
        "schema": {"type": "string"},
    },
    "ETag": {"description": "Weak.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "string"}},
}

_RESPONSES: Json = {
    "Problem": _problem("A problem."),
    "Missing": _problem(
        "There is nothing there, as far as the read model knows, or no such generation."
    ),
    "Away": _problem("A store is away, or too many requests wait.", ("Retry-After",)),
    "NotCaughtUp": _problem(
        "A token was not reached within the wait.", ("Retry-After", *_FRESHNESS_HEADERS)
    ),
    "NotModified": {
        "description": "The client has it already.",
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"} for name in (*_FRESHNESS_HEADERS, "ETag")
        },
    },
}
