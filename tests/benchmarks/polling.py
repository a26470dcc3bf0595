"""Polling: generations that wait on one event loop, and how many of their polls reach the server on time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.benchmarks.measuring import Server, held_up_seconds, run_subject
from tests.benchmarks.polling_subject import WARNING_SECONDS, WATCHDOG_SECONDS

ON_TIME_SECONDS = 0.5  # a poll may reach the server so long after it was due


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """How the waiting went. ``wanted_per_second`` is what the interval and the server's latency allow.

    :param warnings: how often Airflow's triggerer would have warned. :param own_warnings: how often it would
        have warned if the loop had had a processor whenever it was ready to run. :param idle_warnings: how
        often it would have warned of a thread of another process that only sleeps: the machine's own doing.
        :param held_up_share: of the time, how long the loop or the server (the larger of the two) was ready
        to run while other work had the processors.
        :param stolen_share: of the machine's time, what its host gave to others.
    """

    on_time: float
    polls_per_second: float
    wanted_per_second: float
    p99_late_seconds: float
    cpu_share: float
    longest_block_seconds: float
    warnings: int
    own_warnings: int
    idle_warnings: int
    held_up_share: float
    stolen_share: float
    memory_bytes: int

    @property
    def cpu_per_poll(self) -> float:
        return self.cpu_share / self.polls_per_second


def measure_polling(
    way: str,
    server: Server,
    *,
    latency_seconds: float,
    waiting: int,
    seconds: float,
    poke_interval: float | None = 5.0,
    spread_seconds: float = 5.0,
) -> Polling:
    get_arrivals(server)
    arguments = {
        "way": way,
        "url": server.url,
        "bundle": server.bundle,
        "waiting": waiting,
        "poke_interval": poke_interval,
        "spread_seconds": spread_seconds,
        "seconds": seconds,
    }
    began, stolen, held_up = time.monotonic(), stolen_seconds(), held_up_seconds(server.pid)
    with idle_thread() as gaps:
        # aiohttp reads it when it is imported: for the http provider, which cannot be told otherwise.
        found = run_subject("polling_subject", arguments, environment={"SSL_CERT_FILE": server.bundle})
    passed, server_held_up = time.monotonic() - began, held_up_seconds(server.pid) - held_up
    late = lateness(found, get_arrivals(server))
    return Polling(
        on_time=sum(seconds <= ON_TIME_SECONDS for seconds in late) / len(late),
        polls_per_second=sum(one < float("inf") for one in late) / seconds,
        wanted_per_second=waiting / (poke_interval + latency_seconds)
        if poke_interval
        else due_per_second(found, seconds),
        stolen_share=(stolen_seconds() - stolen) / passed / (os.cpu_count() or 1),
        held_up_share=max(found["held_up_share"], server_held_up / passed),
        idle_warnings=sum(gap > WARNING_SECONDS for gap in gaps),
        p99_late_seconds=sorted(late)[int(len(late) * 0.99)],
        **{
            name: found[name]
            for name in ("cpu_share", "longest_block_seconds", "warnings", "own_warnings", "memory_bytes")
        },
    )


def lateness(found: dict[str, Any], arrivals: dict[str, list[float]]) -> list[float]:
    """Seconds from when each poll was due to when the server saw it; infinite for those it never saw."""
    late = []
    for name, due in found["due"].items():
        arrived = arrivals.get(name, [])
        for number, at in enumerate(due):
            if found["start"] <= at < found["end"] - ON_TIME_SECONDS:  # the rest still had time
                late.append(arrived[number] - at if number < len(arrived) else float("inf"))
    return late


def due_per_second(found: dict[str, Any], seconds: float) -> float:
    """Polls a second that the schedule asked for, in the measured time."""
    return sum(found["start"] <= at < found["end"] for due in found["due"].values() for at in due) / seconds


@contextmanager
def idle_thread() -> Iterator[list[float]]:
    """How long a thread that only sleeps was away each time, under the same load."""
    gaps: list[float] = []
    stop = threading.Event()

    def sleep() -> None:
        before = time.monotonic()
        while not stop.wait(WATCHDOG_SECONDS):
            gaps.append(time.monotonic() - before)
            before = time.monotonic()

    thread = threading.Thread(target=sleep)
    thread.start()
    try:
        yield gaps
    finally:
        stop.set()
        thread.join()


def stolen_seconds() -> float:
    """Of all processors, since the machine was started."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


def get_arrivals(server: Server) -> dict[str, list[float]]:
    answer = requests.get(f"{server.url}/arrivals", verify=server.bundle, timeout=60)
    arrivals: dict[str, list[float]] = answer.json()
    return arrivals
