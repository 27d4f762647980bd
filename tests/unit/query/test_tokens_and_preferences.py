"""Headers to what a request asks of freshness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from foldline_contracts.tokens import Token
from foldline_query.problems import Problem
from foldline_query.tokens import reading
from foldline_query.tokens.preferences import Preferences, parse


@pytest.mark.parametrize(
    ("header", "wait", "lenient", "applied"),
    [
        ("", 5, False, ""),
        ("wait=10", 10, False, "wait=10"),
        ("wait=0", 0, False, "wait=0"),
        ("WAIT = 10", 10, False, "wait=10"),
        ('wait="10"', 10, False, "wait=10"),
        ("wait=0.25", 0.25, False, "wait=0.25"),
        ("wait=31", 30, False, "wait=30"),
        ("wait=3, wait=9", 3, False, "wait=3"),
        ("wait=-1", 5, False, ""),
        ("wait=soon", 5, False, ""),
        ("wait", 5, False, ""),
        ("wait=inf", 5, False, ""),
        ("handling=lenient", 5, True, "handling=lenient"),
        ("handling=strict", 5, False, "handling=strict"),
        ("handling=Lenient; because=x, wait=1", 1, True, "wait=1, handling=lenient"),
        ('return=minimal, foo="a, wait=9", respond-async', 5, False, ""),
    ],
)
def test_preferences(header: str, wait: float, lenient: bool, applied: str) -> None:
    assert parse(header) == Preferences(wait, lenient, applied)


@given(st.text())
def test_any_header_is_read_without_failing(header: str) -> None:
    assert 0 <= parse(header).wait <= 30


def consistency(*lines: str) -> reading.Consistency:
    return reading.of(Headers([("Foldline-Token", line) for line in lines]))


def test_no_token_asks_for_nothing() -> None:
    assert consistency().tokens == ()
    assert consistency().generation is None


def test_a_generation_may_be_named() -> None:
    named = reading.of(Headers({"Foldline-Generation": "12"}))
    assert named.generation == 12
    assert named.and_also(Token("orders", "o1", 1)).generation == 12


@pytest.mark.parametrize(
    "lines", [[""], ["0"], ["-1"], ["01"], ["+1"], ["1.0"], ["1 2"], ["٣"], ["1" * 10], ["1", "2"]]
)
def test_a_malformed_generation_is_refused(lines: list[str]) -> None:
    with pytest.raises(Problem, match="Foldline-Generation"):
        reading.of(Headers([("Foldline-Generation", line) for line in lines]))


def test_tokens_may_be_repeated_or_listed() -> None:
    assert consistency("orders/o1@2, customers/c1@1", "orders/o2@3").tokens == (
        Token("orders", "o1", 2),
        Token("customers", "c1", 1),
        Token("orders", "o2", 3),
    )


def test_the_greatest_token_of_an_aggregate_counts() -> None:
    assert consistency("orders/o1@2", "orders/o1@9", "orders/o1@4").tokens == (
        Token("orders", "o1", 9),
    )


@pytest.mark.parametrize("bad", ["", "orders", "orders/o1@", "orders/o1@01", "o1@1", "a/b@1,,"])
def test_a_malformed_token_is_refused(bad: str) -> None:
    with pytest.raises(Problem) as caught:
        consistency(bad)
    assert caught.value.kind.status == 400


def test_more_tokens_than_anyone_needs_are_refused() -> None:
    with pytest.raises(Problem):
        consistency(",".join(f"orders/o{n}@1" for n in range(101)))
