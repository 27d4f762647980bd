"""Read your writes, on all four stores: waiting, giving up, parked aggregates, generations."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest
from support.eventually import eventually
from werkzeug.test import TestResponse

from foldline_projector.stores.port import Batch
from foldline_query.config import Settings
from foldline_query.tokens.waiting import Waiter

from .conftest import World
from .rows import DOCUMENTS, detail, parked, reference, section, summary
from .test_reads import PATHS

pytestmark = pytest.mark.integration
WITH_CUSTOMERS = ("order-summaries", "order-details", "order-search")


@pytest.mark.parametrize("name", PATHS)
def test_a_token_that_is_met_is_answered_at_once(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1", 3))
    answer = world.get(PATHS[name], Foldline_Token="orders/o1@3", Prefer="wait=30")
    assert answer.status_code == 200
    assert answer.json["freshness"]["stale"] is False
    assert answer.headers["Preference-Applied"] == "wait=30"


@pytest.mark.parametrize("name", PATHS)
def test_a_token_that_is_not_met_is_a_time_out(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1", 3))
    answer = world.get(PATHS[name], Foldline_Token="orders/o1@4", Prefer="wait=0.1")
    assert answer.status_code == 504
    assert answer.json["type"] == "/problems/not-caught-up"
    assert answer.json["seenVersion"] == 3
    assert answer.headers["Retry-After"]
    assert answer.headers["Foldline-Stale"] == "true"
    assert answer.headers["Foldline-Generation"] == "1"


@pytest.mark.parametrize("name", PATHS)
def test_a_lenient_client_gets_the_stale_answer(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1", 3))
    answer = world.get(PATHS[name], Foldline_Token="orders/o1@4", Prefer="wait=0, handling=lenient")
    assert answer.status_code == 200
    assert answer.json["freshness"]["stale"] is True
    assert answer.json["freshness"]["reason"] == "token"
    assert answer.headers["Foldline-Stale"] == "true"
    assert answer.headers["Preference-Applied"] == "wait=0, handling=lenient"


@pytest.mark.parametrize("name", PATHS)
def test_a_write_ends_the_wait_for_it(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(name, DOCUMENTS[name]("o1", 1))
    with waiting(world, monkeypatch, PATHS[name], "orders/o1@2") as answer:
        world.write(name, DOCUMENTS[name]("o1", 2))
        found = answer.result(timeout=10)
    assert found.status_code == 200
    assert found.json["freshness"]["stale"] is False


@pytest.mark.parametrize("name", WITH_CUSTOMERS)
def test_a_customers_token_is_met_when_every_order_has_it(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1", 1), references=(reference("c1", 2, fanned_out=1),))
    headers = {"Foldline_Token": "customers/c1@2", "Prefer": "wait=0"}
    late = world.get(PATHS[name], **headers)
    assert late.status_code == 504
    assert late.json["seenVersion"] == 1
    world.write(name, references=(reference("c1", 2, fanned_out=2),))
    assert world.get(PATHS[name], **headers).status_code == 200


def test_a_token_of_what_the_read_model_does_not_consume_is_met(world: World) -> None:
    world.write("order-analytics", DOCUMENTS["order-analytics"]("o1"))
    tokens = "customers/c1@7, parcels/p1@1"
    assert world.get("/stats/daily", Foldline_Token=tokens, Prefer="wait=0").status_code == 200


def test_a_search_token_is_judged_by_what_a_search_finds(world: World) -> None:
    """A document that is stored and not refreshed has not been seen."""
    world.write("order-search", detail("o1", 1))
    world.store("order-search").save(Batch(documents=[detail("o1", 2)]))
    headers = {"Foldline_Token": "orders/o1@2", "Prefer": "wait=0"}
    late = world.get("/search", **headers)
    assert late.status_code == 504
    assert late.json["seenVersion"] == 1
    world.write("order-search")
    found = world.get("/search", **headers)
    assert found.json["items"][0]["version"] == 2


@pytest.mark.parametrize("name", PATHS)
def test_a_token_of_a_parked_aggregate_fails_at_once(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1", 1), parked=(parked("o1"),))
    answer = world.get(PATHS[name], Foldline_Token="orders/o1@2", Prefer="wait=30")
    assert answer.status_code == 504
    assert answer.json["reason"] == "parked"
    lenient = world.get(
        PATHS[name], Foldline_Token="orders/o1@2", Prefer="wait=30, handling=lenient"
    )
    assert lenient.status_code == 200
    assert lenient.json["freshness"]["reason"] == "parked"


def test_a_minimum_version_is_a_token(world: World) -> None:
    world.write("order-details", detail("o1", 2))
    assert world.get("/orders/o1?minVersion=2").status_code == 200
    late = world.get("/orders/o1?minVersion=3", Prefer="wait=0")
    assert late.status_code == 504
    assert late.json["seenVersion"] == 2


def test_a_lenient_client_of_a_missing_order_is_told_that_the_answer_is_stale(
    world: World,
) -> None:
    world.write("order-details", detail("o1"))
    answer = world.get(
        "/orders/o2", Foldline_Token="orders/o2@1", Prefer="wait=0, handling=lenient"
    )
    assert answer.status_code == 404
    assert answer.headers["Foldline-Stale"] == "true"


def test_the_wait_comes_before_the_comparison_of_etags(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("order-details", detail("o1", 1))
    etag = world.get("/orders/o1").headers["ETag"]
    with waiting(world, monkeypatch, "/orders/o1", "orders/o1@2", If_None_Match=etag) as answer:
        world.write("order-details", detail("o1", 2))
        assert answer.result(timeout=10).status_code == 200


def test_all_tokens_are_waited_for_and_the_greatest_of_one_aggregate_counts(world: World) -> None:
    world.write("order-summaries", summary("o1", 2), summary("o2", 1))
    tokens = "orders/o1@1, orders/o1@2, orders/o2@1"
    assert world.get("/orders", Foldline_Token=tokens, Prefer="wait=0").status_code == 200
    late = world.get("/orders", Foldline_Token=tokens + ", orders/o2@2", Prefer="wait=0")
    assert [each["token"] for each in late.json["unmet"]] == ["orders/o2@2"]


@pytest.mark.parametrize(
    "token", ["orders/o1", "orders/o1@0", "orders/o1@-1", "Orders/o1@1", "orders/o 1@1", "", "a,"]
)
def test_a_malformed_token_is_refused(world: World, token: str) -> None:
    answer = world.get("/orders", Foldline_Token=token)
    assert answer.status_code == 400
    assert answer.json["errors"][0]["parameter"] == "Foldline-Token"


def test_more_waiters_than_places_are_sent_away(
    make_world: Callable[[Settings], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(replace(Settings.from_env(os.environ), max_waiters=1))
    world.write("order-summaries", summary("o1", 1))
    with waiting(world, monkeypatch, "/orders", "orders/o1@2") as first:
        second = world.get("/orders", Foldline_Token="orders/o1@3")
        assert second.status_code == 503
        assert second.json["type"] == "/problems/too-many-waiters"
        assert second.headers["Retry-After"]
        assert world.get("/orders").status_code == 200
        assert world.get("/orders", Foldline_Token="orders/o1@1").status_code == 200
        world.write("order-summaries", summary("o1", 2))
        assert first.result(timeout=10).status_code == 200
    assert world.get("/orders", Foldline_Token="orders/o1@3", Prefer="wait=0.1").status_code == 504


def test_many_waiters_share_one_thread(
    make_world: Callable[[Settings], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(replace(Settings.from_env(os.environ), max_waiters=20, threads=21))
    world.write("order-summaries", *(summary(f"o{n}", 1) for n in range(20)))
    before = waiters()
    entered = counted_entries(monkeypatch)
    with ThreadPoolExecutor(20) as pool:
        answers = [
            pool.submit(ask, world, "/orders", f"orders/o{n}@2", Prefer="wait=20")
            for n in range(20)
        ]
        eventually(lambda: len(entered) == 20, within=10)
        assert waiters() == before + 1
        world.write("order-summaries", *(summary(f"o{n}", 2) for n in range(20)))
        assert {answer.result(timeout=10).status_code for answer in answers} == {200}


def test_a_flip_during_the_wait_is_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generation that met the token is the one that is read."""
    world.write("order-summaries", summary("o1", 1))
    world.write("order-summaries", summary("o1", 2, status="PAID"), generation=2)
    with waiting(world, monkeypatch, "/orders", "orders/o1@2") as answer:
        world.flip("order-summaries", 2)
        found = answer.result(timeout=10)
    assert found.status_code == 200
    assert found.headers["Foldline-Generation"] == "2"
    assert found.json["items"][0]["status"] == "PAID"


