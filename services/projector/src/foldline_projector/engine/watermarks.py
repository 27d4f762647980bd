"""Watermarks: up to when everything that was committed has been applied.

The keeper publishes (asOf, ends) every two seconds. A partition whose position has reached its end
of a watermark has applied all that was committed before `asOf`. Some recent watermarks are kept,
so that a projector that is always a little behind still passes the older ones. Nothing here is
remembered across a restart: the last watermark is read again from its topic.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from time import monotonic

from foldline_contracts.watermark import Watermark
from foldline_projector.engine.positions import with_end
from foldline_projector.stores.port import Position, TopicPartition

Passed = Callable[[TopicPartition, Position], Position]
"""A position, with the watermark that it has passed."""

#: Two minutes of watermarks, the longest lag at which `asOf` still advances smoothly.
KEPT = 64


class Watermarks:
    """The recent watermarks, newest last."""

    def __init__(self) -> None:
        self._recent: deque[Watermark] = deque(maxlen=KEPT)
        self._seen_at = 0.0

    def add(self, watermark: Watermark) -> None:
        """Keeps a watermark that was just read."""
        self._recent.append(watermark)
        self._seen_at = monotonic()

    @property
    def newest(self) -> Watermark | None:
        """The last one read."""
        return self._recent[-1] if self._recent else None

    def now(self) -> datetime | None:
        """The database's clock, as the newest watermark and the time since tell it."""
        if self.newest is None:
            return None
        return datetime.fromtimestamp(
            self.newest.as_of.timestamp() + monotonic() - self._seen_at, self.newest.as_of.tzinfo
        )

    def end(self, at: TopicPartition) -> int | None:
        """End offset of a partition in the newest watermark."""
        return None if self.newest is None else _end(self.newest, at)

    def passed(self, at: TopicPartition, position: Position) -> Position:
        """`position` with the newest watermark that its offset has reached, never an older one."""
        for watermark in reversed(self._recent):
            end = _end(watermark, at)
            if end is not None and position.offset >= end:
                return _marked(position, watermark)
        return position

    def marks(self, positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Position]:
        """The positions that this watermark changes, though their offsets stay."""
        changed = {}
        for at, position in positions.items():
            end = max(position.end, self.end(at) or 0)
            marked = with_end(self.passed(at, position), end)
            if marked != position:
                changed[at] = marked
        return changed


def _end(watermark: Watermark, at: TopicPartition) -> int | None:
    return watermark.ends.get(at.topic, {}).get(str(at.partition))


def _marked(position: Position, watermark: Watermark) -> Position:
    is_older = position.as_of is not None and position.as_of >= watermark.as_of
    if is_older and position.incarnation == watermark.incarnation:
        return position
    return replace(position, as_of=watermark.as_of, incarnation=watermark.incarnation)
