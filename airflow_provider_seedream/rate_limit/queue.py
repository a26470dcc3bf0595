"""The queue of a triggerer for the rate limit: turns are granted in the order of asking.

There is one queue, with one timer, for each connection and event loop. It does not call the API: it uses the
rate, the 429s that tasks report, and the clock.
"""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from weakref import WeakKeyDictionary

from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.rate_limit.limiter import WINDOW_SECONDS, Purpose, RateLimiter, whose_turn

MAX_COUNTED = 500  # waiting submissions that are counted one by one


class TurnQueue:
    """Grants turns at the pace of a :class:`RateLimiter`; the task that asked first goes first.

    5,000 waiting tasks share one timer.

    Example::

        queue = queue_for("seedream_default", requests_per_minute=3)
        granted_epoch = await queue.turn("submit", asked_epoch=asked_epoch)
    """

    def __init__(self, limiter: RateLimiter, *, clock: Callable[[], float] = clock.now_epoch) -> None:
        self.limiter = limiter
        self._clock = clock
        self._began_epoch = clock()
        self._waiting: dict[Purpose, list[tuple[float, int, asyncio.Future[float]]]] = {
            "submit": [],
            "poll": [],
        }
        self._arrival = count()
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, purpose: Purpose, *, asked_epoch: float | None = None) -> float:
        """Wait for a turn. Returns the epoch at which it was granted.

        :param asked_epoch: since when the request waits; it decides the place in the queue. Now by default.
        """
        turn = asyncio.get_running_loop().create_future()
        heappush(
            self._waiting[purpose],
            (self._clock() if asked_epoch is None else asked_epoch, next(self._arrival), turn),
        )
        if self._timer is None:
            self._serve()
        try:
            granted_epoch: float = await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was granted at the same moment: give the turn to the next request
                self.limiter.give_back(turn.result())
                self._serve()
            raise
        return granted_epoch

    def outlook(self, asked_epoch: float) -> tuple[int, float]:
        """How many submissions are ahead of one that asked at this instant, and in about how many seconds its
        turn comes.

        In a long queue all that wait count as ahead: 5,000 triggers that each count 5,000 would block the
        loop for seconds.
        """
        waiting = self._waiting["submit"]
        is_short = len(waiting) <= MAX_COUNTED
        ahead = (
            sum(asked < asked_epoch and not turn.done() for asked, _, turn in waiting)
            if is_short
            else len(waiting)
        )
        now = self._clock()
        return ahead, self.limiter.turn_epoch(
            now
        ) - now + ahead * WINDOW_SECONDS / self.limiter.requests_per_minute

    def throttled(
        self, at_epoch: float, *, retry_after_seconds: float | None, granted_epoch: float | None
    ) -> None:
        """Take in a 429. If the turn was granted by an earlier process, it does not slow down this one,
        whose share is new.
        """
        if granted_epoch is not None and granted_epoch < self._began_epoch:
            granted_epoch = None
        self.limiter.throttled(at_epoch, retry_after_seconds=retry_after_seconds, granted_epoch=granted_epoch)

    def _serve(self) -> None:
        """Grant all turns that are due, and set the timer for the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while purpose := self._next(now := self._clock()):
            wait_seconds = self.limiter.turn_epoch(now) - now
            if wait_seconds > 0:  # checked again each minute, as the clock may be set and the rate may change
                self._timer = asyncio.get_running_loop().call_later(
                    min(wait_seconds, WINDOW_SECONDS), self._serve
                )
                return
            _, _, turn = heappop(self._waiting[purpose])
            self.limiter.take(now)
            turn.set_result(now)

    def _next(self, now_epoch: float) -> Purpose | None:
        """The kind of request whose turn comes next; cancelled ones are dropped first."""
        for waiting in self._waiting.values():
            while waiting and waiting[0][2].done():  # cancelled
                heappop(waiting)
        submit, poll = self._waiting["submit"], self._waiting["poll"]
        return whose_turn(
            submit_epoch=submit[0][0] if submit else None,
            poll_epoch=poll[0][0] if poll else None,
            now_epoch=now_epoch,
        )


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, TurnQueue]] = WeakKeyDictionary()


def queue_for(seedream_conn_id: str, requests_per_minute: float | None) -> TurnQueue:
    """The running loop's queue of a connection.

    :param requests_per_minute: the limit, taken over if it has changed; None: the limit of the existing
        queue, else 3 [doc].
    """
    queues = _queues.setdefault(asyncio.get_running_loop(), {})
    queue = queues.get(seedream_conn_id)
    if queue is None:
        queue = queues[seedream_conn_id] = TurnQueue(
            RateLimiter(requests_per_minute or contract.DEFAULT_REQUESTS_PER_MINUTE)
        )
    elif requests_per_minute not in (None, queue.limiter.requests_per_minute):
        queue.limiter.adjust(requests_per_minute)
    return queue
