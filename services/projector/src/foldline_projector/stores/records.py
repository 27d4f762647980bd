"""What the document stores write, as plain values: one shape for MongoDB and Elasticsearch.

Both keep JSON-like objects, so the mapping between the port's values and the stored fields (names:
`foldline_contracts.readmodels` and `.state`) stands here once. Times are RFC 3339 text with
microseconds, because the native date types of both stores keep milliseconds only. No I/O, and no
promise beyond: what `*_fields` writes, `*_of` reads back unchanged.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from foldline_contracts import times
from foldline_contracts.state import ParkReason
from foldline_projector.stores.port import (
    ParkedRecord,
    Position,
    Reference,
    Section,
    TopicPartition,
)

Fields = dict[str, Any]


def state_id(*parts: object) -> str:
    """The id of a state record: its key, joined by `/`."""
    return "/".join(map(str, parts))


def section_fields(section: Section | None) -> Fields | None:
    """A section as it is nested in a document."""
    if section is None:
        return None
    return {"version": section.version, "eventId": section.event_id, "body": section.body}


def section_of(fields: Mapping[str, Any] | None) -> Section | None:
    """The section in the fields, if there is one."""
    if fields is None:
        return None
    return Section(fields["version"], fields["eventId"], fields["body"])


def reference_of(key: str, fields: Mapping[str, Any]) -> Reference:
    """The reference source in the fields."""
    section = Section(fields["version"], fields["event_id"], fields["body"])
    return Reference(key, fields["partition"], section, fields["fanned_out_version"])


def position_fields(position: Position) -> Fields:
    """A position's values, without its key and the store's clock."""
    return {
        "position": position.offset,
        "end_offset": position.end,
        "recorded_at": _text(position.recorded_at),
        "oldest_recorded_at": _text(position.oldest_recorded_at),
        "as_of": _text(position.as_of),
        "incarnation": position.incarnation,
    }


def position_of(fields: Mapping[str, Any]) -> Position:
    """The position in the fields."""
    return Position(
        offset=fields["position"],
        end=fields["end_offset"],
        recorded_at=_moment(fields["recorded_at"]),
        oldest_recorded_at=_moment(fields["oldest_recorded_at"]),
        as_of=_moment(fields["as_of"]),
        incarnation=fields["incarnation"],
    )


def parked_fields(record: ParkedRecord) -> Fields:
    """A parked record with its key, without projection, generation and the store's clock."""
    return {
        "topic": record.at.topic,
        "partition": record.at.partition,
        "record_offset": record.offset,
        "kind": record.kind,
        "aggregate_id": record.aggregate_id,
        "version": record.version,
        "event_id": record.event_id,
        "reason": record.reason,
        "detail": record.detail,
        "value": record.value,
        "recorded_at": times.to_text(record.recorded_at),
    }


def parked_of(fields: Mapping[str, Any]) -> ParkedRecord:
    """The parked record in the fields; `value` must be bytes by now."""
    reason: ParkReason = fields["reason"]
    return ParkedRecord(
        at=TopicPartition(fields["topic"], fields["partition"]),
        offset=fields["record_offset"],
        kind=fields["kind"],
        aggregate_id=fields["aggregate_id"],
        version=fields["version"],
        event_id=fields["event_id"],
        reason=reason,
        detail=fields["detail"],
        value=bytes(fields["value"]),
        recorded_at=times.from_text(fields["recorded_at"]),
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else times.to_text(moment)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else times.from_text(text)
