"""`/projections` and `/parked`: what each read model says of its own state.

All stores are asked at once, and an answer is given although some are away: what cannot be asked
is said to be unavailable, and the answer as a whole is stale then. Tokens are waited for in
every read model, so the answer has them everywhere.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, request
from pydantic import Field

from foldline_contracts import times
from foldline_query import overview_schema, parking, web
from foldline_query.access import Access, View, headers
from foldline_query.freshness import (
    UNAVAILABLE,
    UNKNOWN,
    Freshness,
    Observation,
    Partition,
    least,
    nothing_known,
)
from foldline_query.parameters import Parameters, Whole, read
from foldline_query.problems import bad_parameter, not_found
from foldline_query.readers.port import NotPrepared, StoreUnavailable
from foldline_query.services import Services
from foldline_query.tokens.reading import Consistency

Json = dict[str, Any]
MAX_ID = 512


class NoParameters(Parameters):
    """No parameters at all."""


class ParkedParameters(Parameters):
    """Parameters of the lists of parked events."""

    limit: Annotated[Whole, Field(ge=1, le=10_000)] = Field(
        1000, description="At most so many parked events of each projection are looked at."
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One read model's share of an overview."""

    access: Access
    view: View | None
    freshness: Freshness
    #: What was found, None when the store could not be asked.
    found: Any
    error: str | None = None


def blueprint(room: Services) -> Blueprint:
    """The routes of this module."""
    routes = Blueprint("overview", __name__)
    overview_schema.declare(room.api, NoParameters, ParkedParameters)

    @routes.get("/projections")
    def list_projections() -> Response:
        consistency = web.consistency()
        read(NoParameters, request.args)
        parts = _everywhere(room, consistency, lambda _, view: _partitions(view.observation))
        return _answer({"projections": [_projection(part) for part in parts]}, parts)

    @routes.get("/parked")
    def list_parked() -> Response:
        consistency = web.consistency()
        limit = read(ParkedParameters, request.args).limit
        parts = _everywhere(
            room, consistency, lambda access, view: parking.listed(access, view, limit)
        )
        return _answer(
            {
                "items": [item for part in parts for item in part.found or ()],
                "unavailable": [part.access.model.name for part in parts if part.error],
            },
            parts,
        )

    @routes.get("/parked/<projection>/<path:aggregate_id>")
    def show_parked(projection: str, aggregate_id: str) -> Response:
        consistency = web.consistency()
        limit = read(ParkedParameters, request.args).limit
        access = _read_model(room, projection)
        if len(aggregate_id) > MAX_ID or not aggregate_id.isprintable():
            raise bad_parameter("id", "is no id")
        view = access.open(consistency)
        body = parking.shown(access, view, aggregate_id, limit)
        freshness = view.freshness()
        if body is None:
            detail = f"Nothing of {aggregate_id} is parked in {projection}."
            raise not_found(detail, view.headers(freshness))
        return web.viewed(body, view, freshness)

    return routes


def _read_model(room: Services, projection: str) -> Access:
    access = room.read_models.get(projection)
    if access is None:
        known = ", ".join(room.read_models)
        raise not_found(f"There is no projection {projection}; there are {known}.")
    return access


def _everywhere(
    room: Services, consistency: Consistency, find: Callable[[Access, View], Any]
) -> list[Part]:
    every = list(room.read_models.values())
    with ThreadPoolExecutor(max_workers=max(1, len(every))) as pool:
        return list(pool.map(lambda access: _part(access, consistency, find), every))


def _part(access: Access, consistency: Consistency, find: Callable[[Access, View], Any]) -> Part:
    try:
        view = access.open(consistency)
        return Part(access, view, view.freshness(), find(access, view))
    except StoreUnavailable as error:
        return Part(access, None, nothing_known(UNAVAILABLE), None, str(error))
    except NotPrepared as error:
        return Part(access, None, nothing_known(UNKNOWN), None, str(error))


def _answer(body: Json, parts: Iterable[Part]) -> Response:
    every = list(parts)
    freshness = least(part.freshness for part in every)
    generations = ", ".join(
        f"{part.access.model.name}={part.view.generation.number}" for part in every if part.view
    )
    full = {**body, "freshness": freshness.body()}
    return web.answer(full, freshness, headers(freshness, generations or "unknown"))


def _projection(part: Part) -> Json:
    shown: Json = {
        "projection": part.access.model.name,
        "store": part.access.model.store,
        "activeGeneration": part.view.generation.number if part.view else None,
        "foldVersion": part.view.generation.fold_version if part.view else None,
        "partitions": part.found or [],
        "freshness": part.freshness.body(),
    }
    return {**shown, "error": part.error} if part.error else shown


def _partitions(seen: Observation) -> list[Json]:
    return [_partition(seen, at) for at in seen.expected()]


def _partition(seen: Observation, at: Partition) -> Json:
    row = seen.positions.get(at)
    names: Mapping[str, Any] = {"topic": at[0], "partition": at[1]}
    if row is None:
        unknown = dict.fromkeys(("position", "end", "lag", "lagSeconds", "asOf"))
        return {**names, **unknown}
    seconds = row.lag_seconds(seen.now)
    return {
        **names,
        "position": row.position,
        "end": row.end,
        "lag": row.lag,
        "lagSeconds": None if seconds is None else round(seconds, 3),
        "asOf": None if row.as_of is None else times.to_text(row.as_of),
    }
