"""A projection: a read model with the pure fold that fills it, found by entry point.

`evolve(body | None, event) -> body` is the whole of a projection's logic: no I/O, no clock. It
must return a new body and never None; whatever it raises parks the event (it is deterministic, so
trying again cannot help).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points

from foldline_contracts.codec import Event
from foldline_contracts.readmodels import ReadModel
from foldline_projector.stores.port import Body

ENTRY_POINT_GROUP = "foldline.projections"

Evolve = Callable[[Body | None, Event], Body]


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What a fold version changed, as its author declares it: a verification does not take these
    differences from the version before for faults.
    """

    #: Paths into the primary body, such as `items.lineTotal`, or `reference.name`; each covers what
    #: lies below it.
    fields: tuple[str, ...] = ()
    #: Documents have other keys than before, so that nothing can be compared key by key.
    keys: bool = False


@dataclass(frozen=True, slots=True)
class Sum:
    """An invariant: a field of money in the primary body, added up by another field."""

    field: str
    per: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """One read model's folds."""

    read_model: ReadModel
    #: Grows whenever the fold's outcome changes; a generation is pinned to it.
    fold_version: int
    #: Fold of the primary section.
    evolve: Evolve
    #: Fold of the reference section, when the read model has one.
    evolve_reference: Evolve | None = None
    #: Elasticsearch mappings and settings of the document index, when the store needs them.
    index: Mapping[str, object] | None = None
    #: What each fold version changed, by version; see `Changes`.
    changes: Mapping[int, Changes] = field(default_factory=dict)
    #: Sums that two generations must agree on.
    sums: tuple[Sum, ...] = ()

    def changes_since(self, fold_version: int) -> Changes:
        """All that changed after a fold version."""
        later = [each for version, each in self.changes.items() if version > fold_version]
        fields = {path for each in later for path in each.fields}
        return Changes(fields=tuple(sorted(fields)), keys=any(each.keys for each in later))


@cache
def projections() -> Mapping[str, Projection]:
    """All installed projections by name."""
    found: list[Projection] = [point.load() for point in entry_points(group=ENTRY_POINT_GROUP)]
    return {projection.read_model.name: projection for projection in found}
