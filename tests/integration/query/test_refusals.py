"""Bad requests, stores that are away, and what is not there."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from foldline_query.config import Settings

from .conftest import World
from .rows import DOCUMENTS, analytics, detail, parked, summary
from .test_reads import PATHS

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/orders?limit=0", "limit"),
        ("/orders?limit=201", "limit"),
        ("/orders?limit=ten", "limit"),
        ("/orders?limit=5.0", "limit"),
        ("/orders?limit=", "limit"),
        ("/orders?limit=1&limit=2", "limit"),
        ("/orders?status=paid", "status"),
        ("/orders?sort=version", "sort"),
        ("/orders?count=yes", "count"),
        ("/orders?customerId=a%20b", "customerId"),
        ("/orders?customerId=", "customerId"),
        ("/orders?createdFrom=yesterday", "createdFrom"),
        ("/orders?createdFrom=2026-02-30", "createdFrom"),
        ("/orders?createdTo=2026-03-01T00:00:00", "createdTo"),
        ("/orders?createdFrom=0001-01-01T00:00:00%2B14:00", "createdFrom"),
        ("/orders?cursor=abc", "cursor"),
        ("/orders?cursor=%C3%A4", "cursor"),
        ("/orders?cursor=", "cursor"),
        ("/orders?nonsense=1", "nonsense"),
        ("/customers/c1/orders?customerId=c1", "customerId"),
        ("/customers/a%20b/orders", "id"),
        ("/orders/a%20b", "id"),
        ("/orders/" + "a" * 65, "id"),
        ("/orders/o1?minVersion=0", "minVersion"),
        ("/orders/o1?minVersion=x", "minVersion"),
        ("/orders/o1?limit=1", "limit"),
        ("/stats/daily?from=2026-03-02&to=2026-03-01", "from"),
        ("/stats/daily?from=2016-01-01&to=2026-01-09", "to"),
        ("/stats/daily?from=2026-03-01T00:00:00Z", "from"),
        ("/stats/daily?currency=euro", "currency"),
        ("/search?q=", "q"),
        ("/search?q=" + "a" * 201, "q"),
        ("/search?q=" + "+".join("ab" for _ in range(17)), "q"),
        ("/search?minTotal=1e3", "minTotal"),
        ("/search?maxTotal=-1", "maxTotal"),
        ("/search?cursor=x", "cursor"),
        ("/projections?a=1", "a"),
        ("/parked?limit=0", "limit"),
    ],
)
def test_a_bad_parameter_is_named(world: World, path: str, parameter: str) -> None:
    world.write("order-summaries", summary("o1"))
    answer = world.get(path)
    assert answer.status_code == 400, answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.json["type"] == "/problems/bad-parameter"
    assert parameter in [each["parameter"] for each in answer.json["errors"]]


def test_the_longest_window_is_served(world: World) -> None:
    world.write("order-analytics", analytics("o1"))
    assert world.get("/stats/daily?from=2016-01-01&to=2026-01-07").status_code == 200
    assert world.get("/stats/daily?from=2016-01-01&to=2026-01-08").status_code == 400


def test_every_fault_is_named_at_once(world: World) -> None:
    answer = world.get("/orders?limit=0&sort=x&nonsense=1")
    assert {each["parameter"] for each in answer.json["errors"]} == {"limit", "sort", "nonsense"}


def test_what_is_not_there_is_a_problem(world: World) -> None:
    for path in ("/", "/nothing", "/orders/", "/parked/none/o1", "/problems/none"):
        answer = world.get(path)
        assert answer.status_code == 404, path
        assert answer.content_type == "application/problem+json"
    answer = world.client.post("/orders")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.content_type == "application/problem+json"


@pytest.fixture(params=["refused", "silent"])
def dead_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port where nobody listens, and one where somebody never answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        if request.param == "silent":
            held.listen(50)
        yield held.getsockname()[1]


def test_stores_that_are_away_are_unavailable_and_never_an_error(
    make_world: Callable[[Settings], World], dead_port: int
) -> None:
    at = f"127.0.0.1:{dead_port}"
    world = make_world(
        replace(
            Settings.from_env(os.environ),
            read_database_url=f"postgresql://foldline@{at}/foldline_read",
            mongodb_url=f"mongodb://{at}/foldline_read?replicaSet=rs0",
            clickhouse_url=f"http://{at}/foldline_read",
            elasticsearch_url=f"http://{at}",
            store_timeout_seconds=1,
        )
    )
    for path in PATHS.values():
        for headers in ({}, {"Foldline_Token": "orders/o1@1", "Prefer": "wait=3"}):
            answer = world.get(path, **headers)
            assert answer.status_code == 503, answer.text
            assert answer.json["type"] == "/problems/unavailable"
            assert answer.headers["Retry-After"]
    ready = world.get("/readyz")
    assert ready.status_code == 503
    assert ready.json["stores"]["mongodb"] != "ok"
    assert world.get("/healthz").status_code == 200
    everywhere = world.get("/projections")
    assert everywhere.status_code == 200
    assert {each["freshness"]["reason"] for each in everywhere.json["projections"]} == {
        "unavailable"
    }
    assert everywhere.headers["Foldline-Stale"] == "true"


def test_one_store_that_is_away_leaves_the_others_serving(
    make_world: Callable[[Settings], World],
) -> None:
    settings = Settings.from_env(os.environ)
    world = make_world(replace(settings, elasticsearch_url="http://127.0.0.1:1"))
    for name in ("order-summaries", "order-details", "order-analytics"):
        world.write(name, DOCUMENTS[name]("o1"))
        assert world.get(PATHS[name]).status_code == 200
    assert world.get("/search").status_code == 503
    shown = {each["projection"]: each for each in world.get("/projections").json["projections"]}
    name = world.models["order-summaries"].name
    assert shown[name]["activeGeneration"] == 1
    assert shown[world.models["order-search"].name]["error"]
    assert world.get("/parked").json["unavailable"] == [world.models["order-search"].name]


def test_projections_show_every_partition(world: World) -> None:
    for name in PATHS:
        world.write(name, DOCUMENTS[name]("o1"))
    answer = world.get("/projections", Foldline_Token="orders/o1@1")
    assert answer.status_code == 200
    assert answer.headers["Foldline-Stale"] == "false"
    assert answer.headers["Foldline-As-Of"] == answer.json["freshness"]["asOf"]
    for each in answer.json["projections"]:
        assert each["activeGeneration"] == 1
        assert each["foldVersion"] >= 1
        assert each["partitions"][0] == {
            "topic": each["partitions"][0]["topic"],
            "partition": 0,
            "position": 10,
            "end": 10,
            "lag": 0,
            "lagSeconds": 0,
            "asOf": each["partitions"][0]["asOf"],
        }


def test_projections_wait_for_tokens_too(world: World) -> None:
    for name in PATHS:
        world.write(name, DOCUMENTS[name]("o1", 1))
    answer = world.get("/projections", Foldline_Token="orders/o1@2", Prefer="wait=0")
    assert answer.status_code == 504


@pytest.mark.parametrize("name", PATHS)
def test_parked_aggregates_are_listed_with_their_first_bad_event(world: World, name: str) -> None:
    world.write(
        name,
        DOCUMENTS[name]("o1"),
        parked=(
            parked("o1", 100, value=b"\xff\x00", version=None, event_id=None, reason="undecodable"),
            parked("o1", 101, reason="blocked", version=3),
            parked("o1", 102, reason="blocked", version=4),
            parked("o2", 103, reason="gap", version=7),
        ),
    )
    projection = world.models[name].name
    own = [each for each in world.get("/parked").json["items"] if each["projection"] == projection]
    assert [(each["id"], each["reason"], each["waiting"]) for each in own][:2] == [
        ("o1", "undecodable", 2),
        ("o2", "gap", 0),
    ]
    assert own[0]["firstEvent"]["offset"] == 100
    assert own[0]["kind"] == "orders"
    (one,) = world.get(f"/parked/{name}/o1").json["aggregates"]
    assert [each["reason"] for each in one["events"]] == ["undecodable", "blocked", "blocked"]
    assert one["events"][0]["value"] is None
    assert one["events"][0]["valueBase64"] == "/wA="
    assert one["events"][1]["value"] == '{"type":"X"}'
    assert world.get(f"/parked/{name}/o9").status_code == 404
    assert world.get(f"/parked/{name}/a%00b").status_code == 400


def test_metrics_count_requests_waits_and_stale_answers(world: World) -> None:
    world.write("order-details", detail("o1"), parked=(parked("o1"),))
    world.get("/orders/o1", Foldline_Token="orders/o1@1")
    text = world.get("/metrics").text
    for sample in (
        'foldline_query_requests_total{route="/orders/<order_id>",status="200"}',
        'foldline_query_seconds_bucket{le="0.001",route="/orders/<order_id>"}',
        'foldline_query_stale_total{reason="parked",route="/orders/<order_id>"}',
        "foldline_query_wait_seconds_count{",
    ):
        assert sample in text


def test_the_console_is_one_page_that_loads_nothing_from_elsewhere(world: World) -> None:
    page = world.get("/console")
    assert page.status_code == 200
    assert page.content_type.startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "//" not in page.text.replace("<!doctype", "")
    assert world.get("/console/console.js").status_code == 200
    assert world.get("/console/console.css").status_code == 200


def test_every_get_answers_head(world: World) -> None:
    world.write("order-details", detail("o1"))
    answer = world.client.head("/orders/o1")
    assert answer.status_code == 200
    assert answer.data == b""
    assert answer.headers["ETag"]
