"""What the generic command side knows of an aggregate: an id, a version, and the facts it recorded.

An aggregate is pure: it decides, changes itself and records events in the past tense. Only the unit
of work gives those events an id, a version and a place in the outbox.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol

import msgspec

from foldline_contracts.aggregates import AggregateKind


@dataclass(slots=True)
class Recorder:
    """The facts that an aggregate recorded since it was loaded, in order."""

    facts: list[tuple[msgspec.Struct, datetime]] = field(default_factory=list)

    def record(self, data: msgspec.Struct, at: datetime) -> None:
        """Remember one fact and when it happened."""
        self.facts.append((data, at))


class Aggregate(Protocol):
    """An aggregate as the unit of work stores it: its state is plain JSON data."""

    kind: ClassVar[AggregateKind]
    id: str
    #: The version that was loaded; 0 for a new one.
    version: int
    recorder: Recorder

    def to_state(self) -> dict[str, Any]:
        """Its state as JSON data, from which `from_state` makes it again."""
        ...

    @classmethod
    def from_state(cls, id: str, version: int, state: dict[str, Any]) -> "Aggregate":  # noqa: A002
        """The aggregate that `to_state` described."""
        ...
