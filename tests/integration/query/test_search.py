"""What a search finds, counts and marks."""

from typing import Any

import pytest

from .conftest import World
from .rows import ADDRESS, detail, item

pytestmark = pytest.mark.integration


@pytest.fixture
def shop(world: World) -> World:
    world.write(
        "order-search",
        detail("o1", name="Renée Dubois", items=[item("p1", "Wireless Keyboard")], total="39.98"),
        detail(
            "o2",
            items=[item("p1", "Wireless Keyboard"), item("p2", "Café crème")],
            customerId="c2",
            status="PAID",
            total="100.00",
            note="<b>gift</b> for Zoë",
        ),
        detail(
            "o3",
            items=[item("p3", "Bicycle bell")],
            status="CANCELLED",
            total="0.0001",
            reason="arrived damaged",
            shipping=ADDRESS,
        ),
    )
    return world


def search(world: World, **query: str) -> Any:
    answer = world.client.get("/search", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def found(world: World, **query: str) -> list[str]:
    return sorted(each["orderId"] for each in search(world, **query)["items"])


@pytest.mark.parametrize(
    ("words", "orders"),
    [
        ("keyboard", ["o1", "o2"]),
        ("keybord", ["o1", "o2"]),
        ("WIRLESS keybaord", ["o1", "o2"]),
        ("cafe creme", ["o2"]),
        ("CAFÉ", ["o2"]),
        ("renee", ["o1"]),
        ("zoe", ["o2", "o3"]),
        ("gift", ["o2"]),
        ("damagd", ["o3"]),
        ("lodz", ["o3"]),
        ("hauptstrasse", ["o3"]),
        ("keyboard renee", ["o1"]),
        ("keyboard bicycle", []),
        ("zeppelin", []),
        ("!!!", []),
        ("   ", []),
        ("\x00 AND title:*", []),
    ],
)
def test_words_are_found(shop: World, words: str, orders: list[str]) -> None:
    assert found(shop, q=words) == orders


def test_what_was_typed_right_comes_first(world: World) -> None:
    world.write(
        "order-search",
        detail("o1", items=[item("p1", "Beard trimmer")]),
        detail("o2", items=[item("p2", "Board game")]),
    )
    items = search(world, q="board")["items"]
    assert [each["orderId"] for each in items] == ["o2", "o1"]
    assert items[0]["score"] > items[1]["score"]


def test_without_words_all_are_found_newest_first(world: World) -> None:
    world.write(
        "order-search",
        detail("o1", createdAt="2026-03-01T00:00:00.000000Z"),
        detail("o2", createdAt="2026-03-02T00:00:00.000000Z"),
    )
    body = search(world)
    assert [each["orderId"] for each in body["items"]] == ["o2", "o1"]
    assert body["items"][0]["score"] is None
    assert body["items"][0]["highlights"] == {}


def test_filters_narrow_the_result(shop: World) -> None:
    assert found(shop, status="PAID") == ["o2"]
    assert found(shop, customerId="c1") == ["o1", "o3"]
    assert found(shop, minTotal="39.98") == ["o1", "o2"]
    assert found(shop, maxTotal="39.98") == ["o1", "o3"]
    assert found(shop, minTotal="0.0002", maxTotal="39.9799") == []
    assert found(shop, q="keyboard", status="PAID", minTotal="100") == ["o2"]


def test_facets_count_all_that_is_found(shop: World) -> None:
    body = search(shop, q="keyboard", limit="1")
    assert body["total"] == 2
    assert len(body["items"]) == 1
    assert body["facets"] == {
        "status": [{"value": "CREATED", "count": 1}, {"value": "PAID", "count": 1}],
        "customerId": [{"value": "c1", "count": 1}, {"value": "c2", "count": 1}],
        "productId": [{"value": "p1", "count": 2}, {"value": "p2", "count": 1}],
    }


def test_highlights_mark_what_was_found_and_escape_the_rest(shop: World) -> None:
    (hit,) = search(shop, q="zoe", status="PAID")["items"]
    assert hit["highlights"] == {
        "note": ["&lt;b&gt;gift&lt;&#x2F;b&gt; for <em>Zoë</em>"],
    }
    (first,) = search(shop, q="keybord dubois")["items"]
    assert first["highlights"]["items.name"] == ["Wireless <em>Keyboard</em>"]
    assert first["highlights"]["customerName"] == ["Renée <em>Dubois</em>"]


def test_a_hit_has_the_fields_of_a_summary(shop: World) -> None:
    (hit,) = search(shop, q="renee")["items"]
    assert {name: value for name, value in hit.items() if name not in ("score", "highlights")} == {
        "orderId": "o1",
        "customerId": "c1",
        "customerName": "Renée Dubois",
        "status": "CREATED",
        "total": "39.98",
        "currency": "EUR",
        "itemCount": 1,
        "createdAt": "2026-03-01T12:30:15.123456Z",
        "updatedAt": "2026-03-01T12:30:15.123456Z",
        "version": 1,
    }


def test_as_many_words_as_allowed_are_found_in_a_large_vocabulary(world: World) -> None:
    """So many fuzzy words, fields and likenesses stay below the store's limit of clauses."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    world.write(
        "order-search",
        *(
            detail(
                f"o{n}",
                name=f"zz{letters[n]}zz",
                note=" ".join(f"zz{letters[n]}{a}z{b}" for a in letters for b in letters[:6]),
                items=[item("p1", " ".join(f"{letters[n]}{a}ab" for a in letters))],
            )
            for n in range(26)
        ),
    )
    words = " ".join(f"{letters[n]}bab zzb{letters[n]}za" for n in range(8))
    assert search(world, q=words, limit="26")["total"] < 26
    assert "o0" in found(world, q="abab", limit="26")
    one = search(world, q="zzazz")
    assert one["items"][0]["highlights"]["customerName"] == ["<em>zzazz</em>"]


def test_totals_are_exact_above_ten_thousand(world: World) -> None:
    world.write("order-search", *(detail(f"o{n}") for n in range(10_050)))
    assert search(world, limit="1")["total"] == 10_050
