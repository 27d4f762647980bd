"""What every process answers beside its commands: health, metrics, problems and its description."""

import msgspec
from flask import Blueprint, Response
from sqlalchemy import Engine, text

from foldline_command import metrics, openapi, rules, web
from foldline_command.database import PUBLICATION, SLOT
from foldline_contracts.aggregates import aggregate_kinds
from foldline_contracts.problems import COMMON, NOT_FOUND, UNAVAILABLE

_READINESS = text(
    """SELECT EXISTS (SELECT 1 FROM pg_publication WHERE pubname = :publication) AS publication,
              EXISTS (SELECT 1 FROM pg_replication_slots
                      WHERE slot_name = :slot AND database = current_database()) AS slot,
              ARRAY(SELECT name FROM topics) AS topics"""
)


def blueprint(
    engine: Engine, routes: list[web.CommandRoute], metrics_directory: str | None
) -> Blueprint:
    """The routes; `/readyz` is 200 once publication, slot and topics exist."""
    room = Blueprint("operations", __name__)
    description = msgspec.json.encode(openapi.document(routes))

    @room.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "alive"})

    @room.get("/readyz")
    def readyz() -> Response:
        missing = _missing(engine)
        if missing:
            return web.problem(UNAVAILABLE, f"missing: {', '.join(missing)}", {"missing": missing})
        return _json({"status": "ready"})

    @room.get("/metrics")
    def metrics_() -> Response:
        body = metrics.exposition(metrics_directory)
        return Response(body, content_type=metrics.CONTENT_TYPE)

    @room.get("/problems")
    def problems() -> Response:
        return _json({"problems": list(_problem_types().values())})

    @room.get("/problems/<slug>")
    def problem_type(slug: str) -> Response:
        described = _problem_types().get(slug)
        if described is None:
            return web.problem(NOT_FOUND, f"There is no problem type {slug}.", {})
        return _json(described)

    @room.get("/openapi.json")
    def openapi_() -> Response:
        return Response(description, mimetype=web.JSON)

    return room


def _problem_types() -> dict[str, dict[str, object]]:
    """Every problem type that this service answers, by slug."""
    return {
        kind.slug: {
            "type": kind.uri,
            "status": kind.status,
            "title": kind.title,
            "meaning": kind.meaning,
        }
        for kind in (*COMMON, *rules.problem_types())
    }


def _missing(engine: Engine) -> list[str]:
    """What must exist before the first command is accepted, and does not."""
    names = {"publication": PUBLICATION, "slot": SLOT}
    with engine.connect() as connection:
        found = connection.execute(_READINESS, names).one()
    needed = {kind.topic for kind in aggregate_kinds().values()}
    absent = [f"{what} {name}" for what, name in names.items() if not getattr(found, what)]
    return absent + [f"topic {name}" for name in sorted(needed - set(found.topics))]


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), mimetype=web.JSON)
