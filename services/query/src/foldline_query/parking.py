"""Parked events as the API shows them: by aggregate, with the first bad event in front.

Events that only wait behind a bad one (`blocked`) count as waiting; the first other one is what
somebody has to look at. Times and places are the records', so they can be found in Kafka.
"""

import base64
from collections.abc import Iterable
from typing import Any

from foldline_contracts import times
from foldline_query.access import Access, View
from foldline_query.readers.port import Aggregate, ParkedEvent

Json = dict[str, Any]


def listed(access: Access, view: View, limit: int) -> list[Json]:
    """The parked aggregates of a read model, none of them asked for when there are none."""
    if not view.observation.parked:
        return []
    events = access.reader.parked(view.generation, None, limit)
    return [_aggregate(view, who, group) for who, group in _grouped(events)]


def shown(access: Access, view: View, aggregate_id: str, limit: int) -> Json | None:
    """Everything that is parked under this id, or None."""
    events = access.reader.parked(view.generation, aggregate_id, limit)
    if not events:
        return None
    aggregates = [
        {**_aggregate(view, who, group), "events": [_event(each, whole=True) for each in group]}
        for who, group in _grouped(events)
    ]
    return {"projection": view.model.name, "id": aggregate_id, "aggregates": aggregates}


def _grouped(events: Iterable[ParkedEvent]) -> list[tuple[Aggregate, list[ParkedEvent]]]:
    groups: dict[Aggregate, list[ParkedEvent]] = {}
    for event in events:
        groups.setdefault(event.aggregate, []).append(event)
    return sorted(groups.items())


def _aggregate(view: View, who: Aggregate, events: list[ParkedEvent]) -> Json:
    first = next((event for event in events if event.reason != "blocked"), events[0])
    return {
        "projection": view.model.name,
        "generation": view.generation.number,
        "kind": who.kind,
        "id": who.key,
        "reason": first.reason,
        "detail": first.detail,
        "firstEvent": _event(first, whole=False),
        "waiting": len(events) - 1,
    }


def _event(event: ParkedEvent, *, whole: bool) -> Json:
    body = {
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "version": event.version,
        "eventId": event.event_id,
        "reason": event.reason,
        "detail": event.detail,
        "recordedAt": times.to_text(event.recorded_at),
        "parkedAt": None if event.parked_at is None else times.to_text(event.parked_at),
    }
    return {**body, **_value(event.value)} if whole else body


def _value(value: bytes) -> Json:
    """The record as text when it is text, and always as it is."""
    try:
        text: str | None = value.decode()
    except UnicodeDecodeError:
        text = None
    return {"value": text, "valueBase64": base64.b64encode(value).decode()}
