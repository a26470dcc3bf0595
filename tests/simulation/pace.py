"""The rate limit is kept: what a process may send at once, and what it may not send after a 429.

Each process has a limiter of its own, so several of them may exceed the limit of the key together: the API then says 429.
"""

from __future__ import annotations

from collections import defaultdict

from tests.simulation.night import Night, Process, Violation

# A turn counts when it is granted, and a POST follows its claim: where storage is slow, half a minute later. Two may then arrive
# closer together than they were granted, and the API refuses one, for free. The first POST of a process does not count here, as it
# waits for the tests of the store and for the books.
WINDOW_SECONDS = 60.0 - 30.0
EARLY_SECONDS = 1.0  # a wait is whole seconds


class Pace:
    """The POSTs of each process, as they arrive.

    :param requests_per_minute: the limit that the provider knows, or takes for granted.
    """

    def __init__(self, night: Night, requests_per_minute: float) -> None:
        self._night = night
        self._limit = requests_per_minute
        self._arrived: dict[Process, list[float]] = defaultdict(list)
        self._has_sent: dict[Process, bool] = defaultdict(bool)
        self._not_before: dict[Process, float] = {}

    def arrives(self) -> None:
        """A POST of the running process has arrived. Whoever was stopped, or whose clock was set, cannot keep a pace."""
        process, now = self._night.current, self._night.now
        if process is None or self._night.weather.stop or process.machine.jumps_at < float("inf"):
            return
        if now < self._not_before.get(process, 0.0) - EARLY_SECONDS:
            raise Violation(f"pace: {process.name} posts {self._not_before[process] - now:.0f} s before the end of a 429's wait")
        recent = self._arrived[process] = [at for at in self._arrived[process] if at > now - WINDOW_SECONDS]
        if self._has_sent[process]:
            recent.append(now)
        self._has_sent[process] = True
        if len(recent) > max(1, self._limit):
            raise Violation(f"pace: {process.name} has sent {len(recent)} POSTs in half a minute, and its limit is {self._limit:g}")

    def refused(self, wait_seconds: float) -> None:
        """The POST was answered with a 429, which counts toward no limit."""
        process = self._night.current
        if process is not None:
            self._not_before[process] = self._night.now + wait_seconds
            del self._arrived[process][-1:]
