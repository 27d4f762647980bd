"""A bounded cache of documents and references, because a partition has one owner at a time.

It holds what was committed and nothing else: filled after a commit, cleared on any failure, revoke
or fence. A stale entry cannot corrupt a document (stores write only what is newer), it could only
make a version look missing, and before that is believed the store is asked again.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Least recently used entries go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, T] = OrderedDict()

    def pick(self, keys: Collection[str]) -> dict[str, T]:
        """The cached ones among `keys`."""
        found = {}
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                found[key] = entry
        return found

    def put(self, entries: Mapping[str, T]) -> None:
        """Keeps committed entries."""
        for key, entry in entries.items():
            self._entries[key] = entry
            self._entries.move_to_end(key)
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
