"""Generations as readers meet them: flips, rebuilds in place, shadow reads, what is told of them.

The flips here have no barrier, so that what holds is held by the query side alone.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest

from foldline_projector.rebuild.operation import Operation, Progress
from foldline_projector.stores.port import Document
from foldline_query.tokens.waiting import Places

from .conftest import World
from .rows import DOCUMENTS, analytics, detail, item, parked, summary
from .test_reads import PATHS
from .test_tokens import waiting

pytestmark = pytest.mark.integration
#: A generation's number to what its documents say, and how many there are.
CURRENCIES = {1: "EUR", 2: "USD"}
SIZES = {1: 3, 2: 5}
#: Reads that put an answer together from more than one question to the store where there are such.
READS = {**PATHS, "order-summaries": "/orders?count=true", "order-search": "/search?q=teapot"}
READS_OF_EACH = 10
MOST_SECONDS = 60


def told_apart(name: str, generation: int) -> list[Document]:
    """Documents by which an answer's generation can be known."""
    currency = CURRENCIES[generation]
    fields: dict[str, Any] = {"currency": currency}
    if DOCUMENTS[name] is detail:
        fields["items"] = [item("p1", f"Teapot {currency}")]
    return [DOCUMENTS[name](f"o{n}", 1, **fields) for n in range(1, SIZES[generation] + 1)]


@contextmanager
def flipping(world: World, name: str) -> Iterator[None]:
    """The pointer moves all the while."""
    over = threading.Event()

    def flip() -> None:
        while not over.is_set():
            for generation in (2, 1):
                world.flip(name, generation)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("name", READS)
def test_every_answer_comes_whole_from_one_generation(world: World, name: str) -> None:
    for generation in CURRENCIES:
        world.write(name, *told_apart(name, generation), generation=generation)
    seen = Counter({1: 0, 2: 0})
    deadline = monotonic() + MOST_SECONDS
    with flipping(world, name):
        while min(seen.values()) < READS_OF_EACH and monotonic() < deadline:
            answer = world.get(READS[name])
            assert answer.status_code == 200, answer.text
            number = int(answer.headers["Foldline-Generation"])
            assert f"{CURRENCIES[number]}" in answer.text
            assert f"{CURRENCIES[3 - number]}" not in answer.text
            if "total" in answer.json:
                assert answer.json["total"] == len(answer.json["items"]) == SIZES[number]
            seen[number] += 1
    assert min(seen.values()) >= READS_OF_EACH


@pytest.mark.parametrize("name", ["order-summaries", "order-search"])
def test_a_walk_goes_on_through_flips(world: World, name: str) -> None:
    for generation in CURRENCIES:
        world.write(name, *(DOCUMENTS[name](f"o{n}") for n in range(7)), generation=generation)
    ids: list[str] = []
    cursor = ""
    for page in range(1, 8):
        world.flip(name, 1 + page % 2)
        answer = world.get(f"{PATHS[name]}?limit=1{cursor}")
        assert answer.headers["Foldline-Generation"] == str(1 + page % 2)
        ids += [each["orderId"] for each in answer.json["items"]]
        cursor = f"&cursor={answer.json['nextCursor']}"
    assert sorted(ids) == [f"o{n}" for n in range(7)]
    assert answer.json["nextCursor"] is None


@pytest.mark.parametrize("name", PATHS)
def test_a_generation_that_a_rebuild_fills_is_stale(world: World, name: str) -> None:
    """Readers were pointed to it before it is full, as a rebuild in place does."""
    world.write(name, DOCUMENTS[name]("o1"))
    world.add(name, 2, "building")
    world.write(name, DOCUMENTS[name]("o1"), generation=2)
    world.flip(name, 2)
    answer = world.get(PATHS[name])
    assert answer.status_code == 200
    freshness = answer.json["freshness"]
    assert (freshness["stale"], freshness["reason"]) == (True, "rebuilding")
    assert (freshness["asOf"], freshness["lagSeconds"]) == (None, None)
    assert answer.headers["Foldline-As-Of"] == "unknown"
    assert answer.headers["Foldline-Stale"] == "true"
    world.become(name, 2, "following")
    assert world.get(PATHS[name]).json["freshness"]["stale"] is False


