"""The emulator's clock: the real time, plus the seconds by which a test has advanced it.

Safe to read and to advance from any thread. Never sleeps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Epoch seconds that can be moved forward, so that 24 hours pass in one call::

        emulator.clock.advance(24 * 3600)  # jobs end, links and results expire, the rate limit recovers

    :param source: the real clock.
    """

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._ahead_seconds = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Epoch seconds by this clock."""
        with self._lock:
            return self._source() + self._ahead_seconds

    def advance(self, seconds: float) -> float:
        """Move forward.

        :returns: the new time, in epoch seconds.
        :raises ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        with self._lock:
            self._ahead_seconds += seconds
        return self.now()

    def reset(self) -> None:
        """Back to real time."""
        with self._lock:
            self._ahead_seconds = 0.0

    @property
    def ahead_seconds(self) -> float:
        """The seconds by which this clock is ahead of the real one."""
        with self._lock:
            return self._ahead_seconds


def iso(epoch: float) -> str:
    """``2026-02-25T12:00:00Z``, as the API writes instants."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
