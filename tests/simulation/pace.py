"""The rate limit is kept: what a process may send at once, and what it may not send after a 429.

A process that is alone with the key, and knows its limit, meets a 429 only where the way to the API has
become shorter by seconds. Each process has a limiter of its own, so several of them may exceed the limit of
the key together: the API then says 429.
"""

from __future__ import annotations

from collections import defaultdict

from tests.simulation.night import LATENCIES, Night, Process, Violation

# A POST counts from its first byte. The API counts it when it arrives: between two of them the way there may
# shrink by the longest latency of a night, and the limiter's margin of 1 s covers a part of that only. So
# much closer they may arrive, and no more.
WINDOW_SECONDS = 60.0 - LATENCIES[-1]
EARLY_SECONDS = 1.0  # a wait is whole seconds


class Pace:
    """The POSTs of each process, as they arrive.

    :param requests_per_minute: the limit that the provider knows, or takes for granted.
    """

    def __init__(self, night: Night, requests_per_minute: float) -> None:
        self._night = night
        self._limit = requests_per_minute
        self._arrived: dict[Process, list[float]] = defaultdict(list)
        self._not_before: dict[Process, float] = {}

    def arrives(self) -> None:
        """A POST of the running process has arrived. Whoever was stopped, or whose clock was set, cannot
        keep a pace.
        """
        process, now = self._night.current, self._night.now
        if process is None or self._night.weather.stop or process.machine.jumps_at < float("inf"):
            return
        if now < self._not_before.get(process, 0.0) - EARLY_SECONDS:
            raise Violation(
                f"pace: {process.name} posts {self._not_before[process] - now:.0f} s before the end of a "
                "429's wait"
            )
        recent = self._arrived[process] = [at for at in self._arrived[process] if at > now - WINDOW_SECONDS]
        recent.append(now)
        if len(recent) > max(1, self._limit):
            raise Violation(
                f"pace: {process.name} sent {len(recent)} POSTs in {WINDOW_SECONDS:g} s, and its limit is "
                f"{self._limit:g}"
            )

    def refused(self, wait_seconds: float) -> None:
        """The POST was answered with a 429, which counts toward no limit."""
        process = self._night.current
        if process is not None:
            self._not_before[process] = self._night.now + wait_seconds
            del self._arrived[process][-1:]
