"""The reader port: what the generic query side asks of a store about one read model.

A request reads the pointer once, by `generation()`, and stays with that generation; or it names
one, and the pointer decides nothing. `observe()` is called before the data is read, never after it, so that an answer is at least as fresh as it
says. `seen` and `seen_references` judge by what the store's *queries* would find: in
Elasticsearch a document that is stored but not yet searchable has not been seen.

Errors: `StoreUnavailable` when the store does not answer in time, `NotPrepared` when it answers
but the projection has no active generation or its objects are missing. Both become 503.
`NoSuchGeneration` when the request named one that is not there, which becomes 404. Anything else is
a fault of ours.
"""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from foldline_contracts.readmodels import ReadModel
from foldline_query.freshness import Observation


class StoreUnavailable(Exception):
    """The store does not answer."""

    def __init__(self, store: str, cause: BaseException | str) -> None:
        self.store = store
        super().__init__(f"{store} does not answer ({type(cause).__name__})")


class NotPrepared(Exception):
    """The projection has no active generation in its store yet."""


class NoSuchGeneration(Exception):
    """The generation that was asked for by number never was, or was dropped."""


class Aggregate(NamedTuple):
    """One aggregate."""

    kind: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """Which generation readers read."""

    active: int
    #: Where a rollback leads.
    previous: int | None = None
    flipped_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """A generation's row."""

    number: int
    #: Topic to number of partitions.
    partitions: Mapping[str, int]
    #: A `GenerationState`.
    state: str
    fold_version: int
    #: The rebuild that made it, as the projector room keeps it; None when none did.
    rebuild: Mapping[str, Any] | None = None
    #: The pointer as it was read with this row; None in a list of generations.
    pointer: Pointer | None = None

    @property
    def is_building(self) -> bool:
        """Whether a rebuild still fills it, so that documents may be missing."""
        return self.state == "building"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedEvent:
    """A row of `foldline_parked`."""

    topic: str
    partition: int
    offset: int
    kind: str
    aggregate_id: str
    version: int | None
    event_id: str | None
    reason: str
    detail: str
    value: bytes
    recorded_at: datetime
    parked_at: datetime | None

    @property
    def aggregate(self) -> Aggregate:
        """Whose event it is."""
        return Aggregate(self.kind, self.aggregate_id)


class Reader(Protocol):
    """One read model in its store."""

    model: ReadModel

    def ping(self) -> None:
        """Returns when the store answers."""

    def generation(self, number: int | None = None) -> Generation:
        """The generation with this number, by default the active one, never from a cache."""

    def generations(self) -> list[Generation]:
        """Every generation that there ever was, by number."""

    def observe(self, generation: Generation) -> Observation:
        """Positions, number of parked aggregates and the store's clock."""

    def seen(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """Versions of the primary sections among `keys`."""

    def seen_references(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """Versions of these reference aggregates that all documents carry."""

    def parked_among(
        self, generation: Generation, aggregates: Collection[Aggregate]
    ) -> set[Aggregate]:
        """Those of `aggregates` that are parked."""

    def parked(
        self, generation: Generation, aggregate_id: str | None, limit: int
    ) -> list[ParkedEvent]:
        """At most `limit` parked events, of one aggregate id or of all, by place."""


class Store(Protocol):
    """A connection to a store, shared by all read models that live in it; opened when first used."""

    def ping(self) -> None:
        """Returns when the store answers."""

    def guard(self) -> AbstractContextManager[None]:
        """Turns the driver's errors into this module's."""

    def close(self) -> None:
        """Releases connections."""
