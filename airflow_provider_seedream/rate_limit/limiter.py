"""A share of the rate limit: decides when the next request may be sent.

Pure: no I/O; the clock is an argument. It counts sent requests in a sliding window of 60 s, as the API most
likely does, so bursts up to the limit pass. A 429 means that others use the key too, so it shrinks the share;
quiet time restores it. Never imports HTTP or Airflow.
"""

import copy
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from airflow_provider_seedream.model import threads

Purpose = Literal["submit", "poll"]

WINDOW_SECONDS = 60.0
# The API counts a request when it arrives, this module when it is sent, and two may arrive closer together
# than they were sent.
MARGIN_SECONDS = 1.0
# the pause after a 429, even if it asks for 0 s or for a moment that is past by this clock
MIN_REFUSED_SECONDS = 1.0
# Measured in tests/benchmarks/test_pacing.py: gentler steps use more of the limit, slower recovery meets
# fewer 429s.
SLOWER = 0.85  # a counted 429 multiplies the share by this
RECOVERY_SECONDS = 6 * 3600.0  # quiet time in which the share grows from 0 to 1
# a reduced share sends at most so many seconds' worth at once, as others use an unknown part of the window
EVEN_SECONDS = 6.0
TOLD_SECONDS = 5  # requests that another process is told of are counted by the end of so many seconds
# requests in memory; a wallet may spell "no limit" as 2**63, for which a deque has no room
MAX_COUNTED = 1_000_000
# after so long a poll goes before submissions: paid images are deleted after 24 h
MAX_POLL_WAIT_SECONDS = 180.0


