"""The memory of a process: what the provider keeps for a whole process lies in its modules, and our processes
share one Python.

So each simulated process has a copy of its own, which is put in place when the process goes on. No code is
replaced.
"""

from __future__ import annotations

import threading
from typing import Any

from airflow_provider_seedream.landing import memory as landing
from airflow_provider_seedream.ledger import books, prices
from airflow_provider_seedream.polling.schedule import SCHEDULE
from airflow_provider_seedream.rate_limit import limiter
from airflow_provider_seedream.storage import folder


class Memory:
    """The memory of one process: empty when it starts, gone when it ends."""

    def __init__(self) -> None:
        self._values: list[tuple[Any, str, Any]] = [
            (folder, "_exclusive", {}),  # the destinations that were tested
            (folder, "_probing", threading.Lock()),
            (books, "_books", {}),
            (books, "_making", threading.Lock()),
            (limiter, "_limiters", {}),  # the pace of each connection
            (limiter, "_lock", threading.Lock()),
        ]
        # Objects that functions hold by their name in another module: what is in them is exchanged.
        self._inside = [
            (prices._TRAFFIC, vars(prices.Traffic())),
            (landing.MEMORY, vars(landing.BytesInFlight(landing.MAX_BYTES_IN_FLIGHT))),
        ]

    def put_in_place(self) -> None:
        """The process goes on: the modules hold what it knows."""
        for module, name, value in self._values:
            setattr(module, name, value)
        for kept, inside in self._inside:
            kept.__dict__ = inside


def forget() -> None:
    """A new night: durations of the jobs of another one are not known."""
    SCHEDULE.forget()
    Memory().put_in_place()
