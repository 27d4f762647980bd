"""Waiting in tests: until a check holds or a deadline passes, never a bare sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE_SECONDS = 0.02


def eventually(check: Callable[[], T], *, within: float) -> T:
    """Calls `check` until it returns something true; the last AssertionError or value is the failure."""
    deadline = time.monotonic() + within
    while True:
        failure: AssertionError | None = None
        try:
            result = check()
            if result:
                return result
        except AssertionError as error:
            failure = error
        if time.monotonic() >= deadline:
            raise failure or AssertionError(f"not true within {within} s: {check}")
        time.sleep(PAUSE_SECONDS)
