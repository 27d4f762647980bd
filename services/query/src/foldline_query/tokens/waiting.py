"""Waiting for tokens without holding what others need.

A request whose tokens are met goes on at once. One that must wait takes one of a bounded number
of places (none left: 503) and sleeps on an event; one thread per read model asks the store for
all of them together, every few milliseconds, and only while somebody waits. So a thousand
waiters cost a store as much as one, and a store that is away delays nobody who waits for another.

Each round reads the pointer and judges by the active generation, and hands that generation to the
request, which stays with it: what was met cannot be lost to a flip in between, and nobody waits for
a generation that readers have left. A wait that runs out is judged once more, so its answer is not
from a generation that was left meanwhile either. Requests that name a generation are judged by it.
A round that fails because the store is away ends its waits with that error. A token of a parked aggregate can not be
met by waiting, so it ends its wait at once. The threads are started by the first wait in a
process, never before a fork.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Condition, Event, Thread

from foldline_contracts.tokens import Token
from foldline_query.problems import RETRY_SECONDS, TOO_MANY_WAITERS, Problem
from foldline_query.readers.port import Aggregate, Generation, Reader

POLL_SECONDS = 0.015


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a request's tokens in one generation."""

    generation: Generation
    #: Unmet tokens with the version that the read model has, 0 for none.
    unmet: Mapping[Token, int] = field(default_factory=dict)
    #: Those among the unmet whose aggregate is parked.
    parked: frozenset[Token] = frozenset()

    @property
    def is_final(self) -> bool:
        """Whether waiting on can not change it."""
        return not self.unmet or bool(self.parked)

    def only(self, tokens: Collection[Token]) -> "Verdict":
        """The verdict on some of the tokens that it was reached for."""
        unmet = {token: seen for token, seen in self.unmet.items() if token in tokens}
        return Verdict(self.generation, unmet, self.parked & unmet.keys())


@dataclass(slots=True)
class _Ticket:
    """One waiting request."""

    tokens: tuple[Token, ...]
    #: The generation that the request names; None follows the pointer.
    number: int | None = None
    done: Event = field(default_factory=Event)
    verdict: Verdict | None = None
    error: Exception | None = None


class Places:
    """The waits that a process allows at once, over all read models."""

    def __init__(self, number: int) -> None:
        self._free = BoundedSemaphore(number)

    def __enter__(self) -> None:
        if not self._free.acquire(blocking=False):
            raise Problem(
                TOO_MANY_WAITERS,
                "Too many requests are waiting for tokens.",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )

    def __exit__(self, *_: object) -> None:
        self._free.release()


class Waiter:
    """The waits for one read model."""

    def __init__(
        self,
        reader: Reader,
        places: Places,
        interval: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._places = places
        self._interval = interval
        self._clock = clock
        self._changed = Condition()
        self._waiting: list[_Ticket] = []
        self._thread: Thread | None = None

    def wait(self, tokens: Collection[Token], seconds: float, number: int | None = None) -> Verdict:
        """The verdict when all are met, when one can not be, or after `seconds`."""
        deadline = self._clock() + seconds
        verdict = check(self._reader, tokens, number)
        if verdict.is_final or seconds <= 0:
            return verdict
        with self._places:
            ticket = self._enter(tokens, number)
            try:
                ticket.done.wait(max(0.0, deadline - self._clock()))
            finally:
                self._leave(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.verdict or check(self._reader, tokens, number)

    def _enter(self, tokens: Collection[Token], number: int | None) -> _Ticket:
        ticket = _Ticket(tuple(tokens), number)
        with self._changed:
            self._waiting.append(ticket)
            if self._thread is None or not self._thread.is_alive():
                name = f"waiter-{self._reader.model.name}"
                self._thread = Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            self._changed.notify()
        return ticket

    def _leave(self, ticket: _Ticket) -> None:
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                tickets = list(self._waiting)
            for number in {ticket.number for ticket in tickets}:
                self._round(number, [each for each in tickets if each.number == number])
            time.sleep(self._interval)

    def _round(self, number: int | None, tickets: list[_Ticket]) -> None:
        """One question to the store for everybody; its failure is everybody's answer."""
        try:
            tokens = {token for ticket in tickets for token in ticket.tokens}
            verdict = check(self._reader, tokens, number)
        except Exception as error:
            for ticket in tickets:
                self._finish(ticket, None, error)
            return
        for ticket in tickets:
            own = verdict.only(ticket.tokens)
            if own.is_final:
                self._finish(ticket, own, None)

    def _finish(self, ticket: _Ticket, verdict: Verdict | None, error: Exception | None) -> None:
        self._leave(ticket)
        ticket.verdict, ticket.error = verdict, error
        ticket.done.set()


def check(reader: Reader, tokens: Collection[Token], number: int | None = None) -> Verdict:
    """Reads the pointer, then what its generation, or the one named, has of the tokens' aggregates.

    A token of a kind that the read model does not consume is met. Parked aggregates are looked up
    before the versions, so that a release in between is seen as progress, not as a failure.
    """
    model, generation = reader.model, reader.generation(number)
    consumed = [token for token in tokens if token.kind in (model.primary, model.reference)]
    if not consumed:
        return Verdict(generation)
    parked = reader.parked_among(generation, [Aggregate(t.kind, t.key) for t in consumed])
    seen = _seen(reader, generation, consumed)
    unmet = {token: seen[token] for token in consumed if seen[token] < token.version}
    stuck = frozenset(token for token in unmet if Aggregate(token.kind, token.key) in parked)
    return Verdict(generation, unmet, stuck)


def _seen(reader: Reader, generation: Generation, tokens: Collection[Token]) -> Mapping[Token, int]:
    primary = [token.key for token in tokens if token.kind == reader.model.primary]
    reference = [token.key for token in tokens if token.kind != reader.model.primary]
    versions = reader.seen(generation, primary) if primary else {}
    fanned_out = reader.seen_references(generation, reference) if reference else {}
    return {
        token: (versions if token.kind == reader.model.primary else fanned_out).get(token.key, 0)
        for token in tokens
    }
