"""A night at the rate limit, in simulated time: limiters against a sliding-window server that counts what it
accepts. Seeded.

No server, no clock. The wait of a turn on its way from the triggerer to the API is what makes it hard: see
``deferred``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from random import Random

from airflow_provider_seedream.emulator.ratelimit import RateLimit
from airflow_provider_seedream.rate_limit.limiter import RateLimiter

WARM_UP_SECONDS = 1800.0
Latency = Callable[[Random], float]


def deferred(random: Random) -> float:
    """From a granted turn to the POST's arrival: the event, the scheduler, a new process."""
    return 1.0 + random.expovariate(0.5)


def direct(random: Random) -> float:
    """From a process that holds its turn."""
    return random.uniform(0.05, 0.6)


@dataclass(slots=True)
class Night:
    """What the server saw after the warm-up, as counts and shares."""

    limit: float
    accepted: int = 0
    refused: int = 0

    def saw(self, wait_seconds: float) -> None:
        self.refused += wait_seconds > 0
        self.accepted += wait_seconds == 0

    @property
    def used_share(self) -> float:
        return self.accepted / self.limit

    @property
    def refused_share(self) -> float:
        return self.refused / max(1, self.accepted + self.refused)


class _Events:
    """What happens next."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()

    def at(self, epoch: float, act: Callable[[float], None]) -> None:
        heappush(self._heap, (epoch, next(self._order), act))

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] < until:
            now, _, act = heappop(self._heap)
            act(now)


def paced_night(
    rate: int, limiters: Sequence[RateLimiter], latency: Latency, *, hours: float, seed: int = 1
) -> Night:
    """More work than the limit allows, spread over limiters; what is refused asks again, wherever its
    trigger lands.
    """
    random, server, events = Random(seed), RateLimit(), _Events()
    night = Night(limit=rate * (hours * 3600 - WARM_UP_SECONDS) / 60)

    def turn(limiter: RateLimiter, now: float) -> None:
        next_epoch = limiter.turn_epoch(now)
        if next_epoch <= now:
            limiter.take(now)
            events.at(now + latency(random), lambda then: arrive(then, now))
        events.at(max(now, next_epoch), lambda then: turn(limiter, then))

    def arrive(now: float, granted: float) -> None:
        wait = server.ask(rate, now)
        if now >= WARM_UP_SECONDS:
            night.saw(wait)
        if wait:
            random.choice(limiters).throttled(now, retry_after_seconds=wait, granted_epoch=granted)

    for limiter in limiters:
        events.at(random.uniform(0, 5), lambda now, limiter=limiter: turn(limiter, now))  # type: ignore[misc]
    events.run(hours * 3600)
    return night


def unpaced_night(rate: int, waiting: int, latency: Latency, *, hours: float, seed: int = 1) -> Night:
    """So many tasks at any time that each wait out their own Retry-After, and a random moment more."""
    random, server, events = Random(seed), RateLimit(), _Events()
    night = Night(limit=rate * (hours * 3600 - WARM_UP_SECONDS) / 60)

    def arrive(now: float) -> None:
        wait = server.ask(rate, now)
        if now >= WARM_UP_SECONDS:
            night.saw(wait)
        events.at(now + wait * random.uniform(1, 1.5) + latency(random), arrive)

    for _ in range(waiting):
        events.at(random.uniform(0, 60), arrive)
    events.run(hours * 3600)
    return night


def mapped_refusals(rate: int, tasks: int, latency: Latency, *, asks_first: bool, seed: int = 1) -> int:
    """429s of a mapped task of which five instances start a second, until all are accepted.

    :param asks_first: an instance whose index is at or above the rate asks for a turn before its first POST.
    """
    random, server, events, limiter = Random(seed), RateLimit(), _Events(), RateLimiter(rate)
    queue: list[int] = []
    refused = 0

    def start(now: float, index: int) -> None:
        if asks_first and index >= rate:
            heappush(queue, index)
        else:
            arrive(now, index, None)

    def arrive(now: float, index: int, granted: float | None) -> None:
        nonlocal refused
        if wait := server.ask(rate, now):
            refused += 1
            limiter.throttled(now, retry_after_seconds=wait, granted_epoch=granted)
            heappush(queue, index)

    def serve(now: float) -> None:
        while queue and limiter.turn_epoch(now) <= now:
            limiter.take(now)
            index = heappop(queue)
            events.at(now + latency(random), lambda then, index=index: arrive(then, index, now))  # type: ignore[misc]
        events.at(now + 1, serve)

    for index in range(tasks):
        events.at(index / 5, lambda now, index=index: start(now, index))  # type: ignore[misc]
    events.at(0.5, serve)
    events.run(2 * 60 * tasks / rate + tasks)
    return refused
