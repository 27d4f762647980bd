"""Kafka's records to the engine's: decoded once, at the edge, with what failed as a value.

A record that cannot be decoded is no exception here but data, because only its own aggregate may
stop for it. Its aggregate is the one that the Kafka key names; of a key that is no identifier, what
any store can keep of it.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from foldline_contracts.aggregates import AggregateKind
from foldline_contracts.codec import Event, UndecodableEvent, decode
from foldline_contracts.identifiers import MAX_LENGTH
from foldline_projector.stores.port import ParkedRecord, TopicPartition

AggregateKey = tuple[str, str]
"""Kind and id of an aggregate."""


class Record(NamedTuple):
    """One record of a topic, decoded as far as it could be."""

    at: TopicPartition
    offset: int
    kind: str
    key: str
    value: bytes
    #: Record time in milliseconds since 1970; a number, since few records are ever asked for it.
    timestamp: int
    event: Event | None
    #: Why there is no event.
    fault: str


class Waiting(NamedTuple):
    """A parked record, and its event when it could be decoded."""

    record: ParkedRecord
    event: Event | None


def moment(timestamp: int) -> datetime:
    """A record's time."""
    return datetime.fromtimestamp(timestamp / 1000, UTC)


def decoded(at: TopicPartition, kind: AggregateKind, polled: Iterable[Any]) -> list[Record]:
    """The records of one partition, by offset."""
    records = []
    for raw in polled:
        key, value = raw.key, raw.value
        event, fault = _event(kind, key, value)
        name = event.subject if event is not None else _name(key)
        records.append(
            Record(at, raw.offset, kind.name, name, value or b"", raw.timestamp, event, fault)
        )
    return records


def _name(key: bytes | None) -> str:
    text = (key or b"").decode(errors="replace").replace("\0", "\ufffd")
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"


def _event(kind: AggregateKind, key: bytes | None, value: bytes | None) -> tuple[Event | None, str]:
    if value is None:
        return None, "the record has no value"
    try:
        event = decode(kind, value)
    except UndecodableEvent as error:
        return None, str(error)
    if event.subject.encode() != key:
        return None, f"the key is not the subject {event.subject!r}"
    return event, ""


def waiting(record: ParkedRecord, kinds: Mapping[str, AggregateKind]) -> Waiting:
    """A parked record with its event, decoded again by this very code."""
    key = record.aggregate_id.encode()
    event, _ = _event(kinds[record.kind], key, record.value)
    return Waiting(record, event)
