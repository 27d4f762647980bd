"""State rows as they come out of any store, to this room's values.

Stores differ in how they hand out times (aware, naive in UTC, RFC 3339 text), JSON (decoded or
text) and bytes (as they are, or base64 text where the store knows only JSON).
"""

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from foldline_contracts import times
from foldline_query.freshness import Observation, Position
from foldline_query.readers.port import (
    Generation,
    NoSuchGeneration,
    NotPrepared,
    ParkedEvent,
    Pointer,
)

Row = Mapping[str, Any]


def position_from(row: Row) -> Position:
    """A `foldline_positions` row as it comes out of any store."""
    return Position(
        topic=row["topic"],
        partition=int(row["partition"]),
        position=int(row["position"]),
        end=int(row["end_offset"] or 0),
        recorded_at=moment(row.get("recorded_at")),
        oldest_recorded_at=moment(row.get("oldest_recorded_at")),
        as_of=moment(row.get("as_of")),
    )


def generation_from(row: Row, pointer: Pointer | None = None) -> Generation:
    """A `foldline_generations` row as it comes out of any store."""
    return Generation(
        number=int(row["generation"]),
        partitions={topic: int(count) for topic, count in _json(row["partitions"]).items()},
        state=row["state"],
        fold_version=int(row["fold_version"]),
        rebuild=_json(row.get("rebuild")),
        pointer=pointer,
    )


def pointer_from(row: Row) -> Pointer:
    """A `foldline_projections` row as it comes out of any store."""
    previous = row.get("previous_generation")
    return Pointer(
        active=int(row["active_generation"]),
        previous=None if previous is None else int(previous),
        flipped_at=moment(row.get("flipped_at")),
    )


def chosen(name: str, number: int | None, row: Row | None, pointer: Row | None) -> Generation:
    """The generation of a request, from its row and the pointer's row, each if there is one.

    `number`: what the request asked for, None for the active one. Raises NotPrepared or
    NoSuchGeneration. A dropped generation is refused only to a request that names it: one that
    followed the pointer has read it in time.
    """
    if number is not None and (row is None or row["state"] == "dropped"):
        raise NoSuchGeneration(f"{name} has no generation {number}")
    if row is None or pointer is None:
        raise NotPrepared(f"{name} has no active generation")
    return generation_from(row, pointer_from(pointer))


def _json(value: Any) -> Any:
    """A JSON field, decoded where the store keeps text."""
    return json.loads(value) if isinstance(value, str | bytes) else value


def moment(value: Any) -> datetime | None:
    """A time as drivers hand it out: aware, naive in UTC, or RFC 3339 text."""
    if value is None:
        return None
    if isinstance(value, str):
        return times.from_text(value)
    found: datetime = value
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def known(value: Any) -> datetime:
    """A time that is never null."""
    found = moment(value)
    if found is None:
        raise ValueError("a time is missing")
    return found


def observation_from(
    generation: Generation, positions: Iterable[Row], parked: int, now: Any
) -> Observation:
    """What a store said about a generation."""
    found = [position_from(row) for row in positions]
    return Observation(
        generation=generation.number,
        partitions=generation.partitions,
        positions={(row.topic, row.partition): row for row in found},
        parked=parked,
        now=known(now),
        is_building=generation.is_building,
    )


def parked_from(row: Row) -> ParkedEvent:
    """A row of the parked table."""
    value = row["value"]
    return ParkedEvent(
        topic=row["topic"],
        partition=int(row["partition"]),
        offset=int(row["record_offset"]),
        kind=row["kind"],
        aggregate_id=row["aggregate_id"],
        version=row["version"],
        event_id=row["event_id"],
        reason=row["reason"],
        detail=row["detail"],
        value=base64.b64decode(value) if isinstance(value, str) else bytes(value),
        recorded_at=known(row["recorded_at"]),
        parked_at=moment(row.get("parked_at")),
    )
