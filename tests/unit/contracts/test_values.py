"""Money, times, identifiers, tokens, slices: one text for one value, and nothing else accepted."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldline_contracts import identifiers, money, slices, times, tokens


@pytest.mark.parametrize(
    ("amount", "text"),
    [("39.98", "39.98"), ("5", "5.00"), ("0.0001", "0.0001"), ("1.230", "1.23"), ("0", "0.00")],
)
def test_money_has_one_text(amount: str, text: str) -> None:
    assert money.to_text(Decimal(amount)) == text


@given(st.integers(min_value=0, max_value=10**19 - 1))
def test_money_survives_its_text(minor: int) -> None:
    amount = Decimal(minor).scaleb(-4)
    assert money.parse(money.to_text(amount)) == amount


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "1.23456", ".5", "5.", "01", " 1", "1 ", "NaN", "1,5", "\u0661"]
)
def test_other_text_is_not_money(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        money.parse(text)


def test_times_are_written_in_utc_with_z() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    assert times.to_text(moment) == "2026-01-02T01:04:05.000006Z"
    assert times.from_text("2026-01-02T01:04:05.000006Z") == moment
    assert times.from_text("2026-01-02T01:04:05Z").tzinfo is UTC


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        times.to_text(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="zone"):
        times.from_text("2026-01-01T00:00:00")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-00:01"])
def test_a_time_that_utc_has_no_date_for_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="calendar"):
        times.from_text(text)


@pytest.mark.parametrize("text", ["a", "A.b_c~d-1", "x" * 64, "...", ".a", "a..", "~"])
def test_identifiers(text: str) -> None:
    assert identifiers.is_identifier(text)


@pytest.mark.parametrize("text", ["", "x" * 65, "a/b", "a b", "a@1", "é", "a\n", ".", ".."])
def test_what_is_no_identifier(text: str) -> None:
    assert not identifiers.is_identifier(text)


def test_a_token_survives_its_text() -> None:
    token = tokens.Token("orders", "a-1", 7)
    assert str(token) == "orders/a-1@7"
    assert tokens.parse(" orders/a-1@7 ") == token


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orders/a",
        "orders/a@0",
        "orders/a@-1",
        "orders/a@01",
        "a@1",
        "orders/a b@1",
        "orders/a@x",
    ],
)
def test_a_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="token"):
        tokens.parse(text)


@pytest.mark.parametrize(("key", "number"), [("a", 0x43), ("123456789", 0x26), ("é", 62)])
def test_a_key_keeps_its_slice_for_ever(key: str, number: int) -> None:
    assert slices.slice_of(key) == number


def test_the_first_map_names_every_partition() -> None:
    assert set(slices.initial_map(12)) == set(range(12))
    assert len(slices.initial_map(12)) == slices.SLICES
