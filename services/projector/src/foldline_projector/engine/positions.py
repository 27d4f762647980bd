"""Pure arithmetic of positions: how one advances, what it says about lag.

`oldest_recorded_at` is a bound: the record time of what waits behind the last poll is not known, but
it is not older than the last applied event, nor than the last watermark that was passed.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from foldline_projector.engine.records import moment
from foldline_projector.stores.port import Position


def advanced(stored: Position | None, last: Any, end: int | None) -> Position:
    """The position after `last`, a Kafka record, was applied; `end` is the end offset if known."""
    base = stored or Position(offset=0, end=0)
    offset = last.offset + 1
    position = replace(base, offset=offset, recorded_at=moment(last.timestamp))
    return with_end(position, max(offset, end or 0))


def with_end(position: Position, end: int) -> Position:
    """The position with a newer end offset, and what that says about the oldest waiting event."""
    if position.offset >= end:
        return replace(position, end=end, oldest_recorded_at=None)
    return replace(position, end=end, oldest_recorded_at=_oldest(position))


def _oldest(position: Position) -> datetime | None:
    known = [each for each in (position.recorded_at, position.as_of) if each is not None]
    return max(known, default=None)
