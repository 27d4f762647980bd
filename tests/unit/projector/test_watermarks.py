"""Watermarks: which one a position has passed, and what it says about lag."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from foldline_contracts.watermark import Watermark
from foldline_projector.engine.positions import with_end
from foldline_projector.engine.watermarks import KEPT, Watermarks
from foldline_projector.stores.port import Position, TopicPartition

AT = TopicPartition("order-events", 0)
T = datetime(2026, 3, 1, tzinfo=UTC)
#: Seconds from a watermark to its publishing.
LATE = 60


def watermark(seconds: int, end: int, incarnation: int = 1) -> Watermark:
    return Watermark(
        as_of=T + timedelta(seconds=seconds),
        published_at=T + timedelta(seconds=seconds + LATE),
        ends={"order-events": {"0": end}},
        incarnation=incarnation,
    )


def seen(*marks: Watermark) -> Watermarks:
    watermarks = Watermarks()
    for mark in marks:
        watermarks.add(mark)
    return watermarks


@pytest.mark.parametrize(
    ("offset", "as_of"),
    [(9, None), (10, 0), (19, 0), (20, 2), (29, 2), (30, 4), (99, 4)],
)
def test_the_newest_watermark_that_an_offset_has_reached(offset: int, as_of: int | None) -> None:
    watermarks = seen(watermark(0, 10), watermark(2, 20), watermark(4, 30))
    passed = watermarks.passed(AT, Position(offset=offset, end=99))
    assert passed.as_of == (None if as_of is None else T + timedelta(seconds=as_of))
    assert passed.offset == offset


def test_a_watermark_may_come_while_the_recent_ones_are_looked_through() -> None:
    """Another thread reads them; here the look itself adds one."""
    watermarks = seen(watermark(0, 10))

    class Ends(dict[str, dict[str, int]]):
        def get(self, topic: str, other: object = None) -> dict[str, int]:  # type: ignore[override]
            watermarks.add(watermark(4, 40))
            return {"0": 20}

    watermarks.add(msgspec.structs.replace(watermark(2, 20), ends=Ends()))
    passed = watermarks.passed(AT, Position(offset=15, end=99))
    assert passed.as_of == T


def test_only_the_recent_watermarks_are_kept() -> None:
    watermarks = seen(*(watermark(number, number) for number in range(KEPT + 1)))
    assert watermarks.passed(AT, Position(offset=0, end=99)).as_of is None
    assert watermarks.passed(AT, Position(offset=1, end=99)).as_of == T + timedelta(seconds=1)


def test_an_empty_partition_passes_its_watermark() -> None:
    marks = seen(watermark(0, 0)).marks({AT: Position(offset=0, end=0)})
    assert marks == {AT: Position(offset=0, end=0, as_of=T, incarnation=1)}


def test_a_partition_that_the_watermark_does_not_name_stays_unknown() -> None:
    other = TopicPartition("order-events", 7)
    assert seen(watermark(0, 0)).marks({other: Position(offset=0, end=0)}) == {}


def test_a_watermark_that_was_passed_before_changes_nothing() -> None:
    watermarks = seen(watermark(2, 5))
    position = watermarks.marks({AT: Position(offset=5, end=5)})[AT]
    assert watermarks.marks({AT: position}) == {}


def test_as_of_never_goes_back_within_an_incarnation() -> None:
    newer = Position(offset=5, end=5, as_of=T + timedelta(hours=1), incarnation=1)
    assert seen(watermark(0, 5)).passed(AT, newer) == newer
    again = seen(watermark(0, 5, incarnation=2)).passed(AT, newer)
    assert (again.as_of, again.incarnation) == (T, 2)


def test_a_watermark_tells_the_end_of_what_waits() -> None:
    position = Position(offset=5, end=5, recorded_at=T, as_of=T + timedelta(seconds=1))
    (marked,) = seen(watermark(9, 8)).marks({AT: position}).values()
    assert (marked.offset, marked.end) == (5, 8)
    assert marked.oldest_recorded_at == T + timedelta(seconds=1)
    assert with_end(replace(marked, offset=8), 8).oldest_recorded_at is None


def test_the_clock_is_the_databases() -> None:
    assert Watermarks().now() is None
    now = seen(watermark(0, 0)).now()
    assert now is not None
    published = T + timedelta(seconds=LATE)
    assert published <= now < published + timedelta(seconds=5)


def test_the_clock_never_goes_back() -> None:
    watermarks = seen(watermark(100, 0))
    before = watermarks.now()
    watermarks.add(watermark(10, 0))
    now = watermarks.now()
    assert before is not None
    assert now is not None
    assert now >= before


def test_two_minutes_of_watermarks_are_kept() -> None:
    watermarks = seen(*(watermark(2 * n, n) for n in range(100)))
    assert watermarks.passed(AT, Position(offset=10, end=99)).as_of is None
    assert watermarks.passed(AT, Position(offset=40, end=99)).as_of == T + timedelta(seconds=80)
