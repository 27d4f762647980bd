"""Verifies a generation: against another one in the same store, or against Kafka itself.

Both walk every document once, compare what reflects the same events, and ask again about the keys
that moved meanwhile, until both sides have been seen at the same version or time is up. What then is left
is *unsettled*: a flip compares it when both generations stand still, and refuses if it differs.

Concurrency: reads only, beside live traffic. Failure: a store that is away ends a verification with
RetryLater; it is begun again from its beginning, since it writes nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic, sleep

from foldline_projector.projection import Projection
from foldline_projector.rebuild.comparison import Comparison
from foldline_projector.rebuild.operation import Verification
from foldline_projector.stores.port import Document, Store

PAGE = 2_000
#: Pause before keys that moved are looked at again.
AGAIN_SECONDS = 0.2
#: More keys than these at the end of the time are too many to settle at the barrier.
MOST_UNSETTLED = 1_000

#: Told how many documents were looked at.
Tell = Callable[[int], None]
#: Documents by key, as one side has them now.
Lookup = Callable[[list[str]], Mapping[str, Document]]


def against_generation(
    projection: Projection, old: Store, new: Store, fold_version: int, seconds: float, tell: Tell
) -> Verification:
    """Compares every document of two generations.

    `fold_version`: that of the old one, since which changes are declared. `seconds`: how long keys
    that move may be asked again.
    """
    comparison = Comparison(
        "the live generation", projection.changes_since(fold_version), projection.sums
    )
    moved: list[str] = []
    seen = 0
    for expected, found in _pages(old, new):
        moved += _moved(comparison, expected.keys() | found.keys(), expected, found)
        seen += len(expected)
        tell(seen)
    unsettled = settle(comparison, moved, old.load, new.load, seconds)
    return comparison.result(tuple(unsettled[:MOST_UNSETTLED]), _too_many(unsettled))


def _too_many(unsettled: list[str]) -> tuple[str, ...]:
    if len(unsettled) <= MOST_UNSETTLED:
        return ()
    return (f"{len(unsettled)} documents kept moving: too many to settle at the flip",)


def _pages(old: Store, new: Store) -> Iterator[tuple[dict[str, Document], dict[str, Document]]]:
    """Ranges of keys, with the documents of both stores in them."""
    after: str | None = None
    while True:
        page = old.scan(after, None, PAGE)
        until = page[-1].key if len(page) == PAGE else None
        yield {each.key: each for each in page}, _range(new, after, until)
        if until is None:
            return
        after = until


def _range(store: Store, after: str | None, until: str | None) -> dict[str, Document]:
    found: dict[str, Document] = {}
    while True:
        page = store.scan(after, until, PAGE)
        found.update({each.key: each for each in page})
        if len(page) < PAGE:
            return found
        after = page[-1].key


def settle(
    comparison: Comparison, moved: list[str], expected: Lookup, found: Lookup, seconds: float
) -> list[str]:
    """Asks about keys again until they agree or time is up; answers those that are left."""
    deadline = monotonic() + seconds
    while moved and monotonic() < deadline:
        sleep(AGAIN_SECONDS)
        moved = still_moving(comparison, moved, expected, found)
    return moved


def still_moving(
    comparison: Comparison, keys: list[str], expected: Lookup, found: Lookup
) -> list[str]:
    """Judges keys as both sides have them now; answers those whose versions differ."""
    left: list[str] = []
    for start in range(0, len(keys), PAGE):
        some = keys[start : start + PAGE]
        left += _moved(comparison, some, expected(some), found(some))
    return left


def _moved(
    comparison: Comparison,
    keys: Iterable[str],
    expected: Mapping[str, Document],
    found: Mapping[str, Document],
) -> list[str]:
    return [
        key for key in keys if comparison.judge(key, expected.get(key), found.get(key)) == "moved"
    ]
