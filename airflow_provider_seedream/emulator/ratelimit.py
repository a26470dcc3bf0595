"""A sliding window over the last minute. Pure: the clock is an argument."""

from __future__ import annotations

from collections import deque

from airflow_provider_seedream.emulator.facts import RATE_WINDOW_SECONDS


class RateLimit:
    """At most so many requests in any 60 s. A refused request does not count.

    Example::

        limit = RateLimit()
        assert [limit.ask(1, now=0.0), limit.ask(1, now=20.0), limit.ask(1, now=60.0)] == [0.0, 40.0, 0.0]
    """

    def __init__(self) -> None:
        self._granted: deque[float] = deque()

    def ask(self, per_minute: int, now: float) -> float:
        """Let one request pass, or say how long it has to wait.

        :param per_minute: the limit; 0 for none.
        :param now: epoch seconds, the emulator's clock.
        :returns: 0 if the request may pass, which counts it; else the seconds until one may.
        """
        if per_minute <= 0:
            return 0.0
        while self._granted and self._granted[0] <= now - RATE_WINDOW_SECONDS:
            self._granted.popleft()
        if len(self._granted) < per_minute:
            self._granted.append(now)
            return 0.0
        return self._granted[len(self._granted) - per_minute] + RATE_WINDOW_SECONDS - now

    def reset(self) -> None:
        """Forget the requests of the last minute."""
        self._granted.clear()
