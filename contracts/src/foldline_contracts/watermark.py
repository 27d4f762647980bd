"""The watermark on its topic: what Kafka had acknowledged of everything committed before a moment.

The outbox keeper publishes it, projectors read it. `asOf` is the database's clock; `ends` holds,
for every partition of every event topic, the end offset read after the slot had confirmed
everything committed before `asOf` (GUARANTEES rule 2). `publishedAt` is the same clock at the
publishing: how late a watermark is says nothing about how late it is now.
"""

from datetime import datetime

import msgspec


class Watermark(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One published watermark."""

    as_of: datetime
    #: The database's clock when it was published.
    published_at: datetime
    #: Topic to end offset by partition number (as text: JSON keys are strings).
    ends: dict[str, dict[str, int]]
    #: Grows when slot or topics are recreated; `asOf` freezes until the audit has passed.
    incarnation: int


def encode(watermark: Watermark) -> bytes:
    """The watermark as JSON."""
    return msgspec.json.encode(watermark)


def decode(value: bytes) -> Watermark:
    """The watermark in `value`. Raises msgspec.MsgspecError when it is none."""
    return msgspec.json.decode(value, type=Watermark)
