"""A slow machine is waited for as long as something moves; what stands still is given up."""

import pytest

from foldline_local.patience import Patience


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def lasts(clock, progress, **bounds):
    """The seconds after which a wait with this progress is given up."""
    patience = Patience(progress=lambda: progress(clock.now), clock=clock, **bounds)
    while not patience.is_over():
        clock.now += 1
    return patience.seconds


def test_what_never_moves_is_given_up_after_the_quiet_time(clock):
    assert lasts(clock, lambda _: "still", quiet=90) == 91


def test_what_moves_is_waited_for_until_it_stops(clock):
    assert lasts(clock, lambda now: min(now, 300) // 60, quiet=90) == 300 + 91


def test_what_moves_for_ever_is_given_up_in_the_end(clock):
    assert lasts(clock, lambda now: now, quiet=90, most=900) == 901


def test_a_wait_says_now_and_then_that_it_goes_on(clock):
    patience = Patience(90, lambda: None, news=30, clock=clock)
    told = []
    for _ in range(100):
        clock.now += 1
        if patience.has_news():
            told.append(clock.now)
    assert told == [31, 62, 93]
