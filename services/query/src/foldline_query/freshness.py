"""How fresh an answer is: a pure judgement over what the store said before the data was read.

`asOf` is a low mark of the whole path (the minimum of the watermarks that the partitions have
passed), so a dead Debezium shows as an old `asOf` although no event waits. Unknown is never
called fresh: a partition without a position, or without a watermark, makes `asOf` null and the
answer stale, and so does a generation that a rebuild still fills, whatever its positions say.
Nothing here reads a clock; `now` is the store's.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from foldline_contracts import times

UNKNOWN = "unknown"
BEHIND = "behind"
PARKED = "parked"
OLD = "old"
TOKEN = "token"
REBUILDING = "rebuilding"
UNAVAILABLE = "unavailable"

#: Most telling first: the reason that an answer names is the first that holds.
REASONS: Mapping[str, str] = {
    TOKEN: "A `Foldline-Token` was not reached.",
    REBUILDING: "A rebuild still fills this generation: documents may be missing or old.",
    PARKED: "Aggregates are parked: their later events are not applied.",
    UNAVAILABLE: "A store does not answer.",
    UNKNOWN: "A partition has no position or no watermark yet.",
    BEHIND: "Events are known that are not applied yet.",
    OLD: "`asOf` is older than the limit: projector, Debezium, Kafka or keeper may be down.",
}

Partition = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """A partition's row of `foldline_positions`."""

    topic: str
    partition: int
    position: int
    end: int
    recorded_at: datetime | None = None
    oldest_recorded_at: datetime | None = None
    as_of: datetime | None = None

    @property
    def lag(self) -> int:
        """Events seen and not applied."""
        return max(0, self.end - self.position)

    def lag_seconds(self, now: datetime) -> float | None:
        """Age of the oldest event not applied; None when there is one of unknown age."""
        if self.lag == 0:
            return 0.0
        since = self.oldest_recorded_at or self.recorded_at or self.as_of
        return None if since is None else _age(since, now)


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What one read of a projection's state found, at one moment of the store's clock."""

    generation: int
    #: Topic to number of partitions, as the generation was prepared with.
    partitions: Mapping[str, int]
    positions: Mapping[Partition, Position]
    #: Parked aggregates of the generation.
    parked: int
    now: datetime
    #: Whether a rebuild still fills the generation.
    is_building: bool = False

    def expected(self) -> list[Partition]:
        """Every partition that the projection consumes."""
        return [
            (topic, n) for topic, count in sorted(self.partitions.items()) for n in range(count)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Freshness:
    """The `freshness` of an answer."""

    as_of: datetime | None
    lag_seconds: float | None
    stale: bool
    #: Parked aggregates of the read model; None when its store could not be asked.
    parked: int | None
    reason: str | None = None

    def body(self) -> dict[str, Any]:
        """As JSON; `reason` only when stale."""
        shown: dict[str, Any] = {
            "asOf": None if self.as_of is None else times.to_text(self.as_of),
            "lagSeconds": None if self.lag_seconds is None else round(self.lag_seconds, 3),
            "stale": self.stale,
            "parked": self.parked,
        }
        return {**shown, "reason": self.reason} if self.reason else shown

    def because(self, reason: str) -> "Freshness":
        """The same, known to be stale for `reason`."""
        return replace(self, stale=True, reason=reason)


def judge(
    seen: Observation,
    stale_after: float,
    *,
    within: Collection[Partition] | None = None,
    touched_by_parked: bool | None = None,
) -> Freshness:
    """The freshness of an answer that rests on the partitions `within`, by default on all.

    `touched_by_parked`: whether a parked aggregate is part of the answer; by default any is.
    """
    rows = [seen.positions.get(at) for at in (seen.expected() if within is None else within)]
    as_of = None if seen.is_building else _low_mark(rows)
    behind = [row.lag_seconds(seen.now) for row in rows if row is not None and row.lag > 0]
    age = None if as_of is None else _age(as_of, seen.now)
    holds = {
        REBUILDING: seen.is_building,
        PARKED: seen.parked > 0 if touched_by_parked is None else touched_by_parked,
        UNKNOWN: as_of is None,
        BEHIND: bool(behind),
        OLD: age is not None and age > stale_after,
    }
    reason = next((name for name in REASONS if holds.get(name)), None)
    return Freshness(
        as_of=as_of,
        lag_seconds=_lag(age, behind, stale_after),
        stale=reason is not None,
        parked=seen.parked,
        reason=reason,
    )


def nothing_known(reason: str) -> Freshness:
    """The freshness of a read model that could not be asked."""
    return Freshness(as_of=None, lag_seconds=None, stale=True, parked=None, reason=reason)


def least(of: Iterable[Freshness]) -> Freshness:
    """The freshness of an answer made of several."""
    all_of = list(of)
    marks = [one.as_of for one in all_of]
    lags = [one.lag_seconds for one in all_of]
    parked = [one.parked for one in all_of]
    reasons = {one.reason for one in all_of}
    return Freshness(
        as_of=None if None in marks else min((m for m in marks if m), default=None),
        lag_seconds=None if None in lags else max((n for n in lags if n is not None), default=None),
        stale=any(one.stale for one in all_of),
        parked=None if None in parked else sum(number or 0 for number in parked),
        reason=next((name for name in REASONS if name in reasons), None),
    )


def _low_mark(rows: Iterable[Position | None]) -> datetime | None:
    marks = [None if row is None else row.as_of for row in rows]
    known = [mark for mark in marks if mark is not None]
    return min(known) if known and len(known) == len(marks) else None


def _lag(age: float | None, behind: list[float | None], stale_after: float) -> float | None:
    """Seconds that the answer may lack.

    The age of the oldest event known and not applied, 0 when there is none. When `asOf` is too
    old, newer events may exist that nobody has seen, so its age counts; when it is unknown, all is.
    """
    if age is None:
        return None
    ages = [each if each is not None else age for each in behind]
    return max([0.0, *ages, *([age] if age > stale_after else [])])


def _age(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())
