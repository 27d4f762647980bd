"""A projector's side of a flip's barrier: stand still when told to, say where, go on when released.

Order: a partition is acknowledged only after the batch in hand is committed, and nothing of it is
processed beyond its limit while the hold stands. Concurrency: owners acknowledge their own partitions
into one record, each on the condition that it has not changed. Failure: whoever holds may die; a hold
that stands for `HOLD_SECONDS` is taken away by any owner that waits for it. The flip is made on the
condition that the hold still stands, so a holder that wakes up late cannot flip any more.
"""

from collections.abc import Mapping
from dataclasses import replace
from time import monotonic

import structlog

from foldline_projector.engine.generations import Hold, Pointer, Registry, place
from foldline_projector.stores.port import TopicPartition

log = structlog.get_logger()

#: How often the pointer is looked at: without a hold, and with one.
WATCH_SECONDS = 0.25
HELD_SECONDS = 0.02
#: A hold is a matter of fractions of a second; whoever made one that is this old is gone.
HOLD_SECONDS = 5.0


class Barrier:
    """What the owner of some partitions of one generation knows about a hold on it."""

    def __init__(self, registry: Registry, generation: int) -> None:
        self._registry = registry
        self._generation = generation
        self._hold: Hold | None = None
        self._is_active = False
        self._since = 0.0
        self._look_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this generation is held."""
        return self._hold is not None

    @property
    def is_final(self) -> bool:
        """Whether readers may soon read another generation, so that this one must not even seem
        fresher than it did: they would be told an older `asOf` than before.
        """
        return self.is_held and self._is_active

    def limit(self, at: TopicPartition) -> int | None:
        """The offset that a partition must not go beyond; None without a hold."""
        return None if self._hold is None else self._hold.limit(self._generation, at)

    def follow(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Looks at the hold now and then, and acknowledges the owned partitions that stand at their
        limits. `offsets`: where each owned partition stands. Raises RetryLater.
        """
        if monotonic() < self._look_at:
            return
        pointer = self._registry.pointer()
        hold = None if pointer is None else pointer.hold
        if hold is None or self._generation not in hold.limits:
            hold = None
        if hold is not None and (self._hold is None or self._hold.operation != hold.operation):
            self._since = monotonic()
            log.info("held", operation=hold.operation)
        if hold is None and self._hold is not None:
            log.info("released", seconds=round(monotonic() - self._since, 3))
        self._hold = hold
        self._is_active = pointer is not None and pointer.active == self._generation
        if pointer is not None and hold is not None:
            self._answer(pointer, hold, offsets)
        self._look_at = monotonic() + (WATCH_SECONDS if hold is None else HELD_SECONDS)

    def _answer(self, pointer: Pointer, hold: Hold, offsets: Mapping[TopicPartition, int]) -> None:
        if monotonic() - self._since > HOLD_SECONDS:
            log.warning("hold_abandoned", operation=hold.operation)
            self._registry.move_pointer(pointer, replace(pointer, hold=None))
            return
        acks = hold.acks.get(self._generation, {})
        standing = {
            place(at): offset
            for at, offset in offsets.items()
            if offset >= hold.limit(self._generation, at) and acks.get(place(at)) != offset
        }
        if standing:
            told = hold.acknowledged(self._generation, standing)
            self._registry.move_pointer(pointer, replace(pointer, hold=told))
