"""Generations out of their records: which one a request reads, and what is told of a rebuild."""

import json
from typing import Any

import pytest

from foldline_query.generations import shown
from foldline_query.readers.port import NoSuchGeneration, NotPrepared
from foldline_query.readers.rows import chosen, generation_from

POINTER = {"active_generation": 2, "previous_generation": 1, "flipped_at": "2026-03-01T12:00:00Z"}
PROGRESS = {
    "recordsProcessed": 50,
    "recordsTotal": 200,
    "percent": 25.0,
    "ratePerSecond": 10.0,
    "etaSeconds": 15.0,
}
REBUILD = {
    "id": "op",
    "strategy": "BlueGreen",
    "step": "loading",
    "attempts": 1,
    "progress": {**PROGRESS, "partitions": []},
    "verification": None,
}


def row(**fields: Any) -> dict[str, Any]:
    return {
        "generation": 2,
        "partitions": {"order-events": 2},
        "state": "following",
        "fold_version": 3,
        **fields,
    }


def test_the_pointer_is_kept_with_the_generation_that_it_chose() -> None:
    found = chosen("orders", None, row(), POINTER)
    assert (found.number, found.fold_version, found.is_building) == (2, 3, False)
    assert found.pointer is not None
    assert (found.pointer.active, found.pointer.previous) == (2, 1)
    assert found.pointer.flipped_at is not None


def test_without_a_pointer_nothing_is_prepared() -> None:
    with pytest.raises(NotPrepared):
        chosen("orders", None, None, None)
    with pytest.raises(NotPrepared):
        chosen("orders", None, None, POINTER)


def test_a_generation_that_is_not_there_cannot_be_named() -> None:
    with pytest.raises(NoSuchGeneration, match="orders has no generation 7"):
        chosen("orders", 7, None, POINTER)
    with pytest.raises(NoSuchGeneration):
        chosen("orders", 2, row(state="dropped"), POINTER)


def test_who_followed_the_pointer_reads_what_is_dropped_meanwhile() -> None:
    assert chosen("orders", None, row(state="dropped"), POINTER).number == 2


def test_json_fields_come_as_values_and_as_text() -> None:
    plain = generation_from(row(rebuild=REBUILD))
    text = row(rebuild=json.dumps(REBUILD), partitions=json.dumps({"order-events": 2}))
    assert generation_from(text) == plain
    assert generation_from(row(rebuild=None)).rebuild is None


def test_progress_is_told_and_the_rest_of_a_rebuild_is_not() -> None:
    assert shown(generation_from(row(rebuild=REBUILD, state="building"))) == {
        "generation": 2,
        "state": "building",
        "foldVersion": 3,
        "rebuild": {
            "id": "op",
            "strategy": "BlueGreen",
            "step": "loading",
            "progress": PROGRESS,
        },
    }
    assert shown(generation_from(row()))["rebuild"] is None


def test_what_a_rebuild_does_not_say_is_null() -> None:
    bare = shown(generation_from(row(rebuild={"id": "op"})))["rebuild"]
    assert bare == {"id": "op", "strategy": None, "step": None, "progress": None}
    begun = shown(generation_from(row(rebuild={"progress": {"percent": 1.0}})))["rebuild"]
    assert begun["progress"] == {**dict.fromkeys(PROGRESS), "percent": 1.0}
