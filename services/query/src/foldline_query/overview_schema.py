"""What `/projections` and `/parked` look like, for OpenAPI."""

from typing import get_args

from foldline_contracts.state import GenerationState
from foldline_query.openapi import TIME, Api, Json, Operation, array, nullable, obj, ref
from foldline_query.parameters import Parameters

_COUNT: Json = {"type": "integer", "minimum": 0}
_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "number", "minimum": 0}
_EVENT: dict[str, Json] = {
    "topic": _TEXT,
    "partition": _COUNT,
    "offset": _COUNT,
    "version": nullable(_COUNT),
    "eventId": nullable(_TEXT),
    "reason": _TEXT,
    "detail": _TEXT,
    "recordedAt": TIME,
    "parkedAt": nullable(TIME),
}
_AGGREGATE: dict[str, Json] = {
    "projection": _TEXT,
    "generation": _COUNT,
    "kind": _TEXT,
    "id": _TEXT,
    "reason": _TEXT,
    "detail": _TEXT,
    "firstEvent": obj(_EVENT),
    "waiting": _COUNT,
}
_PARTITION: dict[str, Json] = {
    "topic": _TEXT,
    "partition": _COUNT,
    "position": nullable(_COUNT),
    "end": nullable(_COUNT),
    "lag": nullable(_COUNT),
    "lagSeconds": nullable(_NUMBER),
    "asOf": nullable(TIME),
}
_PROGRESS: dict[str, Json] = {
    "recordsProcessed": nullable(_COUNT),
    "recordsTotal": nullable(_COUNT),
    "percent": nullable(_NUMBER),
    "ratePerSecond": nullable(_NUMBER),
    "etaSeconds": nullable(_NUMBER),
}
_REBUILD: dict[str, Json] = {
    "id": nullable(_TEXT),
    "strategy": nullable(_TEXT),
    "step": nullable(_TEXT),
    "progress": nullable(obj(_PROGRESS)),
}
_GENERATION: dict[str, Json] = {
    "generation": _COUNT,
    "state": {"enum": list(get_args(GenerationState))},
    "foldVersion": _COUNT,
    "rebuild": nullable(obj(_REBUILD)),
}
_PROJECTION: dict[str, Json] = {
    "projection": _TEXT,
    "store": _TEXT,
    "activeGeneration": nullable(_COUNT),
    "previousGeneration": nullable(_COUNT),
    "flippedAt": nullable(TIME),
    "foldVersion": nullable(_COUNT),
    "generations": array(ref("GenerationState")),
    "partitions": array(ref("PartitionState")),
    "freshness": ref("Freshness"),
    "error": _TEXT,
}


def declare(
    api: Api, nothing: type[Parameters], reads: type[Parameters], parked: type[Parameters]
) -> None:
    """Declares the operations of `overview`."""
    _declare_projections(api, nothing, reads)
    _declare_parked(api, parked)


def _declare_projections(api: Api, nothing: type[Parameters], reads: type[Parameters]) -> None:
    api.schema("PartitionState", obj(_PARTITION))
    api.schema("GenerationState", obj(_GENERATION))
    projection = api.schema("Projection", obj(_PROJECTION, optional=("error",)))
    api.get(
        "/projections",
        Operation(
            summary="Each projection: its generations and how far each partition is",
            answer=obj({"projections": array(projection), "freshness": ref("Freshness")}),
            query=nothing,
            of_all=True,
        ),
    )
    api.get(
        "/projections/{projection}/reads",
        Operation(
            summary="The latest distinct reads of a read model that this process served",
            answer=obj({"reads": array(obj({"path": _TEXT, "at": TIME}))}),
            query=reads,
            path={"projection": _TEXT},
            reads=False,
            can_miss=True,
        ),
    )


def _declare_parked(api: Api, parked: type[Parameters]) -> None:
    freshness = {"freshness": ref("Freshness")}
    aggregate = api.schema("ParkedAggregate", obj(_AGGREGATE))
    event = obj({**_EVENT, "value": nullable(_TEXT), "valueBase64": _TEXT})
    whole = api.schema("ParkedAggregateEvents", obj({**_AGGREGATE, "events": array(event)}))
    api.get(
        "/parked",
        Operation(
            summary="Parked aggregates of all projections",
            answer=obj({"items": array(aggregate), "unavailable": array(_TEXT), **freshness}),
            query=parked,
            of_all=True,
        ),
    )
    api.get(
        "/parked/{projection}/{id}",
        Operation(
            summary="The parked events of one aggregate",
            answer=obj({"projection": _TEXT, "id": _TEXT, "aggregates": array(whole), **freshness}),
            query=parked,
            path={"projection": _TEXT, "id": {"type": "string", "minLength": 1, "maxLength": 512}},
            can_miss=True,
        ),
    )
