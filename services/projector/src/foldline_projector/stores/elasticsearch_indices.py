"""Indices of the Elasticsearch store: what is searched by, and nothing that grows by itself.

Mappings are not dynamic: a field that no mapping names is stored and not indexed, so an event's new
field can never blow up an index or disagree with a type. Everything here works without scripts
or ingest pipelines. A document index is never refreshed by the clock: the store refreshes it before
it writes a position, so what a search can see is exactly what the positions say.
"""

from collections.abc import Mapping
from typing import Any

from foldline_contracts.readmodels import ReadModel
from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS

Fields = dict[str, Any]

KEYWORD: Fields = {"type": "keyword"}
LONG: Fields = {"type": "long"}
DATE: Fields = {"type": "date"}
UNSEARCHED: Fields = {"type": "keyword", "index": False, "doc_values": False}
STORED_ONLY: Fields = {"type": "object", "enabled": False}
#: One shard holds millions of orders; a second node, where there is one, holds a copy.
SMALL: Fields = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}

_OWNER: Fields = {"projection": KEYWORD, "generation": LONG}
_PLACE: Fields = {**_OWNER, "topic": KEYWORD, "partition": LONG}

_STATE: Mapping[str, Fields] = {
    PROJECTIONS: {
        "projection": KEYWORD,
        "active_generation": LONG,
        "previous_generation": LONG,
        "flipped_at": DATE,
        "hold": STORED_ONLY,
        "revision": LONG,
    },
    GENERATIONS: {
        **_OWNER,
        "fold_version": LONG,
        "consumer_group": KEYWORD,
        "state": KEYWORD,
        "partitions": STORED_ONLY,
        "layout": STORED_ONLY,
        "rebuild": STORED_ONLY,
        "created_at": DATE,
        "revision": LONG,
    },
    POSITIONS: {
        **_PLACE,
        "position": LONG,
        "end_offset": LONG,
        "recorded_at": DATE,
        "oldest_recorded_at": DATE,
        "as_of": DATE,
        "incarnation": LONG,
        "updated_at": DATE,
    },
    PARKED: {
        **_PLACE,
        "record_offset": LONG,
        "kind": KEYWORD,
        "aggregate_id": KEYWORD,
        "version": LONG,
        "event_id": KEYWORD,
        "reason": KEYWORD,
        "detail": UNSEARCHED,
        "value": {"type": "binary"},
        "recorded_at": DATE,
        "parked_at": DATE,
    },
}

_REFERENCE: Fields = {
    "key": KEYWORD,
    "partition": LONG,
    "version": LONG,
    "event_id": UNSEARCHED,
    "fanned_out_version": LONG,
    "body": STORED_ONLY,
}

#: A released record stays known as deleted for this long, so that a stale owner cannot park it again.
_REMEMBER_RELEASED = "1d"


def state_indices() -> dict[str, Fields]:
    """The indices that all projections share, by name."""
    indices = {name: _index(properties, SMALL) for name, properties in _STATE.items()}
    indices[PARKED]["settings"] = {**SMALL, "gc_deletes": _REMEMBER_RELEASED}
    return indices


def written(index: str) -> str:
    """The alias by which a generation's index is written, and which goes with it."""
    return f"{index}_written"


def generation_indices(
    model: ReadModel, generation: int, own: Mapping[str, object] | None
) -> dict[str, Fields]:
    """The indices of a generation by name, each with the alias by which it is written."""
    indices = {model.documents(generation): document_index(model, own)}
    if model.reference:
        indices[model.references(generation)] = _index(_REFERENCE, SMALL)
    return {name: {**body, "aliases": {written(name): {}}} for name, body in indices.items()}


def document_index(model: ReadModel, own: Mapping[str, object] | None) -> Fields:
    """The index of a generation's documents: the layout that all share, with the read model's own
    settings and mappings laid over it.
    """
    body: Fields = {"properties": {model.link: KEYWORD} if model.link else {}}
    section: Fields = {"version": LONG, "eventId": UNSEARCHED}
    properties: Fields = {
        "key": KEYWORD,
        "partition": LONG,
        "primary": {"properties": {**section, "body": body}},
        "reference": {"properties": {**section, "body": {"properties": {}}}},
    }
    base = _index(properties, {**SMALL, "refresh_interval": "-1"})
    return _overlaid(base, own or {})


def _index(properties: Fields, settings: Fields) -> Fields:
    return {
        "settings": settings,
        "mappings": {"dynamic": False, "properties": properties},
    }


def _overlaid(base: Mapping[str, Any], own: Mapping[str, Any]) -> Fields:
    """`base` with `own` over it, object by object."""
    merged = dict(base)
    for name, value in own.items():
        below = merged.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[name] = _overlaid(below, value) if both else value  # type: ignore[arg-type]
    return merged
