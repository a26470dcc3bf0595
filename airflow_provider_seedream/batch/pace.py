"""What bounds a batch: its connection's share of the rate limit, and how much may be in flight.

Where status calls count toward the limit, looks and submissions take their turns here from one pacer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_seedream.batch.progress import InFlight
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.decision import FailedLook
from airflow_provider_seedream.rate_limit.limiter import Pacer, whose_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """:param pacer: the connection's share of the rate limit. :param counts_looks: whether status calls count toward it.

    :param max_in_flight: generations at once. :param timeout_seconds: how long one may take.
    """

    pacer: Pacer
    counts_looks: bool
    max_in_flight: int
    timeout_seconds: float

    def look_epoch(self, now: float) -> float:
        """When the next look may go."""
        return self.pacer.turn_epoch(now) if self.counts_looks else now

    def takes_look(self, entry: InFlight, *, post_epoch: float | None, now: float) -> bool:
        """Whether this look may go now. Submissions come first, but no paid image may wait until it expires."""
        if not self.counts_looks:
            return True
        can_post = post_epoch is not None and post_epoch <= now
        turn = whose_turn(submit_epoch=post_epoch if can_post else None, look_epoch=entry.due_epoch, now_epoch=now)
        if turn != "look" or self.look_epoch(now) > now:
            return False
        self.pacer.take(now)
        return True

    def throttled(self, look: FailedLook) -> None:
        """A look that met the rate limit: where looks count, submissions wait as well."""
        if self.counts_looks:
            self.pacer.throttled(clock.now_epoch(), retry_after_seconds=look.retry_after_seconds, granted_epoch=None)

    def for_trigger(self, in_flight: Iterable[InFlight], now: float) -> list[list[Any]]:
        """What is in flight as the trigger takes it, each due when the calls of this process leave room for it."""
        flying = list(in_flight)
        if self.counts_looks:
            order = sorted(range(len(flying)), key=lambda position: flying[position].due_epoch)
            turns = self.pacer.turn_epochs([max(now, flying[position].due_epoch) for position in order])
            for position, turn in zip(order, turns, strict=True):
                flying[position] = replace(flying[position], due_epoch=turn)
        return [entry.for_trigger() for entry in flying]
