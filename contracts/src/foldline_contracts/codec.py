"""Events to bytes and back: structured CloudEvents 1.0 JSON, the one encoding on the wire.

The bytes that `encode` returns are the outbox payload and, unparsed by Debezium, the Kafka value.
Reading is tolerant (unknown fields are ignored) and strict about what it knows: a value that
does not match its type raises `UndecodableEvent`, and the projector parks it. So does one that holds
NUL in any text, because PostgreSQL keeps none.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any

import msgspec

from foldline_contracts import times
from foldline_contracts.aggregates import AggregateKind
from foldline_contracts.identifiers import Identifier

CONTENT_TYPE = "application/cloudevents+json"


class UndecodableEvent(ValueError):
    """A value that is not an event we know: bad bytes, unknown type, wrong shape."""


@dataclass(frozen=True, slots=True)
class Event:
    """One fact about one aggregate, decoded."""

    #: Unique id, a UUID; the same in outbox, Kafka and documents.
    id: str
    #: The kind of its aggregate: `orders`.
    kind: str
    #: The aggregate's id, also the Kafka key.
    subject: str
    #: The aggregate's version after it: 1, 2, 3 ...
    version: int
    #: When it happened (an import says 1997); never used for lag.
    time: datetime
    #: Its typed payload.
    data: Any


class _Envelope(msgspec.Struct, kw_only=True):
    specversion: str
    id: Identifier
    source: str
    type: str
    subject: Identifier
    time: datetime
    datacontenttype: str
    sequence: Annotated[str, msgspec.Meta(max_length=18)]
    data: msgspec.Raw


_envelopes = msgspec.json.Decoder(_Envelope)
_encoder = msgspec.json.Encoder()
#: NUL as JSON writes it; behind an even number of backslashes, or else it is the text `\u0000`. Searched only
#: where `u0000` stands at all, because it takes several times as long as decoding.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


@cache
def _data_decoder(shape: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def encode(kind: AggregateKind, event: Event) -> bytes:
    """The event as structured CloudEvents JSON, UTF-8."""
    return _encoder.encode(
        {
            "specversion": "1.0",
            "id": event.id,
            "source": kind.source,
            "type": kind.type_of(event.data),
            "subject": event.subject,
            "time": times.to_text(event.time),
            "datacontenttype": "application/json",
            "sequence": str(event.version),
            "data": event.data,
        }
    )


def decode(kind: AggregateKind, value: bytes) -> Event:
    """The event in `value`. Raises UndecodableEvent with the reason."""
    try:
        envelope = _envelopes.decode(value)
        shape = kind.events.get(envelope.type)
        if shape is None:
            raise UndecodableEvent(f"unknown event type {envelope.type!r}")
        data = _data_decoder(shape).decode(envelope.data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UndecodableEvent(str(error)) from error
    if envelope.specversion != "1.0":
        raise UndecodableEvent(f"unknown specversion {envelope.specversion!r}")
    sequence = envelope.sequence
    if not (sequence.isascii() and sequence.isdigit()) or sequence[0] == "0":
        raise UndecodableEvent(f"sequence {sequence!r} is not a version")
    if envelope.time.tzinfo is None:
        raise UndecodableEvent("time has no zone")
    if b"u0000" in value and _NUL.search(value):
        raise UndecodableEvent("a text holds NUL")
    return Event(envelope.id, kind.name, envelope.subject, int(sequence), envelope.time, data)
