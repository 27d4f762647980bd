"""How long to wait for something whose speed depends on the machine: as long as it moves."""

import time
from collections.abc import Callable

MOST_SECONDS = 900.0
ASK_SECONDS = 1.0


class Patience:
    """Ends after `quiet` seconds in which nothing moved, and in any case after `most`.

    `progress` gives anything that differs from the last time when there was some; it is asked once a second.
    `news` is how often somebody who watches wants to hear that the wait goes on.
    """

    def __init__(
        self,
        quiet: float,
        progress: Callable[[], object],
        *,
        news: float = 30.0,
        most: float = MOST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quiet = quiet
        self._progress = progress
        self._news = self._news_at = news
        self._most = most
        self._clock = clock
        self._began = self._moved = self._asked = clock()
        self._last = progress()

    @property
    def seconds(self) -> float:
        """How long the wait has lasted."""
        return self._clock() - self._began

    def has_news(self) -> bool:
        """Whether to say that the wait goes on; true at most every `news` seconds."""
        if self.seconds <= self._news_at:
            return False
        self._news_at = self.seconds + self._news
        return True

    def is_over(self) -> bool:
        """Whether to give up."""
        now = self._clock()
        if now - self._asked >= ASK_SECONDS:
            self._asked = now
            latest = self._progress()
            if latest != self._last:
                self._last, self._moved = latest, now
        return now - self._moved > self._quiet or now - self._began > self._most
