"""One night: a virtual clock, and processes that run one at a time and hand control back at every act.

An act is a call of the object store, of the API or of Airflow. Before and after each one a process may be
delayed, stopped for hours, or killed; meanwhile the others go on. Processes are greenlets, so a night needs
no threads and no locks, and equal choices give equal nights.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowTaskTimeout
from greenlet import getcurrent, greenlet

from airflow_provider_seedream.model import threads
from airflow_provider_seedream.model.clock import Clock, running
from tests.simulation.choices import Choices
from tests.simulation.memory import Memory

T = TypeVar("T")
BEGINS_EPOCH = 1_795_816_800.0  # 2026-11-27, 22:00 UTC: after two hours begins another day
_RANDOM = re.compile(
    r"\b([0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{16}|[0-9a-f]{8})(?![0-9a-f])"
)
LATENCIES = (0.02, 0.15, 0.7, 3.0)
# a machine that sleeps, a debugger, a swapped-out worker
STOPS = (4.0, 40.0, 90.0, 240.0, 2_000.0, 6 * 3600.0)


class KilledError(BaseException):
    """The process is gone: SIGKILL, a lost machine. Its ``finally`` blocks run in Python, but no act of
    them counts.
    """


class Violation(BaseException):
    """An invariant does not hold. Its first word is the invariant's name: a shrunk night must break the same
    one.

    No Exception: it is raised in the middle of an act, and the provider takes any error of a store for the
    store's.
    """


@dataclass(slots=True)
class Weather:
    """What may go wrong tonight, as the chance of each fault at each act.

    Most faults are off in most nights, so that some nights have many of one kind: rare sequences need that.
    """

    kill: float = 0.0
    stop: float = 0.0
    timeout: float = 0.0  # execution_timeout, or a person's "mark failed": the process may still clean up
    slow: float = 0.3
    refuse: float = 0.0  # the store: 503, nothing done
    lose: float = 0.0  # the store: done, and the answer lost
    repeat: float = 0.0  # the store's client sends the PUT again
    lag_seconds: float = 0.0  # of listings, at most
    # each change shows in its own time, so that what a listing shows proves nothing
    lag_scatters: bool = False
    unreachable: float = 0.0  # the API, before the first byte
    drop: float = 0.0  # the API: the connection breaks before or after the POST is accepted
    error: float = 0.0  # the API: 5xx before or after accepting; 500 to a GET
    limit: float = 0.0  # a 429 although the window has room: others use the key too
    fail: float = 0.0  # a generation fails and is refunded
    odd: float = 0.0  # a generation settles late, or gives fewer images
    broken: float = 0.0  # a download that is cut, or whose link has expired


@dataclass(slots=True)
class Machine:
    """A worker's clock: set wrongly, and perhaps set anew in the middle of the night."""

    skew_seconds: float = 0.0
    jump_seconds: float = 0.0
    jumps_at: float = field(default=float("inf"))

    def epoch(self, now: float) -> float:
        return now + self.skew_seconds + (self.jump_seconds if now >= self.jumps_at else 0.0)


