"""The limits of a batch: its connection's share of the rate limit, and the number of generations in flight.

If status calls count toward the limit, polls and submissions take their turns from the same limiter.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_seedream.batch.progress import InFlight
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.policy import FailedPoll
from airflow_provider_seedream.rate_limit.limiter import RateLimiter, whose_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The limits of one batch::

        Pace(
            limiter=limiter_for("seedream_default", 3),
            counts_polls=False,
            max_in_flight=100,
            timeout_seconds=3600,
        )

    :param limiter: the connection's share of the rate limit.
    :param counts_polls: True if status calls count toward it.
    :param max_in_flight: paid generations that are not landed yet.
    :param timeout_seconds: how long one may take.
    """

    limiter: RateLimiter
    counts_polls: bool
    max_in_flight: int
    timeout_seconds: float

    def poll_epoch(self, now: float) -> float:
        """When the next poll may go, in epoch seconds: at once, unless polls count toward the rate limit."""
        return self.limiter.turn_epoch(now) if self.counts_polls else now

    def takes_poll(self, entry: InFlight, *, post_epoch: float | None, now: float) -> bool:
        """True if this poll may go now. Submissions come first, but a paid image must not wait until it
        expires (24 h).

        :param post_epoch: when the next row may be sent; None if no row waits for the rate limit.
        :param now: in epoch seconds. If the poll may go, its turn is taken at this time.
        """
        if not self.counts_polls:
            return True
        can_post = post_epoch is not None and post_epoch <= now
        turn = whose_turn(
            submit_epoch=post_epoch if can_post else None, poll_epoch=entry.due_epoch, now_epoch=now
        )
        if turn != "poll" or self.poll_epoch(now) > now:
            return False
        self.limiter.take(now)
        return True

    def throttled(self, poll: FailedPoll) -> None:
        """Take in a poll that was answered with a 429. If polls count toward the limit, submissions wait
        as well.
        """
        if self.counts_polls:
            self.limiter.throttled(
                clock.now_epoch(), retry_after_seconds=poll.retry_after_seconds, granted_epoch=None
            )

    def for_trigger(self, in_flight: Iterable[InFlight], now: float) -> list[list[Any]]:
        """The generations in flight in the trigger's form, each due when the rate limit has room for its
        poll.
        """
        flying = list(in_flight)
        if self.counts_polls:
            # Turns go to the poll that is due first, but the list keeps its order: the trigger's answer is
            # matched by position.
            order = sorted(range(len(flying)), key=lambda position: flying[position].due_epoch)
            turns = self.limiter.turn_epochs([max(now, flying[position].due_epoch) for position in order])
            for position, turn in zip(order, turns, strict=True):
                flying[position] = replace(flying[position], due_epoch=turn)
        return [entry.for_trigger() for entry in flying]
