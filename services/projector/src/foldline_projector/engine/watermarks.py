"""Watermarks: up to when everything that was committed has been applied.

The keeper publishes (asOf, ends) every two seconds. A partition whose position has reached its end
of a watermark has applied all that was committed before `asOf`. Some recent watermarks are kept,
so that a projector that is always a little behind still passes the older ones. Nothing here is
remembered across a restart: the last watermark is read again from its topic.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
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
        #: Replaced as a whole, because other threads go through it while watermarks are read.
        self._recent: tuple[Watermark, ...] = ()
        #: The newest watermark with the time at which it was read; read by another thread.
        self._seen: tuple[Watermark, float] | None = None
        self._told: datetime | None = None

    def add(self, watermark: Watermark) -> None:
        """Keeps a watermark that was just read."""
        self._recent = (*self._recent[1 - KEPT :], watermark)
        self._seen = (watermark, monotonic())

    @property
    def newest(self) -> Watermark | None:
        """The last one read."""
        return self._recent[-1] if self._recent else None

    def now(self) -> datetime | None:
        """The database's clock, as the newest watermark's publishing and the time since tell it.
        It never goes back: a watermark that came late would take it along.
        """
        if self._seen is None:
            return None
        newest, seen_at = self._seen
        now = newest.published_at + timedelta(seconds=monotonic() - seen_at)
        self._told = now if self._told is None else max(self._told, now)
        return self._told

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

    def known(self, at: TopicPartition, position: Position) -> Position:
        """`position` with all that watermarks say about it: the one it has passed, and the end."""
        end = max(position.end, self.end(at) or 0)
        return with_end(self.passed(at, position), end)

    def marks(self, positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Position]:
        """The positions that this watermark changes, though their offsets stay."""
        changed = {}
        for at, position in positions.items():
            marked = self.known(at, position)
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
