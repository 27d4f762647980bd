"""One read model as a request meets it: wait for the tokens, then look at the state, then read.

`open` fixes the order that freshness rests on. The generation is read once, the pointer's or the
one that the request names; the wait, if any, is over; the state (positions, parked aggregates, the store's clock) is observed *before* the caller
reads data from the generation that it is handed. So the data is at least as fresh as is said.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from foldline_contracts import times
from foldline_contracts.readmodels import ReadModel
from foldline_contracts.tokens import Token
from foldline_query import metrics
from foldline_query.freshness import PARKED, TOKEN, Freshness, Observation, Partition, judge
from foldline_query.problems import NOT_CAUGHT_UP, RETRY_SECONDS, Problem
from foldline_query.readers.port import Aggregate, Generation, Reader
from foldline_query.reads import Reads
from foldline_query.tokens.reading import GENERATION, Consistency
from foldline_query.tokens.waiting import Verdict, Waiter

AS_OF = "Foldline-As-Of"
STALE = "Foldline-Stale"


@dataclass(frozen=True, slots=True)
class View:
    """A request's hold on a read model: its generation, and how fresh that was before the read."""

    model: ReadModel
    generation: Generation
    observation: Observation
    verdict: Verdict
    stale_after: float
    #: Where a successful read is remembered; None when the request named its generation.
    reads: Reads | None = None

    def freshness(
        self,
        within: Collection[Partition] | None = None,
        touched_by_parked: bool | None = None,
    ) -> Freshness:
        """The freshness of an answer that rests on these partitions, by default on all."""
        found = judge(
            self.observation,
            self.stale_after,
            within=within,
            touched_by_parked=touched_by_parked,
        )
        if not self.verdict.unmet:
            return found
        return found.because(PARKED if self.verdict.parked else TOKEN)

    def headers(self, freshness: Freshness) -> dict[str, str]:
        """The headers that say the same as the body."""
        return headers(freshness, str(self.generation.number))

    @property
    def documents(self) -> str:
        """The generation's table, collection or index."""
        return self.model.documents(self.generation.number)

    @property
    def references(self) -> str:
        """The generation's reference sources."""
        return self.model.references(self.generation.number)


def headers(freshness: Freshness, generation: str) -> dict[str, str]:
    """`Foldline-*` headers of an answer."""
    as_of = "unknown" if freshness.as_of is None else times.to_text(freshness.as_of)
    return {
        AS_OF: as_of,
        GENERATION: generation,
        STALE: "true" if freshness.stale else "false",
    }


class Access:
    """The way to one read model."""

    def __init__(self, reader: Reader, waiter: Waiter, stale_after: float, reads: Reads) -> None:
        self.reader = reader
        self.reads = reads
        self._waiter = waiter
        self._stale_after = stale_after

    @property
    def model(self) -> ReadModel:
        """What it leads to."""
        return self.reader.model

    def open(self, consistency: Consistency) -> View:
        """Waits as asked, then observes. Raises Problem 504 unless stale answers are welcome."""
        verdict = self._wait(consistency)
        generation = verdict.generation
        observation = self.reader.observe(generation)
        reads = self.reads if consistency.generation is None else None
        view = View(self.model, generation, observation, verdict, self._stale_after, reads)
        if verdict.unmet and not consistency.preferences.lenient:
            raise _not_caught_up(view)
        return view

    def parked_among(self, view: View, aggregates: Collection[Aggregate]) -> set[Aggregate]:
        """Which of these are parked; asks only when the observation found any."""
        if not view.observation.parked:
            return set()
        return self.reader.parked_among(view.generation, aggregates)

    def _wait(self, consistency: Consistency) -> Verdict:
        if not consistency.tokens:
            return Verdict(self.reader.generation(consistency.generation))
        started = time.monotonic()
        verdict = self._waiter.wait(
            consistency.tokens, consistency.preferences.wait, consistency.generation
        )
        outcome = "parked" if verdict.parked else "timeout" if verdict.unmet else "met"
        seconds = time.monotonic() - started
        metrics.WAIT_SECONDS.labels(self.model.name, outcome).observe(seconds)
        return verdict


def _not_caught_up(view: View) -> Problem:
    """504 with the first unmet token in front, and all of them listed."""
    unmet = view.verdict.unmet
    token, seen = next(iter(unmet.items()))
    detail = (
        f"{view.model.name} has version {seen} of {token.kind}/{token.key}, not {token.version}"
    )
    if view.verdict.parked:
        detail += "; the aggregate is parked, so waiting does not help"
    freshness = view.freshness()
    return Problem(
        NOT_CAUGHT_UP,
        detail,
        members={
            "seenVersion": seen,
            "reason": "parked" if view.verdict.parked else "timeout",
            "unmet": [_unmet(view, each, version) for each, version in unmet.items()],
            "freshness": freshness.body(),
        },
        headers={**view.headers(freshness), "Retry-After": str(RETRY_SECONDS)},
    )


def _unmet(view: View, token: Token, seen: int) -> Mapping[str, object]:
    return {"token": str(token), "seenVersion": seen, "parked": token in view.verdict.parked}
