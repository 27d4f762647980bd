"""Whether documents are as they should be: the pure middle of every verification.

Two documents can be compared only when they reflect the same events, which their version vectors
tell: the version and event id of the primary section, and the version of the reference section.
Unequal vectors say that one of them has moved on, which is no fault but a question for later.
Digests and sums cover what was compared, both sides alike, without the fields that are declared to differ.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal

import msgspec

from foldline_contracts import money
from foldline_projector.projection import Changes, Sum
from foldline_projector.rebuild.operation import Difference, Total, Verification
from foldline_projector.stores.port import Body, Document, Section

#: Differences that are kept with their fields; all are counted.
KEPT = 100

Verdict = Literal["same", "different", "moved"]
_MISSING = object()


def vector(document: Document | None) -> tuple[int, int]:
    """Which versions a document reflects; zeros where there is nothing."""
    if document is None:
        return (0, 0)
    return (_version(document.primary), _version(document.reference))


def _version(section: Section | None) -> int:
    return 0 if section is None else section.version


def explain(expected: Document | None, found: Document | None) -> tuple[str, ...]:
    """What is wrong with a document whose versions never came to agree."""
    if found is None:
        return ("missing",)
    if expected is None:
        return ("unexpected",)
    return (f"version {vector(found)[0]} instead of {vector(expected)[0]}",)


class Comparison:
    """Collects what the comparison of documents finds. One thread."""

    def __init__(self, against: str, changes: Changes, sums: tuple[Sum, ...]) -> None:
        self._against = against
        self._declared = changes.fields
        self._sums = sums
        self._matched = 0
        self._different = 0
        self._differences: list[Difference] = []
        self._digests = [0, 0]
        self._totals: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def judge(self, key: str, expected: Document | None, found: Document | None) -> Verdict:
        """Compares two documents of one key; None where there is none. `moved` decides nothing."""
        if vector(expected) != vector(found):
            return "moved"
        if expected is None or found is None:
            return "same"
        fields = tuple(self._fields(expected, found))
        if fields:
            self.differ(key, fields)
        else:
            self._matched += 1
        for side, document in enumerate((expected, found)):
            self._add(side, document)
        return "different" if fields else "same"

    def differ(self, key: str, fields: tuple[str, ...]) -> None:
        """Notes a difference."""
        self._different += 1
        if len(self._differences) < KEPT:
            self._differences.append(Difference(key, fields))

    def _fields(self, expected: Document, found: Document) -> Iterator[str]:
        ours, theirs = expected.primary, found.primary
        if ours is not None and theirs is not None and ours.event_id != theirs.event_id:
            yield "eventId"
        paths = set(_differing(_plain(expected), _plain(found), ""))
        yield from sorted(path for path in paths if not self._is_declared(path))

    def _is_declared(self, path: str) -> bool:
        return any(path == each or path.startswith(f"{each}.") for each in self._declared)

    def _add(self, side: int, document: Document) -> None:
        plain = {
            name: value for name, value in _plain(document).items() if not self._is_declared(name)
        }
        content = msgspec.json.encode(
            [document.key, vector(document), self._without_declared(plain, "")], order="sorted"
        )
        # A sum does not depend on the order in which documents come.
        self._digests[side] += int.from_bytes(sha256(content).digest())
        body = {} if document.primary is None else document.primary.body
        for each in self._sums:
            if (value := body.get(each.field)) is not None:
                name = f"{each.field} {body.get(each.per)}"
                self._totals[side][name] += Decimal(value)  # type: ignore[assignment]

    def _without_declared(self, value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            named = {name: f"{path}.{name}" if path else name for name in value}
            return {
                name: self._without_declared(each, named[name])
                for name, each in value.items()
                if not self._is_declared(named[name])
            }
        if isinstance(value, list):
            return [self._without_declared(each, path) for each in value]
        return value

    def result(self, unsettled: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> Verification:
        """What it came to."""
        expected, found = self._totals
        return Verification(
            against=self._against,
            documents=self._matched + self._different + len(unsettled),
            matched=self._matched,
            different=self._different,
            differences=tuple(self._differences),
            unsettled=unsettled,
            expected_digest=_hex(self._digests[0]),
            found_digest=_hex(self._digests[1]),
            totals=tuple(
                Total(
                    name,
                    money.to_text(Decimal(expected[name])),
                    money.to_text(Decimal(found[name])),
                )
                for name in sorted(expected.keys() | found.keys())
            ),
            expected_differences=self._declared,
            notes=notes,
        )


def _hex(digest: int) -> str:
    return f"{digest % (1 << 256):064x}"


def _plain(document: Document) -> Body:
    """Both sections as one value: the primary body's fields, and `reference`."""
    body = {} if document.primary is None else document.primary.body
    reference = None if document.reference is None else document.reference.body
    return {**body, "partition": document.partition, "reference": reference}


def _differing(expected: Any, found: Any, path: str) -> Iterator[str]:
    """Paths at which two plain values differ; elements of lists share the path of their list."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name in {**expected, **found}:
            below = f"{path}.{name}" if path else name
            yield from _differing(expected.get(name, _MISSING), found.get(name, _MISSING), below)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for ours, theirs in zip(expected, found, strict=True):
            yield from _differing(ours, theirs, path)
    elif expected != found:
        yield path