@pytest.mark.parametrize("name", PATHS)
def test_what_a_rebuild_has_not_reached_is_missing_and_stale(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1"))
    world.add(name, 2, "building")
    world.flip(name, 2)
    answer = world.get(PATHS[name])
    assert answer.headers["Foldline-Stale"] == "true"
    assert answer.headers["Foldline-Generation"] == "2"
    assert answer.status_code == (404 if name == "order-details" else 200)


def test_an_order_in_a_rebuild_says_so_itself(world: World) -> None:
    world.write("order-details", detail("o1"))
    world.add("order-details", 2, "building")
    world.write("order-details", detail("o1"), generation=2)
    world.flip("order-details", 2)
    body = world.get("/orders/o1").json
    assert (body["stale"], body["staleReason"]) == (True, "rebuilding")
    lenient = {"Foldline_Token": "orders/o1@9", "Prefer": "wait=0, handling=lenient"}
    assert world.get("/orders/o1", **lenient).json["staleReason"] == "token"


@pytest.mark.parametrize("name", PATHS)
def test_a_wait_goes_on_in_the_generation_that_readers_are_pointed_to(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that it began with is followed by nobody and never gets there."""
    world.write(name, DOCUMENTS[name]("o1", 1))
    world.add(name, 2, "building")
    with waiting(world, monkeypatch, PATHS[name], "orders/o1@2") as answer:
        world.flip(name, 2)
        world.write(name, DOCUMENTS[name]("o1", 2), generation=2)
        found = answer.result(timeout=10)
    assert found.status_code == 200
    assert found.headers["Foldline-Generation"] == "2"
    assert found.json["freshness"]["reason"] == "rebuilding"


def test_a_wait_that_runs_out_is_answered_from_what_readers_read_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("order-summaries", summary("o1", 1))
    world.write("order-summaries", summary("o1", 2), generation=2)
    leave = Places.__exit__

    def flip_and_leave(places: Places, *error: object) -> None:
        world.flip("order-summaries", 2)
        leave(places, *error)

    monkeypatch.setattr(Places, "__exit__", flip_and_leave)
    answer = world.get("/orders", Foldline_Token="orders/o1@3", Prefer="wait=0.1")
    assert answer.status_code == 504
    assert answer.json["seenVersion"] == 2
    assert answer.headers["Foldline-Generation"] == "2"


def test_an_etag_does_not_outlive_a_flip(world: World) -> None:
    """Two folds may make different bodies of the same events."""
    world.write("order-details", detail("o1", 2, name="Ada", note="old"))
    world.add("order-details", 2, "following", fold_version=99)
    world.write("order-details", detail("o1", 2, name="Ada", note="new"), generation=2)
    old = world.get("/orders/o1").headers["ETag"]
    world.flip("order-details", 2)
    answer = world.get("/orders/o1", If_None_Match=old)
    assert answer.status_code == 200
    assert answer.json["order"]["note"] == "new"
    new = answer.headers["ETag"]
    assert world.get("/orders/o1", If_None_Match=new).status_code == 304
    world.flip("order-details", 1)
    assert world.get("/orders/o1", If_None_Match=new).status_code == 200
    assert world.get("/orders/o1", If_None_Match=old).status_code == 304
    assert world.get("/orders/o1", If_None_Match=old, Foldline_Generation="2").status_code == 200


@pytest.mark.parametrize("name", READS)
def test_a_named_generation_is_read_instead_of_the_active_one(world: World, name: str) -> None:
    for generation in CURRENCIES:
        world.write(name, *told_apart(name, generation), generation=generation)
    for generation, currency in CURRENCIES.items():
        answer = world.get(READS[name], Foldline_Generation=str(generation))
        assert answer.status_code == 200
        assert answer.headers["Foldline-Generation"] == str(generation)
        assert "Foldline-Generation" in answer.headers["Vary"]
        assert currency in answer.text
        assert CURRENCIES[3 - generation] not in answer.text
    assert world.get(READS[name]).headers["Foldline-Generation"] == "1"


@pytest.mark.parametrize("name", PATHS)
def test_a_named_generation_is_judged_by_its_own_state(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1", 3))
    world.add(name, 2, "building")
    world.write(name, DOCUMENTS[name]("o1", 2), parked=(parked("o7"),), generation=2)
    asked = {"Foldline_Generation": "2", "Foldline_Token": "orders/o1@3", "Prefer": "wait=0"}
    late = world.get(PATHS[name], **asked)
    assert (late.status_code, late.json["seenVersion"]) == (504, 2)
    met = world.get(PATHS[name], **{**asked, "Foldline_Token": "orders/o1@2"})
    assert met.json["freshness"]["reason"] == "rebuilding"
    assert met.json["freshness"]["parked"] == 1
    assert world.get(PATHS[name]).json["freshness"]["stale"] is False


def test_a_named_generation_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("order-details", detail("o1", 3))
    world.write("order-details", detail("o1", 1), generation=2)
    headers = {"Foldline_Generation": "2"}
    with waiting(world, monkeypatch, "/orders/o1", "orders/o1@2", **headers) as answer:
        world.write("order-details", detail("o1", 2), generation=2)
        found = answer.result(timeout=10)
    assert found.json["version"] == 2


@pytest.mark.parametrize("name", PATHS)
def test_a_generation_that_is_not_there_is_not_found(world: World, name: str) -> None:
    world.write(name, DOCUMENTS[name]("o1"))
    world.add(name, 2, "dropped")
    for number in ("2", "3", "999999999"):
        answer = world.get(PATHS[name], Foldline_Generation=number)
        assert answer.status_code == 404
        assert answer.content_type == "application/problem+json"
        assert answer.json["type"] == "/problems/no-such-generation"
    waits = {"Foldline_Token": "orders/o1@9", "Foldline_Generation": "2"}
    assert world.get(PATHS[name], **waits).status_code == 404


@pytest.mark.parametrize("number", ["0", "-1", "one", "", "1.0", "1, 2", "1" * 10])
def test_a_malformed_generation_is_refused(world: World, number: str) -> None:
    for path in (*PATHS.values(), "/customers/c1/orders", "/projections", "/parked"):
        answer = world.get(path, Foldline_Generation=number)
        assert answer.status_code == 400
        assert answer.json["errors"][0]["parameter"] == "Foldline-Generation"


def test_a_generation_of_all_read_models_cannot_be_named(world: World) -> None:
    for path in ("/projections", "/parked"):
        answer = world.get(path, Foldline_Generation="1")
        assert answer.status_code == 400
        assert answer.json["errors"][0]["parameter"] == "Foldline-Generation"


def test_parked_events_of_a_named_generation_are_shown(world: World) -> None:
    world.write("order-details", detail("o1"))
    world.write("order-details", parked=(parked("o1"),), generation=2)
    assert world.get("/parked/order-details/o1").status_code == 404
    answer = world.get("/parked/order-details/o1", Foldline_Generation="2")
    assert answer.json["aggregates"][0]["generation"] == 2


def reads_of(world: World, name: str, query: str = "") -> list[str]:
    answer = world.get(f"/projections/{name}/reads{query}")
    assert answer.status_code == 200
    assert all(each["at"].endswith("Z") for each in answer.json["reads"])
    return [each["path"] for each in answer.json["reads"]]


def test_the_latest_reads_can_be_asked_again(world: World) -> None:
    world.write("order-summaries", summary("o1"), summary("o2"))
    paths = [
        "/orders?customerId=c1&limit=1",
        "/customers/c1/orders",
        "/orders?createdFrom=2026-03-01",
    ]
    cursor = world.get(paths[0]).json["nextCursor"]
    paths.append(f"/orders?customerId=c1&limit=1&cursor={cursor}")
    for path in [*paths[1:], paths[0]]:
        assert world.get(path).status_code == 200
    expected = [paths[0], paths[3], paths[2], paths[1]]
    assert reads_of(world, "order-summaries") == expected
    assert reads_of(world, "order-summaries", "?limit=2") == expected[:2]
    for path in expected:
        assert world.get(path).status_code == 200
    assert reads_of(world, "order-details") == []


def test_text_that_was_searched_for_is_quoted(world: World) -> None:
    world.write("order-search", detail("o1"))
    world.get("/search?q=zo%C3%AB+%26%25")
    world.client.get("/search", query_string="q=zoë")
    assert reads_of(world, "order-search") == ["/search?q=zo%C3%AB", "/search?q=zo%C3%AB+%26%25"]


def test_reads_that_fail_or_name_a_generation_are_not_remembered(world: World) -> None:
    world.write("order-details", detail("o1"))
    world.write("order-analytics", analytics("o1"))
    world.get("/orders/o1", Foldline_Generation="1")
    world.get("/orders/o2")
    world.get("/orders/o1?minVersion=9", Prefer="wait=0")
    world.get("/stats/daily?from=x")
    world.get("/parked/order-details/o1")
    assert reads_of(world, "order-details") == []
    assert reads_of(world, "order-analytics") == []


def test_reads_of_what_is_not_there(world: World) -> None:
    assert world.get("/projections/none/reads").status_code == 404
    for limit in ("0", "201", "x"):
        answer = world.get(f"/projections/order-details/reads?limit={limit}")
        assert answer.json["errors"][0]["parameter"] == "limit"


@pytest.mark.parametrize("name", PATHS)
def test_projections_tell_their_generations_and_the_rebuild(world: World, name: str) -> None:
    progress = Progress(
        records_processed=50,
        records_total=200,
        percent=25.0,
        rate_per_second=10.5,
        eta_seconds=None,
    )
    operation = Operation(
        id="op-1", strategy="BlueGreen", step="loading", base=2, targets={}, progress=progress
    )
    world.write(name, DOCUMENTS[name]("o1"))
    world.write(name, DOCUMENTS[name]("o1"), generation=2)
    world.add(name, 3, "building", fold_version=7, rebuild=operation.to_record())
    world.flip(name, 2)
    world.become(name, 1, "dropped")
    shown = {each["projection"]: each for each in world.get("/projections").json["projections"]}
    own = shown[world.models[name].name]
    assert (own["activeGeneration"], own["previousGeneration"]) == (2, 1)
    assert own["flippedAt"].endswith("Z")
    assert [(each["generation"], each["state"]) for each in own["generations"]] == [
        (1, "dropped"),
        (2, "following"),
        (3, "building"),
    ]
    assert own["generations"][0]["foldVersion"] == own["foldVersion"]
    assert own["generations"][1]["rebuild"] is None
    assert own["generations"][2] == {
        "generation": 3,
        "state": "building",
        "foldVersion": 7,
        "rebuild": {
            "id": "op-1",
            "strategy": "BlueGreen",
            "step": "loading",
            "progress": {
                "recordsProcessed": 50,
                "recordsTotal": 200,
                "percent": 25.0,
                "ratePerSecond": 10.5,
                "etaSeconds": None,
            },
        },
    }