class RateLimiter:
    """One connection's share of the rate limit in this process::

        limiter = limiter_for("seedream_default", requests_per_minute=3)
        if limiter.turn_epoch(now) <= now:
            limiter.take(now)  # then send the request

    :param requests_per_minute: the limit; may be below 1 or fractional.
    """

    def __init__(self, requests_per_minute: float) -> None:
        self.share = 1.0
        self._gone: deque[float] = deque()
        self._not_before_epoch = -math.inf
        self._slowed_epoch = -math.inf
        self._share_epoch = -math.inf  # the share counts quiet time up to here
        self._pause_seconds = 0.0  # the least pause after the last 429
        self.adjust(requests_per_minute)

    def adjust(self, requests_per_minute: float) -> None:
        """Take over another limit, and keep the requests of the last minute.

        :raises ValueError: the limit is not above 0, or not finite.
        """
        if not (math.isfinite(requests_per_minute) and requests_per_minute > 0):
            raise ValueError(f"requests_per_minute must be above 0; got {requests_per_minute!r}.")
        self.requests_per_minute = requests_per_minute
        self._gone = deque(self._gone, maxlen=min(math.ceil(requests_per_minute), MAX_COUNTED))

    def memory(self) -> dict[str, Any]:
        """The state as plain JSON: with :meth:`recall` another process goes on at this pace."""
        epochs = {
            "not_before_epoch": self._not_before_epoch,
            "slowed_epoch": self._slowed_epoch,
            "share_epoch": self._share_epoch,
        }
        known = {name: None if math.isinf(epoch) else epoch for name, epoch in epochs.items()}
        return {"gone": list(self._gone), "share": self.share, "pause_seconds": self._pause_seconds, **known}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Take in the memory of an earlier process of the same task. Memory written by 0.2.0 has no
        ``slowed_epoch``.

        :param memory: of :meth:`memory`; under ``heard`` it may have the turns of a trigger. They count once,
            however often heard.
        """
        self._count(gone for gone in memory.get("gone", ()) if gone not in self._gone)
        known = Counter(self._gone)
        self._count(
            float(epoch)
            for epoch, requests in memory.get("heard", ())
            for _ in range(requests - known[epoch])
        )
        self.share = min(self.share, memory.get("share", 1.0))
        self._pause_seconds = _later(self._pause_seconds, memory.get("pause_seconds"))
        self._not_before_epoch = _later(self._not_before_epoch, memory.get("not_before_epoch"))
        self._slowed_epoch = _later(self._slowed_epoch, memory.get("slowed_epoch"))
        self._share_epoch = _later(self._share_epoch, memory.get("share_epoch"))

    def turns(self, now_epoch: float) -> list[list[int]]:
        """The requests of the last minute, as ``[[epoch, requests], ...]``: at most 13 pairs, small enough
        for an event.

        Each is counted at the end of its 5 s: another process that takes them in (:meth:`recall`) waits
        rather longer.
        """
        recent = (gone for gone in self._gone if gone > now_epoch - WINDOW_SECONDS)
        ends = Counter(math.ceil(gone / TOLD_SECONDS) * TOLD_SECONDS for gone in recent)
        return [[epoch, requests] for epoch, requests in sorted(ends.items())]

    def turn_epoch(self, now_epoch: float) -> float:
        """When the next request may be sent. A time that is not in the future means: at once."""
        self._recover(now_epoch)
        limit = self.requests_per_minute
        free_epoch = self._free_epoch(math.ceil(limit), limit) + MARGIN_SECONDS
        if self.share < 1:
            rate = limit * self.share
            free_epoch = max(
                free_epoch, self._free_epoch(max(1, int(rate * EVEN_SECONDS / WINDOW_SECONDS)), rate)
            )
        return max(free_epoch, self._not_before_epoch)

    def turn_epochs(self, due_epochs: list[float]) -> list[float]:
        """When requests that are due at these epochs may be sent, in their order. This only plans: it
        takes no turn.
        """
        ahead, turns = copy.deepcopy(self), []
        for due_epoch in due_epochs:
            turns.append(max(due_epoch, ahead.turn_epoch(due_epoch)))
            ahead.take(turns[-1])
        return turns

    def take(self, now_epoch: float) -> None:
        """Count one request as sent now.

        :param now_epoch: it stays in the window of the limit for the next minute.
        """
        if self._gone and now_epoch < self._gone[-1]:
            # a turn that was heard of, or a clock that was set back
            self._count([now_epoch])
        else:
            self._gone.append(now_epoch)

    def give_back(self, granted_epoch: float) -> None:
        """Uncount a turn that was not used, or whose request was refused: the API does not count it
        either.
        """
        if granted_epoch in self._gone:
            self._gone.remove(granted_epoch)

    def sent(self, granted_epoch: float, sent_epoch: float) -> None:
        """Count a turn when its request was sent: the API does so, too, and a slow storage may lie in
        between.
        """
        if granted_epoch in self._gone and sent_epoch > granted_epoch + MARGIN_SECONDS / 2:
            # the margin covers less than that
            self._gone.remove(granted_epoch)
            self._count([sent_epoch])

    def throttled(
        self, now_epoch: float, *, retry_after_seconds: float | None, granted_epoch: float | None
    ) -> None:
        """Take in a 429: pause for as long as the API asks, then send less often, but at least one request in
        two windows.

        If the API asks for too little (0 s above all), the pause grows: 1 s, then 2, 4 and so on up to 60 s,
        until another request gets through. A fixed pause of 1 s would be 3,600 refused POSTs an hour, each
        with a claim in the ledger.

        :param retry_after_seconds: the API's Retry-After; None: one request's share of the minute.
        :param granted_epoch: when the refused request had got its turn; None if it was sent without a turn.
            Only a turn that was granted after the last slow-down slows down again, as a burst of 429s is one
            signal.
        """
        asked = (
            WINDOW_SECONDS / self.requests_per_minute if retry_after_seconds is None else retry_after_seconds
        )
        least = MIN_REFUSED_SECONDS
        if granted_epoch is not None:
            self.give_back(granted_epoch)
            if granted_epoch > self._slowed_epoch:
                self._slow_down(now_epoch)
                least = self._pause_seconds
        self._not_before_epoch = max(self._not_before_epoch, now_epoch + max(asked, least))

    def _slow_down(self, now_epoch: float) -> None:
        """Lower the share, and double the pause if no request got through since the last slow-down."""
        self._recover(now_epoch)
        self.share = max(self.share * SLOWER, 0.5 / max(1.0, self.requests_per_minute))
        another_went = bool(self._gone) and self._gone[-1] > self._slowed_epoch
        longer = 0.0 if another_went else min(WINDOW_SECONDS, 2 * self._pause_seconds)
        self._pause_seconds = max(MIN_REFUSED_SECONDS, longer)
        self._slowed_epoch = now_epoch

    def _count(self, epochs: Iterable[float]) -> None:
        """Count requests of other instants than now: the newest are kept, as many as the limit."""
        self._gone = deque(sorted([*self._gone, *epochs]), maxlen=self._gone.maxlen)

    def _free_epoch(self, burst: int, rate: float) -> float:
        """When a window that holds this many requests at this rate has room."""
        return self._gone[-burst] + WINDOW_SECONDS * burst / rate if len(self._gone) >= burst else -math.inf

    def _recover(self, now_epoch: float) -> None:
        """Raise the share for the quiet time since it was last counted."""
        quiet_seconds = max(0.0, now_epoch - self._share_epoch)
        self.share = min(1.0, self.share + quiet_seconds / RECOVERY_SECONDS)
        self._share_epoch = max(self._share_epoch, now_epoch)


def _later(mine: float, told: float | None) -> float:
    """The later of two instants, of which the other process may not know the second."""
    return mine if told is None else max(mine, told)


def whose_turn(*, submit_epoch: float | None, poll_epoch: float | None, now_epoch: float) -> Purpose | None:
    """The kind of request that goes next, given since when the first of each kind waits: submissions before
    polls.

    If a poll has waited for more than 180 s, polls go first, as paid images expire. Every generation ends, so
    its polls end too, and submissions follow.

    :returns: None if no request waits.
    """
    if poll_epoch is not None and (submit_epoch is None or now_epoch - poll_epoch > MAX_POLL_WAIT_SECONDS):
        return "poll"
    return None if submit_epoch is None else "submit"


_limiters: dict[str, RateLimiter] = {}
_lock = threads.lock()


def limiter_for(seedream_conn_id: str, requests_per_minute: float) -> RateLimiter:
    """This process's limiter of a connection; a changed limit is taken over.

    :param requests_per_minute: the limit of the connection as it is known now.
    """
    with _lock:
        limiter = _limiters.get(seedream_conn_id)
        if limiter is None:
            limiter = _limiters[seedream_conn_id] = RateLimiter(requests_per_minute)
        elif limiter.requests_per_minute != requests_per_minute:
            limiter.adjust(requests_per_minute)
        return limiter
