"""What was read of a read model lately: paths to ask another generation for, to compare answers.

Each process remembers its own, in memory and bounded, and forgets them when it ends. A path stands
once, at its latest read. Its query string may hold what people searched for, so it may be personal
data; headers are never kept.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from threading import Lock


@dataclass(frozen=True, slots=True)
class Read:
    """One path and when it was last read, by the store's clock."""

    path: str
    at: datetime


class Reads:
    """The latest distinct reads of one read model; for any number of threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._latest: OrderedDict[str, datetime] = OrderedDict()
        self._lock = Lock()

    def note(self, path: str, at: datetime) -> None:
        """Remembers a read, and forgets the oldest when there are too many."""
        with self._lock:
            self._latest[path] = at
            self._latest.move_to_end(path)
            if len(self._latest) > self._most:
                self._latest.popitem(last=False)

    def latest(self, limit: int) -> list[Read]:
        """At most `limit` reads, the latest first."""
        with self._lock:
            return [Read(*each) for each in islice(reversed(self._latest.items()), limit)]