def ask(world: World, path: str, token: str, **headers: str) -> TestResponse:
    """Like `World.get`, with a client of its own, because one client serves one thread."""
    client = world.client.application.test_client()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(path, headers={"Foldline-Token": token, **named})


def counted_entries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever a request begins to wait."""
    entered: list[str] = []
    original = Waiter._enter

    def enter(self: Waiter, tokens: object, number: int | None) -> object:
        ticket = original(self, tokens, number)  # type: ignore[arg-type]
        entered.append(threading.current_thread().name)
        return ticket

    monkeypatch.setattr(Waiter, "_enter", enter)
    return entered


def waiters() -> int:
    return sum(thread.name.startswith("waiter-") for thread in threading.enumerate())


class waiting:  # noqa: N801 - used like a function
    """A request that is known to wait when the block begins."""

    def __init__(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        path: str,
        token: str,
        **headers: str,
    ) -> None:
        self._entered = counted_entries(monkeypatch)
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(ask, world, path, token, Prefer="wait=20", **headers)

    def __enter__(self) -> Future[TestResponse]:
        eventually(lambda: self._entered, within=10)
        return self._future

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def test_a_customers_new_name_that_has_not_arrived_makes_the_order_stale(world: World) -> None:
    world.write("order-details", detail("o1", 1, name="Ada"), references=(reference("c1", 2, 1),))
    body = world.get("/orders/o1").json
    assert body["stale"] is True
    assert body["staleReason"] == "behind"
    assert section(1, {}).version == 1
