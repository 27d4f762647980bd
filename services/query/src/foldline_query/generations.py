"""The generations of a read model as `/projections` shows them, with the rebuild that made each.

What is told of a rebuild is taken from the record as the projector room keeps it: a field that is
not there is null, so that either room may be newer than the other.
"""

from collections.abc import Mapping
from typing import Any

from foldline_query.readers.port import Generation

Json = dict[str, Any]
REBUILD = ("id", "strategy", "step")
PROGRESS = ("recordsProcessed", "recordsTotal", "percent", "ratePerSecond", "etaSeconds")


def shown(generation: Generation) -> Json:
    """One generation."""
    rebuild = generation.rebuild
    return {
        "generation": generation.number,
        "state": generation.state,
        "foldVersion": generation.fold_version,
        "rebuild": None if rebuild is None else _rebuild(rebuild),
    }


def _rebuild(stored: Mapping[str, Any]) -> Json:
    progress = stored.get("progress")
    return {
        **_picked(stored, REBUILD),
        "progress": None if progress is None else _picked(progress, PROGRESS),
    }


def _picked(fields: Mapping[str, Any], names: tuple[str, ...]) -> Json:
    return {name: fields.get(name) for name in names}