class InlinePool(Executor):
    """Threads that run at once, one after the other, in the process that started them."""

    def __init__(self, max_workers: int, name: str) -> None:
        self.max_workers = max_workers

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Night:
    """The world of one schedule: time, processes, and the story of what happened.

    :param tells: keep the story, for people; nights that are only counted do without.
    """

    def __init__(self, choices: Choices, *, tells: bool = False) -> None:
        self.choices = choices
        self.weather = Weather()
        self.now = BEGINS_EPOCH
        self.is_calm = False  # in the morning nothing goes wrong any more
        self.story: list[str] | None = [] if tells else None
        self.acts = self.charges = 0
        self.hurt: set[str] = set()  # kinds of faults that have struck
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._hub = getcurrent()
        self._processes: list[Process] = []
        self._aliases: dict[str, dict[str, int]] = {}
        self.current: Process | None = None
        self.stopped: Callable[[Process, float], None] = lambda process, seconds: None

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something at an epoch."""
        heappush(self._due, (max(when, self.now), next(self._numbers), do))

    def run(self, until: float) -> None:
        """Go on until nothing is left to do, or until this epoch."""
        while self._due and self._due[0][0] <= until:
            self.now, _, do = heappop(self._due)
            do()
        self.now = max(self.now, until)

    def start(self, name: str, body: Callable[[], None], machine: Machine, *, delay: float = 0.0) -> Process:
        process = Process(self, name, body, machine)
        self._processes.append(process)
        self.at(self.now + delay, process.go_on)
        return process

    def end(self) -> None:
        """Unwind the processes that are left, so that nothing of this night stays in memory."""
        for process in self._processes:
            process.kill()

    def tell(self, line: str) -> None:
        if self.story is not None:
            who = self.current.name if self.current else "night"
            hours, seconds = divmod(int(self.now - BEGINS_EPOCH), 3600)
            at = f"{hours:02}:{seconds // 60:02}:{seconds % 60:02}"
            self.story.append(f"{at}  {who:<18} {_RANDOM.sub(self._alias, line)}")

    def _alias(self, found: re.Match[str]) -> str:
        """The same name for the same random id in every play: keys, claims and generations are numbered as
        they appear.
        """
        kind = {64: "key", 36: "generation", 32: "claim", 16: "folder", 8: "generation"}[len(found[0])]
        names = self._aliases.setdefault(kind, {})
        return f"{kind}-{names.setdefault(found[0][:8], len(names) + 1)}"

    def act(self, what: str, do: Callable[[], T], *, stops: bool = True) -> T:
        """One act of the running process: a pause before it, the act, a pause after it. In each pause the
        process may die.

        :param stops: False where a stopped process would be a fault of its own, as between the first and the
            last byte of a POST.
        """
        self.acts += 1
        self.interlude(what, stops=stops)
        result = do()
        self.interlude(f"the answer of: {what}", stops=stops)
        return result

    def interlude(self, what: str, *, stops: bool = True) -> None:
        """Time passes for the running process; the others run meanwhile."""
        process, weather, choices = self.current, self.weather, self.choices
        if process is None:
            return  # the night itself looks at the world
        process.check()
        if self.is_calm:
            process.pause(LATENCIES[0])
            return
        seconds = choices.of(LATENCIES, chance=weather.slow)
        if stops and choices.happens(weather.stop):
            stopped = choices.of(STOPS)
            self.hurt.add("stop")
            self.tell(f"STOPS for {stopped:.0f} s before {what}")
            seconds += stopped
            self.stopped(process, stopped)
        process.pause(seconds)
        if choices.happens(weather.kill):
            self.hurt.add("kill")
            self.tell(f"KILLED before {what}")
            process.is_dead = True
            raise KilledError
        if choices.happens(weather.timeout):
            self.hurt.add("timeout")
            self.tell(f"TIMEOUT (execution_timeout) before {what}")
            raise AirflowTaskTimeout("simulated execution_timeout")


class Process:
    """A worker's or a triggerer's process: a greenlet with a clock of its own."""

    def __init__(self, night: Night, name: str, body: Callable[[], None], machine: Machine) -> None:
        self.night = night
        self.name = name
        self.machine = machine
        self.is_dead = False
        self.reports_to: Any = None  # the task instance and its owner, for a worker's process
        self._body = body
        self._memory = Memory()
        self._greenlet = greenlet(self._run, parent=night._hub)
        self._greenlet.gr_context = contextvars.Context()
        self._booted = night.now - 1000.0
        self.clock = Clock(
            now_epoch=lambda: machine.epoch(night.now),
            steady_seconds=lambda: night.now - self._booted,
            sleep=self.sleep,
        )

    def go_on(self) -> None:
        """Run until the next pause."""
        if self._greenlet.dead:
            return
        before, self.night.current = self.night.current, self
        self._memory.put_in_place()
        try:
            self._greenlet.switch()
        finally:
            self.night.current = before

    def pause(self, seconds: float) -> None:
        """Let the others run for so long."""
        self.night.at(self.night.now + seconds, self.go_on)
        self.night._hub.switch()
        self.check()

    def sleep(self, seconds: float) -> None:
        self.check()
        if seconds > 0:
            self.pause(seconds)

    def check(self) -> None:
        if self.is_dead:
            raise KilledError

    def kill(self) -> None:
        self.is_dead = True
        if self._greenlet and not self._greenlet.dead:
            self.go_on()

    def _run(self) -> None:
        if self.is_dead:
            return
        with running(self.clock), threads.running(InlinePool):
            try:
                self._body()
            except KilledError:
                self.is_dead = True
