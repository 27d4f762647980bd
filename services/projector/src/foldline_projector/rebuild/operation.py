"""A rebuild as it is remembered: one JSON value in the record of the generation that it makes.

Whoever drives a rebuild (a person, a script, an operator) may stop at any moment and be another one
the next: this value says what is done. A step is repeated rather than trusted to have been
finished, and every step may run twice at once. Field names on the wire are camelCase.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Strategy = Literal["BlueGreen", "InPlace"]
#: `loading`: documents are being written. `loaded`: a projector follows. `verified`: proven equal.
#: `active`: readers were pointed to it. `rolledBack`: and back again.
Step = Literal["loading", "loaded", "verified", "active", "rolledBack"]


class PartitionProgress(msgspec.Struct, frozen=True, rename="camel"):
    """How far one partition is loaded."""

    #: `order-events/3`.
    partition: str
    position: int
    target: int


class Progress(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How far a load is."""

    records_processed: int
    records_total: int
    percent: float
    rate_per_second: float
    #: None while there is no rate to tell from.
    eta_seconds: float | None
    partitions: tuple[PartitionProgress, ...] = ()


class Difference(msgspec.Struct, frozen=True, rename="camel"):
    """One document that is not as it should be."""

    key: str
    #: Paths of the fields that differ, such as `items.lineTotal`; or what is wrong with the whole.
    fields: tuple[str, ...]


class Total(msgspec.Struct, frozen=True, rename="camel"):
    """One invariant: a sum of money on both sides."""

    name: str
    expected: str
    found: str


class Verification(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a comparison of every document came to."""

    against: str
    documents: int
    matched: int
    #: How many differ, and the first of them.
    different: int
    differences: tuple[Difference, ...]
    #: Documents that moved too fast to be compared; they are compared when both sides stand still.
    unsettled: tuple[str, ...]
    #: Digest over all documents that were compared, without declared differences; equal when they are.
    expected_digest: str
    found_digest: str
    totals: tuple[Total, ...]
    #: Fields that were left out because the fold declares that it changes them.
    expected_differences: tuple[str, ...]
    #: Reads that both generations answered alike; None when none were tried.
    shadow_reads: int | None = None
    #: Why something was not done.
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing differs; what is unsettled is judged at the flip."""
        return self.different == 0


class Operation(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One rebuild."""

    id: str
    strategy: Strategy
    step: Step
    #: How many times loading was begun.
    attempts: int = 0
    #: The generation that readers read when it began.
    base: int
    #: Partition to end offset when it began: loading goes so far, following does the rest.
    targets: Mapping[str, int]
    progress: Progress | None = None
    verification: Verification | None = None

    def to_record(self) -> dict[str, Any]:
        """As the generation's record keeps it."""
        return dict(msgspec.to_builtins(self))


def operation_of(rebuild: Mapping[str, Any] | None) -> Operation | None:
    """The operation in a generation's record."""
    return None if rebuild is None else msgspec.convert(rebuild, Operation)
