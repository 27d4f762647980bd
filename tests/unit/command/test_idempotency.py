"""`Idempotency-Key`: which headers are keys, and which commands are the same."""

from typing import Any

import pytest

from foldline_command.idempotency import MAX_LENGTH, fingerprint, parse


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("7f3a", "7f3a"),
        ("  7f3a ", "7f3a"),
        ('"7f3a"', "7f3a"),
        ('"with space"', "with space"),
        (r'"a\"b"', 'a"b'),
        (r'"a\\b"', r"a\b"),
        (r'"a\\"', "a\\"),
        (r'"\\\""', r"\""),
        ("x" * MAX_LENGTH, "x" * MAX_LENGTH),
        (f'"{"x" * MAX_LENGTH}"', "x" * MAX_LENGTH),
    ],
)
def test_a_key_is_bare_or_quoted(header: str, key: str) -> None:
    assert parse(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "",
        "  ",
        '""',
        '"',
        '"open',
        'shut"',
        r'"open\"',
        r'"a\b"',
        '"a"b"',
        '"a", "b"',
        r'"a\\"b"',
        "x" * (MAX_LENGTH + 1),
        f'"{"x" * (MAX_LENGTH + 1)}"',
        "schlüssel",
        '"schlüssel"',
        "a\tb",
        '"a\x00b"',
        "a\x7f",
    ],
)
def test_what_is_no_key_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match=r"printable|quote"):
        parse(header)


def test_no_two_quoted_headers_name_one_key() -> None:
    headers = [r'"a\\b"', r'"a\\\\b"', r'"a\"b"', r'"a\\\"b"', '"a"', '"a "']
    assert len({parse(header) for header in headers}) == len(headers)


COMMAND: dict[str, Any] = {
    "method": "POST",
    "path": "/orders",
    "if_match": None,
    "body": {"a": 1, "b": [1, {"c": "x"}]},
}


def test_the_order_of_fields_does_not_count() -> None:
    reordered = {"b": [1, {"c": "x"}], "a": 1}
    assert fingerprint(**COMMAND) == fingerprint(**COMMAND | {"body": reordered})


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/orders/o"},
        {"if_match": '"1"'},
        {"if_match": ""},
        {"body": {}},
        {"body": {"a": "1", "b": [1, {"c": "x"}]}},
        {"body": {"a": True, "b": [1, {"c": "x"}]}},
        {"body": {"a": 1, "b": [{"c": "x"}, 1]}},
        {"body": {"a": 1, "b": [1, {"c": None}]}},
        {"body": {"a": 1, "b": [1, {"c": "\ud800"}]}},
        {"body": None},
    ],
    ids=str,
)
def test_any_other_difference_counts(change: dict[str, Any]) -> None:
    assert fingerprint(**COMMAND) != fingerprint(**COMMAND | change)
