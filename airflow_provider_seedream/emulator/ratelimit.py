"""A sliding window over the last minute. Pure: the clock is an argument."""

from __future__ import annotations

from collections import deque

from airflow_provider_seedream.emulator.facts import RATE_WINDOW_SECONDS


class RateLimit:
    """At most so many requests in any 60 s; refused requests do not count."""

    def __init__(self) -> None:
        self._granted: deque[float] = deque()

    def ask(self, per_minute: int, now: float) -> float:
        """0 when the request may pass (it then counts), else the seconds until one may."""
        if per_minute <= 0:
            return 0.0
        while self._granted and self._granted[0] <= now - RATE_WINDOW_SECONDS:
            self._granted.popleft()
        if len(self._granted) < per_minute:
            self._granted.append(now)
            return 0.0
        return self._granted[len(self._granted) - per_minute] + RATE_WINDOW_SECONDS - now

    def reset(self) -> None:
        self._granted.clear()
