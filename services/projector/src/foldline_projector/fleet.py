"""The generations that one process folds, each by a loop in a thread of its own.

Without a pinned generation the process follows every generation that is to be followed and has its
own fold version: a rebuild's new generation is taken up when it is loaded, a dropped one is let go.
Generations of another fold version are left to the code that has it. The first projector of a
projection makes generation 1.

Concurrency: the threads share nothing but metrics. Failure: what ends one loop ends the process, and
the supervisor starts it again. A store or topic that is not there yet is waited for.
"""

from threading import Event, Thread
from typing import Protocol

import structlog

from foldline_contracts.state import FIRST_GENERATION
from foldline_projector.engine.consumer import FencedMember, Loop
from foldline_projector.engine.generations import (
    Generation,
    Registry,
    admit,
    ensure_first,
)
from foldline_projector.projection import Projection
from foldline_projector.stores.port import RetryLater, Store

log = structlog.get_logger()

#: How often the generations are looked at.
WATCH_SECONDS = 1.0
TOPICS_SECONDS = 0.5


class NotStarted(Exception):
    """The process cannot begin or go on; the message is one line that says why."""


class Maker(Protocol):
    """Makes what a loop needs; the composition in `main`."""

    def store(self, generation: int) -> Store:
        """A store bound to a generation."""

    def partitions(self) -> dict[str, int]:
        """Partitions of each topic; 0 while it does not exist."""

    def loop(self, generation: int, store: Store) -> Loop:
        """The loop of a generation."""


class _Member:
    """One generation's loop and its thread."""

    def __init__(self, generation: int, store: Store, loop: Loop) -> None:
        self.loop = loop
        self._generation = generation
        self.failure: BaseException | None = None
        self._store = store
        self._stop = Event()
        self._thread = Thread(target=self._run, name=f"g{generation}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        structlog.contextvars.bind_contextvars(generation=self._generation)
        try:
            self.loop.run(self._stop.is_set)
        except BaseException as error:
            self.failure = error
        finally:
            self._store.close()

    def stop(self) -> None:
        """Asks the loop to finish its batch."""
        self._stop.set()

    def join(self) -> None:
        """Waits until it has."""
        self._thread.join()
        self.loop.metrics.close()


class Fleet:
    """Starts and stops loops as generations come and go."""

    def __init__(
        self, projection: Projection, pinned: int | None, maker: Maker, fenced_seconds: float
    ) -> None:
        """`fenced_seconds`: how long a process stays away whose member name another one has taken."""
        self._projection = projection
        self._fenced_seconds = fenced_seconds
        self._pinned = pinned
        self._maker = maker
        self._members: dict[int, _Member] = {}
        self._strangers: set[int] = set()

    @property
    def is_ready(self) -> bool:
        """Whether there is a loop and each has its partitions settled."""
        members = list(self._members.values())
        return bool(members) and all(member.loop.is_ready for member in members)

    def run(self, stopping: Event) -> None:
        """Runs until told to stop. Raises what ended a loop; NoSuchGeneration or
        FoldVersionMismatch for a pinned generation that this code must not write.
        """
        store = self._maker.store(self._pinned or FIRST_GENERATION)
        registry = Registry(store, self._projection.read_model)
        try:
            self._prepare(store, registry, stopping)
            while not stopping.is_set():
                try:
                    self._follow(registry)
                except RetryLater as verdict:
                    log.warning("retry_later", delay=verdict.delay, reason=str(verdict))
                self._check()
                stopping.wait(WATCH_SECONDS)
        except FencedMember as error:
            # The twin settles first; this one must not fence it again at once.
            log.error("fenced_member", reason=str(error))
            stopping.wait(self._fenced_seconds)
            raise NotStarted(str(error)) from error
        finally:
            for member in self._members.values():
                member.stop()
            for member in self._members.values():
                member.join()
            store.close()
        self._check()
        log.info("stopped")

    def _prepare(self, store: Store, registry: Registry, stopping: Event) -> None:
        """Makes the state objects, and the first generation where there is none."""
        while not stopping.is_set():
            try:
                store.prepare()
                if registry.pointer() is not None or self._begin(store, registry):
                    return
                stopping.wait(TOPICS_SECONDS)
            except RetryLater as verdict:
                log.warning("retry_later", delay=verdict.delay, reason=str(verdict))
                stopping.wait(verdict.delay)

    def _begin(self, store: Store, registry: Registry) -> bool:
        """Makes generation 1, if its topics are there and nothing else is asked for."""
        if self._pinned not in (None, FIRST_GENERATION):
            log.warning("generation_missing", generation=self._pinned)
            return False
        partitions = self._maker.partitions()
        if missing := [topic for topic, count in partitions.items() if not count]:
            log.warning("topics_missing", topics=missing)
            return False
        ensure_first(registry, store, self._projection, partitions)
        return True

    def _follow(self, registry: Registry) -> None:
        wanted = {each.number for each in self._wanted(registry)}
        for number in wanted - self._members.keys():
            store = self._maker.store(number)
            self._members[number] = _Member(number, store, self._maker.loop(number, store))
            log.info("following", generation=number)
        for number in self._members.keys() - wanted:
            log.info("letting_go", generation=number)
            member = self._members.pop(number)
            member.stop()
            member.join()

    def _wanted(self, registry: Registry) -> list[Generation]:
        if self._pinned is not None:
            return self._wanted_pinned(registry, self._pinned)
        following = [each for each in registry.generations() if each.state == "following"]
        own = [each for each in following if self._is_ours(each)]
        for each in following:
            if each not in own and each.number not in self._strangers:
                self._strangers.add(each.number)
                log.warning(
                    "other_fold_version",
                    generation=each.number,
                    theirs=each.fold_version,
                    ours=self._projection.fold_version,
                )
        return own

    def _wanted_pinned(self, registry: Registry, number: int) -> list[Generation]:
        known = {each.number for each in registry.generations()}
        if number not in known and number not in self._members:
            return []  # a workload may be there before its rebuild has begun
        found = admit(registry, self._projection, number)
        return [found] if found.state == "following" else []

    def _is_ours(self, generation: Generation) -> bool:
        return generation.fold_version == self._projection.fold_version

    def _check(self) -> None:
        for member in self._members.values():
            if member.failure is not None:
                raise member.failure
