"""Waiting for tokens, over a reader of our own: order of questions, failures, places."""

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from support.eventually import eventually

from foldline_contracts.readmodels import read_models
from foldline_contracts.tokens import Token
from foldline_query.freshness import Observation
from foldline_query.problems import Problem
from foldline_query.readers.port import (
    Aggregate,
    Generation,
    NoSuchGeneration,
    ParkedEvent,
    StoreUnavailable,
)
from foldline_query.tokens.waiting import Places, Waiter, check

ORDER = Token("orders", "o1", 2)
CUSTOMER = Token("customers", "c1", 2)


class Reader:
    """A read model in memory that notes what it is asked."""

    model = read_models()["order-details"]

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        #: Versions of generations that differ from `versions`.
        self.by_generation: dict[int, dict[str, int]] = {}
        self.fanned_out: dict[str, int] = {}
        self.parked_aggregates: set[Aggregate] = set()
        self.number = 1
        self.dropped: set[int] = set()
        self.asked: list[str] = []
        self.away = False

    def ping(self) -> None: ...

    def generation(self, number: int | None = None) -> Generation:
        self.asked.append("generation")
        if self.away:
            raise StoreUnavailable("memory", "away")
        if number in self.dropped:
            raise NoSuchGeneration(f"no generation {number}")
        return Generation(
            number=number or self.number,
            partitions={"order-events": 1},
            state="following",
            fold_version=1,
        )

    def generations(self) -> list[Generation]:
        return [self.generation()]

    def observe(self, generation: Generation) -> Observation:
        return Observation(
            generation=generation.number,
            partitions={},
            positions={},
            parked=0,
            now=datetime.now(UTC),
        )

    def seen(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        self.asked.append("seen")
        versions = self.by_generation.get(generation.number, self.versions)
        return {key: versions[key] for key in keys if key in versions}

    def seen_references(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        self.asked.append("references")
        return {key: self.fanned_out[key] for key in keys if key in self.fanned_out}

    def parked_among(
        self, generation: Generation, aggregates: Collection[Aggregate]
    ) -> set[Aggregate]:
        self.asked.append("parked")
        return self.parked_aggregates & set(aggregates)

    def parked(
        self, generation: Generation, aggregate_id: str | None, limit: int
    ) -> list[ParkedEvent]:
        return []


@pytest.fixture
def reader() -> Reader:
    return Reader()


def test_the_pointer_is_read_first_and_the_parked_before_the_versions(reader: Reader) -> None:
    check(reader, [ORDER, CUSTOMER])
    assert reader.asked == ["generation", "parked", "seen", "references"]


def test_versions_decide(reader: Reader) -> None:
    assert check(reader, [ORDER]).unmet == {ORDER: 0}
    reader.versions["o1"] = 1
    assert check(reader, [ORDER]).unmet == {ORDER: 1}
    reader.versions["o1"] = 3
    assert check(reader, [ORDER]).unmet == {}


def test_a_customer_is_judged_by_what_was_fanned_out(reader: Reader) -> None:
    reader.versions["c1"] = 9
    reader.fanned_out["c1"] = 1
    assert check(reader, [CUSTOMER]).unmet == {CUSTOMER: 1}


def test_a_kind_that_is_not_consumed_is_met_without_asking(reader: Reader) -> None:
    assert check(reader, [Token("parcels", "p1", 1)]).unmet == {}
    assert reader.asked == ["generation"]


def test_a_parked_aggregate_that_has_the_version_is_met(reader: Reader) -> None:
    reader.versions["o1"] = 2
    reader.parked_aggregates = {Aggregate("orders", "o1")}
    verdict = check(reader, [ORDER])
    assert not verdict.unmet
    assert not verdict.parked


def test_no_wait_asks_once(reader: Reader) -> None:
    verdict = Waiter(reader, Places(1)).wait([ORDER], 0)
    assert verdict.unmet
    assert reader.asked.count("generation") == 1


def test_a_parked_aggregate_ends_the_wait(reader: Reader) -> None:
    reader.parked_aggregates = {Aggregate("orders", "o1")}
    assert Waiter(reader, Places(1)).wait([ORDER], 30).parked == {ORDER}


def test_a_wait_ends_when_the_version_arrives_and_names_its_generation(reader: Reader) -> None:
    waiter = Waiter(reader, Places(1))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waiter.wait, [ORDER], 20)
        eventually(lambda: len(reader.asked) > 6, within=10)
        reader.number = 2
        reader.versions["o1"] = 2
        verdict = waiting.result(timeout=10)
    assert not verdict.unmet
    assert verdict.generation.number == 2


def test_a_wait_that_runs_out_is_judged_by_the_generation_that_readers_read_then(
    reader: Reader,
) -> None:
    """The generation of its last round may be followed by nobody any more."""

    class FlippedAtTheEnd(Places):
        def __exit__(self, *_: object) -> None:
            reader.number = 2
            super().__exit__()

    reader.by_generation = {2: {"o1": 1}}
    verdict = Waiter(reader, FlippedAtTheEnd(1)).wait([ORDER], 0.1)
    assert verdict.generation.number == 2
    assert verdict.unmet == {ORDER: 1}


def test_a_generation_that_is_named_is_waited_for_whatever_the_pointer_says(
    reader: Reader,
) -> None:
    waiter = Waiter(reader, Places(2))
    reader.by_generation = {7: {}}
    with ThreadPoolExecutor(2) as pool:
        named = pool.submit(waiter.wait, [ORDER], 20, 7)
        following = pool.submit(waiter.wait, [ORDER], 20)
        eventually(lambda: len(waiter._waiting) == 2, within=10)
        reader.versions["o1"] = 2
        assert following.result(timeout=10).generation.number == 1
        assert not named.done()
        reader.by_generation[7]["o1"] = 2
        assert named.result(timeout=10).generation.number == 7


def test_a_drop_ends_the_waits_for_that_generation_only(reader: Reader) -> None:
    waiter = Waiter(reader, Places(2))
    with ThreadPoolExecutor(2) as pool:
        named = pool.submit(waiter.wait, [ORDER], 20, 7)
        following = pool.submit(waiter.wait, [ORDER], 20)
        eventually(lambda: len(waiter._waiting) == 2, within=10)
        reader.dropped = {7}
        with pytest.raises(NoSuchGeneration):
            named.result(timeout=10)
        assert not following.done()
        reader.versions["o1"] = 2
        assert not following.result(timeout=10).unmet


def test_one_question_serves_all_who_wait(reader: Reader) -> None:
    waiter = Waiter(reader, Places(10))
    tokens = [Token("orders", f"o{number}", 1) for number in range(10)]
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(waiter.wait, [token], 20) for token in tokens]
        eventually(lambda: len(waiter._waiting) == 10, within=10)
        threads = [each for each in threading.enumerate() if each.name.startswith("waiter-order-d")]
        assert len([each for each in threads if each is waiter._thread]) == 1
        reader.versions |= {token.key: 1 for token in tokens}
        assert not any(each.result(timeout=10).unmet for each in waiting)
    assert not waiter._waiting


def test_a_store_that_goes_away_ends_the_wait(reader: Reader) -> None:
    waiter = Waiter(reader, Places(1))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waiter.wait, [ORDER], 20)
        eventually(lambda: waiter._waiting, within=10)
        reader.away = True
        with pytest.raises(StoreUnavailable):
            waiting.result(timeout=10)
    reader.away = False
    assert waiter.wait([ORDER], 0.05).unmet


def test_places_are_given_back(reader: Reader) -> None:
    places = Places(1)
    waiter = Waiter(reader, places)
    for _ in range(3):
        assert waiter.wait([ORDER], 0.01).unmet
    with places, pytest.raises(Problem) as caught:
        waiter.wait([ORDER], 1)
    assert caught.value.kind.slug == "too-many-waiters"
