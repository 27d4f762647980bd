"""The judgement of freshness: pure, so told as rows in, verdict out."""

from datetime import UTC, datetime, timedelta

import pytest

from foldline_query.freshness import (
    REASONS,
    Freshness,
    Observation,
    Position,
    judge,
    least,
    nothing_known,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPICS = {"order-events": 2, "customer-events": 1}
EVERY = [("customer-events", 0), ("order-events", 0), ("order-events", 1)]


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def position(
    topic: str,
    partition: int,
    *,
    behind: int = 0,
    oldest: float | None = None,
    as_of: float | None = 1,
) -> Position:
    return Position(
        topic=topic,
        partition=partition,
        position=100,
        end=100 + behind,
        oldest_recorded_at=None if oldest is None else ago(oldest),
        as_of=None if as_of is None else ago(as_of),
    )


def observed(
    *changed: Position,
    without: tuple[str, int] | None = None,
    parked: int = 0,
    is_building: bool = False,
) -> Observation:
    rows = {at: position(*at) for at in EVERY}
    rows |= {(row.topic, row.partition): row for row in changed}
    rows = {at: row for at, row in rows.items() if at != without}
    return Observation(
        generation=1,
        partitions=TOPICS,
        positions=rows,
        parked=parked,
        now=NOW,
        is_building=is_building,
    )


def test_caught_up_is_fresh() -> None:
    found = judge(observed(), 10)
    assert found == Freshness(as_of=ago(1), lag_seconds=0, stale=False, parked=0)
    assert "reason" not in found.body()


def test_as_of_is_the_oldest_of_all_expected_partitions() -> None:
    seen = observed(position("customer-events", 0, as_of=5), position("order-events", 1, as_of=2))
    assert judge(seen, 10).as_of == ago(5)


@pytest.mark.parametrize("at", EVERY)
def test_a_missing_partition_makes_it_unknown(at: tuple[str, int]) -> None:
    found = judge(observed(without=at), 10)
    assert (found.as_of, found.lag_seconds, found.stale, found.reason) == (
        None,
        None,
        True,
        "unknown",
    )


def test_a_partition_that_passed_no_watermark_makes_it_unknown() -> None:
    found = judge(observed(position("order-events", 0, as_of=None)), 10)
    assert (found.as_of, found.reason) == (None, "unknown")


def test_a_partition_that_nobody_expects_does_not_count() -> None:
    assert judge(observed(position("order-events", 9, as_of=99)), 10).stale is False


def test_nothing_expected_is_unknown() -> None:
    seen = Observation(generation=1, partitions={}, positions={}, parked=0, now=NOW)
    assert judge(seen, 10).stale is True


def test_known_events_make_it_stale_by_the_age_of_the_oldest() -> None:
    seen = observed(
        position("order-events", 0, behind=3, oldest=4),
        position("order-events", 1, behind=1, oldest=7),
    )
    found = judge(seen, 10)
    assert (found.stale, found.reason, found.lag_seconds) == (True, "behind", 7)


def test_a_known_event_of_unknown_age_is_as_old_as_it_can_be() -> None:
    assert judge(observed(position("order-events", 0, behind=1, as_of=3)), 10).lag_seconds == 3


def test_an_old_watermark_is_stale_although_no_event_waits() -> None:
    found = judge(observed(position("order-events", 0, as_of=10.5)), 10)
    assert (found.stale, found.reason, found.lag_seconds) == (True, "old", 10.5)
    assert judge(observed(position("order-events", 0, as_of=10)), 10).stale is False


def test_parked_aggregates_are_not_fresh() -> None:
    found = judge(observed(parked=2), 10)
    assert (found.stale, found.reason, found.parked) == (True, "parked", 2)
    assert judge(observed(parked=2), 10, touched_by_parked=False).stale is False
    assert judge(observed(parked=2), 10, touched_by_parked=False).parked == 2


def test_a_generation_that_a_rebuild_fills_is_stale_whatever_its_positions_say() -> None:
    for seen in (observed(is_building=True), observed(is_building=True, parked=1)):
        found = judge(seen, 10, touched_by_parked=None)
        assert (found.as_of, found.lag_seconds) == (None, None)
        assert (found.stale, found.reason) == (True, "rebuilding")


def test_the_most_telling_reason_is_named() -> None:
    reasons = ["token", "rebuilding", "parked", "unavailable", "unknown", "behind", "old"]
    assert list(REASONS) == reasons
    building = judge(observed(is_building=True), 10)
    assert least([building, judge(observed(parked=1), 10)]).reason == "rebuilding"
    assert building.because("token").reason == "token"


def test_an_answer_may_rest_on_some_partitions_only() -> None:
    seen = observed(position("order-events", 0, behind=1, oldest=1), without=("order-events", 1))
    assert judge(seen, 10, within=[("customer-events", 0)]).stale is False
    assert judge(seen, 10, within=[("order-events", 0)]).reason == "behind"
    assert judge(seen, 10, within=[("order-events", 1)]).reason == "unknown"


def test_a_clock_that_is_behind_gives_no_negative_age() -> None:
    assert judge(observed(position("order-events", 0, behind=1, oldest=-5)), 10).lag_seconds == 0


def test_several_are_as_fresh_as_the_least() -> None:
    fresh = judge(observed(), 10)
    parked = judge(observed(position("order-events", 0, as_of=4), parked=1), 10)
    both = least([fresh, parked])
    assert both == Freshness(as_of=ago(4), lag_seconds=0, stale=True, parked=1, reason="parked")
    away = least([fresh, nothing_known("unavailable")])
    assert (away.as_of, away.parked, away.stale) == (None, None, True)


def test_the_body_says_the_reason_only_when_there_is_one() -> None:
    assert judge(observed(parked=1), 10).body() == {
        "asOf": "2026-03-01T11:59:59.000000Z",
        "lagSeconds": 0,
        "stale": True,
        "reason": "parked",
        "parked": 1,
    }
