"""SIGKILL for random task processes, as an out-of-memory killer does: no handler runs, nothing is flushed.

Only processes that the scheduler of the tests started are ever killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter

from tests.airflow.cluster import Run, TaskRow


class Killer:
    """Kills one running task process now and then.

    :param mean_seconds: between two kills. :param kills_per_task: of one task instance at most, so that
        retries are left.
    """

    def __init__(self, run: Run, chance: random.Random, *, mean_seconds: float, kills_per_task: int) -> None:
        self._run = run
        self._chance = chance
        self._mean_seconds = mean_seconds
        self._kills_per_task = kills_per_task
        self._killed: Counter[int] = Counter()
        self._next_at = time.monotonic() + self._pause()

    @property
    def kills(self) -> int:
        return self._killed.total()

    def strike(self) -> None:
        """Kill one task process, if it is time and there is one to kill."""
        if time.monotonic() < self._next_at:
            return
        victims = [row for row in self._run.tasks() if self._may_die(row)]
        if victims:
            row = self._chance.choice(victims)
            if kill(self._run, row):
                self._killed[row.map_index] += 1
            self._next_at = time.monotonic() + self._pause()

    def _may_die(self, row: TaskRow) -> bool:
        return (
            row.state == "running"
            and row.pid is not None
            and self._killed[row.map_index] < self._kills_per_task
        )

    def _pause(self) -> float:
        return self._chance.expovariate(1 / self._mean_seconds)


def kill(run: Run, row: TaskRow) -> bool:
    """SIGKILL the process of a task instance; False when it was gone already."""
    scheduler = run.cluster.children["scheduler"].pid
    with contextlib.suppress(ProcessLookupError):
        if row.pid is not None and os.getsid(row.pid) == scheduler:  # the pid may be somebody else's by now
            os.kill(row.pid, signal.SIGKILL)
            return True
    return False
