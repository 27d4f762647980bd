"""Cursors: what goes in comes out, for the same query only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline_query.pagination import BadCursor, decode, encode

BOUND = {"sort": "-total", "status": "PAID"}
KEYS = st.tuples(st.text() | st.floats(allow_nan=False, allow_infinity=False), st.text())


@given(KEYS)
def test_a_key_comes_back(key: tuple[str | float, str]) -> None:
    assert decode(encode(list(key), BOUND), BOUND, 2) == list(key)


def test_it_is_bound_to_the_query_whatever_the_order_of_its_parts() -> None:
    cursor = encode(["1.00", "o1"], BOUND)
    assert decode(cursor, dict(reversed(BOUND.items())), 2) == ["1.00", "o1"]
    for other in ({}, {**BOUND, "sort": "total"}, {**BOUND, "customer": "c1"}):
        with pytest.raises(BadCursor, match="other filters"):
            decode(cursor, other, 2)


@given(st.integers(min_value=0), st.sampled_from("ABCxyz019_-"))
def test_a_changed_cursor_is_a_bad_one(place: int, letter: str) -> None:
    cursor = encode(["10.00", "order-1"], BOUND)
    at = place % len(cursor)
    changed = cursor[:at] + letter + cursor[at + 1 :]
    if changed != cursor:
        with pytest.raises(BadCursor):
            decode(changed, BOUND, 2)


@given(st.text())
def test_any_text_is_a_bad_cursor(text: str) -> None:
    with pytest.raises(BadCursor):
        decode(text, BOUND, 2)


def test_a_key_of_another_shape_is_a_bad_cursor() -> None:
    with pytest.raises(BadCursor):
        decode(encode(["only-one"], BOUND), BOUND, 2)
