"""Keyset pages: no row missed, none doubled, whatever is tied."""

import os
import random
from typing import Any

import psycopg
import pytest
from psycopg import sql

from foldline_contracts.readmodels import ReadModel

from .conftest import World
from .rows import detail, summary

pytestmark = pytest.mark.integration
MOST_PAGES = 60
SORTS = ("-createdAt", "createdAt", "-total", "total", "-updatedAt")


def walk(world: World, path: str) -> list[dict[str, Any]]:
    """All items, page by page."""
    items: list[dict[str, Any]] = []
    cursor = ""
    for _ in range(MOST_PAGES):
        body = world.get(f"{path}{cursor}").json
        items += body["items"]
        if body["nextCursor"] is None:
            return items
        assert body["items"]
        cursor = f"&cursor={body['nextCursor']}"
    raise AssertionError(f"the walk has no end: {[item['orderId'] for item in items]}")


def scattered(count: int, seed: int) -> list[dict[str, str]]:
    """Fields that are tied often, in every sort."""
    dice = random.Random(seed)
    return [
        {
            "createdAt": f"2026-03-0{dice.randint(1, 3)}T00:00:00.00000{dice.randint(0, 2)}Z",
            "updatedAt": f"2026-03-0{dice.randint(1, 3)}T00:00:00.000000Z",
            "total": dice.choice(["0.00", "0.0001", "10.00", "9.99"]),
            "status": dice.choice(["PAID", "SHIPPED"]),
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("limit", [1, 7])
@pytest.mark.parametrize("sort", SORTS)
def test_a_walk_gives_every_order_once_in_order(world: World, sort: str, limit: int) -> None:
    fields = scattered(40, seed=limit)
    world.write("order-summaries", *(summary(f"o{n}", **each) for n, each in enumerate(fields)))
    items = walk(world, f"/orders?sort={sort}&limit={limit}")
    name = sort.removeprefix("-")

    def key(item: dict[str, Any]) -> tuple[Any, str]:
        value = float(item[name]) if name == "total" else item[name]
        return value, item["orderId"]

    assert sorted(item["orderId"] for item in items) == sorted(f"o{n}" for n in range(40))
    assert items == sorted(items, key=key, reverse=sort.startswith("-"))


@pytest.mark.parametrize("sort", SORTS)
def test_ties_are_ordered_by_the_query_and_not_by_an_index(world: World, sort: str) -> None:
    orders = [summary(f"o{n}") for n in range(40)]
    random.Random(1).shuffle(orders)
    world.write("order-summaries", *orders)
    drop_indexes(world.models["order-summaries"])
    ids = [item["orderId"] for item in walk(world, f"/orders?sort={sort}&limit=7")]
    assert ids == sorted(ids, reverse=sort.startswith("-"))
    assert len(ids) == 40


def drop_indexes(model: ReadModel) -> None:
    table = model.documents(1)
    with psycopg.connect(os.environ["FOLDLINE_READ_DATABASE_URL"]) as connection:
        for suffix in model.indexes:
            found = connection.execute(
                "SELECT indexname FROM pg_indexes WHERE tablename = %s AND indexname LIKE %s",
                (table, f"%{suffix}"),
            ).fetchall()
            for (name,) in found:
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))


def test_a_walk_keeps_to_its_filters(world: World) -> None:
    fields = scattered(30, seed=3)
    world.write("order-summaries", *(summary(f"o{n}", **each) for n, each in enumerate(fields)))
    items = walk(world, "/orders?status=PAID&limit=4")
    paid = sum(each["status"] == "PAID" for each in fields)
    assert len(items) == paid
    assert {item["status"] for item in items} == {"PAID"}


def test_a_cursor_is_bound_to_its_filters_and_sort(world: World) -> None:
    world.write("order-summaries", summary("o1"), summary("o2"))
    cursor = world.get("/orders?limit=1&status=CREATED").json["nextCursor"]
    assert world.get(f"/orders?status=CREATED&cursor={cursor}").status_code == 200
    for query in ("", "status=PAID&", "status=CREATED&sort=total&", "status=CREATED&customerId=c&"):
        answer = world.get(f"/orders?{query}cursor={cursor}")
        assert answer.status_code == 400
        assert answer.json["errors"][0]["parameter"] == "cursor"
    changed = cursor[:-3] + ("A" if cursor[-3] != "A" else "B") + cursor[-2:]
    assert world.get(f"/orders?status=CREATED&cursor={changed}").status_code == 400


def test_a_walk_survives_a_flip(world: World) -> None:
    orders = [summary(f"o{n}", createdAt=f"2026-03-0{n}T00:00:00.000000Z") for n in range(1, 7)]
    world.write("order-summaries", *orders)
    world.write("order-summaries", *orders, generation=2)
    first = world.get("/orders?limit=3").json
    world.flip("order-summaries", 2)
    answer = world.get(f"/orders?limit=3&cursor={first['nextCursor']}")
    assert answer.headers["Foldline-Generation"] == "2"
    ids = [item["orderId"] for item in first["items"] + answer.json["items"]]
    assert ids == ["o6", "o5", "o4", "o3", "o2", "o1"]


@pytest.mark.parametrize("query", ["q=teapot&", ""])
def test_a_walk_through_a_search_gives_every_order_once(world: World, query: str) -> None:
    world.write("order-search", *(detail(f"o{n}") for n in range(23)))
    items = walk(world, f"/search?{query}limit=5")
    assert [item["orderId"] for item in items] == sorted(f"o{n}" for n in range(23))


def test_a_search_cursor_is_bound_to_its_words(world: World) -> None:
    world.write("order-search", detail("o1"), detail("o2"))
    cursor = world.get("/search?q=teapot&limit=1").json["nextCursor"]
    assert world.get(f"/search?q=teapots&limit=1&cursor={cursor}").status_code == 400
    assert world.get(f"/search?q=teapot&limit=2&cursor={cursor}").status_code == 200
