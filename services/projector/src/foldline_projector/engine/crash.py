"""Crash injection: dies by SIGKILL at a named point, so that tests can prove what a crash leaves.

Inactive unless a plan is armed (`FOLDLINE_CRASH_AT=<point>[:n]`, the n-th time the point is
reached). SIGKILL, because nothing may be cleaned up: no handler, no rollback, no farewell to Kafka.
"""

import os
import signal
from typing import Literal, get_args

CommitPoint = Literal[
    "before_save",
    "after_documents",
    "after_references",
    "before_moves",
    "after_save",
    "before_kafka_commit",
]
RebuildPoint = Literal[
    "after_record",
    "before_fill",
    "after_fill",
    "after_flush",
    "after_load",
    "after_complete",
    "before_flip",
    "after_flip",
    "after_drop",
]
Point = CommitPoint | RebuildPoint
COMMIT_POINTS: tuple[str, ...] = get_args(CommitPoint)
REBUILD_POINTS: tuple[str, ...] = get_args(RebuildPoint)
POINTS = (*COMMIT_POINTS, *REBUILD_POINTS)

_armed: dict[str, int] = {}


def arm(plan: str) -> None:
    """Arms `<point>[:n]`. Raises ValueError for an unknown point or a bad count."""
    point, _, count = plan.partition(":")
    if point not in POINTS:
        raise ValueError(f"must be one of {', '.join(POINTS)}, then :n")
    nth = int(count or 1)
    if nth < 1:
        raise ValueError(f"{count} is not a number of times")
    _armed[point] = nth


def reach(point: Point) -> None:
    """Dies here when the plan says so."""
    if not _armed or point not in _armed:
        return
    _armed[point] -= 1
    if _armed[point] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
