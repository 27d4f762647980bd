"""The kinds of aggregate that a domain brings, and how the engine finds them.

A domain is a wheel, not a fork: it registers its kinds under the entry point group
`foldline.aggregates`, and the generic rooms learn topic, source and event types from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import msgspec

ENTRY_POINT_GROUP = "foldline.aggregates"


@dataclass(frozen=True, kw_only=True, slots=True)
class AggregateKind:
    """One kind of aggregate, such as orders."""

    #: Plural name, as it stands in tokens and paths: `orders`.
    name: str
    #: Kafka topic of its events; also the outbox's `aggregatetype`.
    topic: str
    #: CloudEvents `source` of its events.
    source: str
    #: Event type with version (`OrderCreated.v1`) to the shape of its `data`.
    events: Mapping[str, type[msgspec.Struct]]

    def type_of(self, data: msgspec.Struct) -> str:
        """The event type that carries `data`. Raises KeyError for a foreign shape."""
        for name, shape in self.events.items():
            if shape is type(data):
                return name
        raise KeyError(type(data).__name__)


@cache
def aggregate_kinds() -> Mapping[str, AggregateKind]:
    """All installed kinds by name, found by entry point."""
    found: list[Any] = [point.load() for point in entry_points(group=ENTRY_POINT_GROUP)]
    return {kind.name: kind for kind in found}


def kind_of_topic(topic: str) -> AggregateKind:
    """The kind whose events `topic` carries. Raises KeyError."""
    for kind in aggregate_kinds().values():
        if kind.topic == topic:
            return kind
    raise KeyError(topic)
