"""What `/projections` and `/parked` look like, for OpenAPI."""

from foldline_query.openapi import TIME, Api, Json, Operation, array, nullable, obj, ref
from foldline_query.parameters import Parameters

_COUNT: Json = {"type": "integer", "minimum": 0}
_TEXT: Json = {"type": "string"}
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
    "lagSeconds": nullable({"type": "number", "minimum": 0}),
    "asOf": nullable(TIME),
}
_PROJECTION: dict[str, Json] = {
    "projection": _TEXT,
    "store": _TEXT,
    "activeGeneration": nullable(_COUNT),
    "foldVersion": nullable(_COUNT),
    "partitions": array(ref("PartitionState")),
    "freshness": ref("Freshness"),
    "error": _TEXT,
}


def declare(api: Api, nothing: type[Parameters], parked: type[Parameters]) -> None:
    """Declares the operations of `overview`."""
    freshness = {"freshness": ref("Freshness")}
    api.schema("PartitionState", obj(_PARTITION))
    projection = api.schema("Projection", obj(_PROJECTION, optional=("error",)))
    aggregate = api.schema("ParkedAggregate", obj(_AGGREGATE))
    event = obj({**_EVENT, "value": nullable(_TEXT), "valueBase64": _TEXT})
    whole = api.schema("ParkedAggregateEvents", obj({**_AGGREGATE, "events": array(event)}))
    api.get(
        "/projections",
        Operation(
            summary="Each projection: active generation and how far each partition is",
            answer=obj({"projections": array(projection), **freshness}),
            query=nothing,
        ),
    )
    api.get(
        "/parked",
        Operation(
            summary="Parked aggregates of all projections",
            answer=obj({"items": array(aggregate), "unavailable": array(_TEXT), **freshness}),
            query=parked,
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
