"""`/projections` and `/parked`: what each read model says of its own state.

All stores are asked at once, and an answer is given although some are away: what cannot be asked
is said to be unavailable, and the answer as a whole is stale then. Tokens are waited for in
every read model, so the answer has them everywhere. A generation can be named only where one read
model is asked.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, request
from pydantic import Field

from foldline_contracts import times
from foldline_query import generations, overview_schema, parking, web
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
from foldline_query.parameters import Limit, Parameters, Whole, read
from foldline_query.problems import bad_parameter, not_found
from foldline_query.readers.port import NotPrepared, StoreUnavailable
from foldline_query.services import Services
from foldline_query.tokens.reading import GENERATION, Consistency

Json = dict[str, Any]
MAX_ID = 512


class NoParameters(Parameters):
    """No parameters at all."""


class ParkedParameters(Parameters):
    """Parameters of the lists of parked events."""

    limit: Annotated[Whole, Field(ge=1, le=10_000)] = Field(
        1000, description="At most so many parked events of each projection are looked at."
    )


class ReadsParameters(Parameters):
    """How many of the latest reads to list."""

    limit: Limit = 100


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
    overview_schema.declare(room.api, NoParameters, ReadsParameters, ParkedParameters)
    _projections(routes, room)
    _parked(routes, room)
    return routes


def _projections(routes: Blueprint, room: Services) -> None:
    @routes.get("/projections")
    def list_projections() -> Response:
        consistency = _of_all()
        read(NoParameters, request.args)
        parts = _everywhere(room, consistency, _state)
        return _answer({"projections": [_projection(part) for part in parts]}, parts)

    @routes.get("/projections/<projection>/reads")
    def list_reads(projection: str) -> Response:
        limit = read(ReadsParameters, request.args).limit
        found = _read_model(room, projection).reads.latest(limit)
        shown = [{"path": each.path, "at": times.to_text(each.at)} for each in found]
        return web.plain({"reads": shown})


def _parked(routes: Blueprint, room: Services) -> None:
    @routes.get("/parked")
    def list_parked() -> Response:
        consistency = _of_all()
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
        full = {**body, "freshness": freshness.body()}
        return web.answer(full, freshness, view.headers(freshness))


def _of_all() -> Consistency:
    """The consistency of a request to all read models, whose generations have no common number."""
    found = web.consistency()
    if found.generation is not None:
        raise bad_parameter(GENERATION, "names a generation of one read model; this asks all")
    return found


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
    """Nulls and empty lists where the store could not be asked."""
    shown: Json = {
        "projection": part.access.model.name,
        "store": part.access.model.store,
        **dict.fromkeys(("activeGeneration", "previousGeneration", "flippedAt", "foldVersion")),
        "generations": [],
        "partitions": [],
        **(part.found or {}),
        "freshness": part.freshness.body(),
    }
    return {**shown, "error": part.error} if part.error else shown


def _state(access: Access, view: View) -> Json:
    """What a read model says of itself. The pointer is the one that chose the view's generation."""
    active, seen = view.generation, view.observation
    pointer = active.pointer
    flipped_at = pointer.flipped_at if pointer else None
    return {
        "activeGeneration": active.number,
        "previousGeneration": pointer.previous if pointer else None,
        "flippedAt": None if flipped_at is None else times.to_text(flipped_at),
        "foldVersion": active.fold_version,
        "generations": [generations.shown(each) for each in access.reader.generations()],
        "partitions": [_partition(seen, at) for at in seen.expected()],
    }


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
