"""How fast a load goes and when it will be done: pure arithmetic over what partitions report.

The rate is that of the last `WINDOW_SECONDS`, so that it follows a throttle; the caller gives the time.
"""

from collections import deque
from collections.abc import Mapping

from foldline_projector.rebuild.operation import PartitionProgress, Progress

WINDOW_SECONDS = 10.0


class Meter:
    """Positions of the partitions of one load, against their targets."""

    def __init__(self, starts: Mapping[str, int], targets: Mapping[str, int]) -> None:
        """`starts`: where each partition's history begins, `targets`: where loading ends."""
        self._starts = dict(starts)
        self._targets = dict(targets)
        self._positions = dict(starts)
        self._recent: deque[tuple[float, int]] = deque()

    def reached(self, partition: str, position: int) -> None:
        """Notes how far a partition is; it may go back when a worker begins again."""
        self._positions[partition] = position

    def read(self, now: float) -> Progress:
        """The progress at `now`, in seconds of any steady clock."""
        total = sum(self._targets[each] - self._starts[each] for each in self._targets)
        done = sum(self._positions[each] - self._starts[each] for each in self._targets)
        rate = self._rate(now, done)
        left = max(total - done, 0)
        return Progress(
            records_processed=done,
            records_total=total,
            percent=100.0 if total == 0 else round(100 * done / total, 1),
            rate_per_second=round(rate, 1),
            eta_seconds=0.0 if left == 0 else round(left / rate, 1) if rate > 0 else None,
            partitions=tuple(
                PartitionProgress(each, self._positions[each], self._targets[each])
                for each in sorted(self._targets)
            ),
        )

    def _rate(self, now: float, done: int) -> float:
        self._recent.append((now, done))
        while len(self._recent) > 2 and now - self._recent[0][0] > WINDOW_SECONDS:
            self._recent.popleft()
        since, before = self._recent[0]
        return max(done - before, 0) / (now - since) if now > since else 0.0
