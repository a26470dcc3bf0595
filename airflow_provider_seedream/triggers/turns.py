"""The trigger that waits for a turn under the rate limit. It does not call the API, so a second copy of it
does no harm.

It holds numbers and the connection's id, and does not read the connection. It does not raise: after an error
the worker wakes without a turn and submits, which gets a (free) 429 at worst.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.rate_limit.queue import queue_for
from airflow_provider_seedream.triggers.base import SeedreamTrigger, fields_of

WORTH_SAYING_SECONDS = 5.0  # a shorter wait is over before a person has read its line


@dataclass(eq=False, kw_only=True)
class SeedreamTurnTrigger(SeedreamTrigger):
    """Waits until a submission may be sent. All instants are in epoch seconds::

        SeedreamTurnTrigger(
            seedream_conn_id="seedream_default",
            requests_per_minute=3,
            asked_epoch=now,
            not_before_epoch=now + 5,
            deadline_epoch=now + 3600,
        )

    :param seedream_conn_id: the connection. :param requests_per_minute: its rate limit.
    :param asked_epoch: when the task first asked. It decides the place in the queue, and the task keeps it if
        it asks again.
    :param not_before_epoch: the earliest turn (apache/airflow#66374). :param deadline_epoch: when to give up.
    :param throttled_epoch: when the API answered the 429 that led here; None without a 429.
    :param retry_after_seconds: the ``Retry-After`` of that 429; None without one.
    :param granted_epoch: when the refused request had got its turn; None if it was sent without a turn.
    :param started_epoch: when the try began, which comes back in the event; None in rows of 0.2.
    """

    seedream_conn_id: str
    requests_per_minute: float
    asked_epoch: float
    not_before_epoch: float
    deadline_epoch: float
    throttled_epoch: float | None = None
    retry_after_seconds: float | None = None
    granted_epoch: float | None = None
    started_epoch: float | None = None

    async def wait(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.deadline_epoch - clock.now_epoch()):
                queue = queue_for(self.seedream_conn_id, self.requests_per_minute)
                if self.throttled_epoch is not None:
                    queue.throttled(
                        self.throttled_epoch,
                        retry_after_seconds=self.retry_after_seconds,
                        granted_epoch=self.granted_epoch,
                    )
                await asyncio.sleep(self.not_before_epoch - clock.now_epoch())
                ahead, seconds = queue.outlook(self.asked_epoch)
                if seconds >= WORTH_SAYING_SECONDS:
                    rate, wait = queue.limiter.requests_per_minute, clock.spell(seconds)
                    self.log.info(
                        "Rate limit %g/min: requests ahead of this one: %d, about %s to go.",
                        rate,
                        ahead,
                        wait,
                    )
                return self._event(granted_epoch=await queue.turn("submit", asked_epoch=self.asked_epoch))
        except TimeoutError:
            return self._event(is_late=True)

    async def give_up(self, error: Exception) -> dict[str, Any]:
        return self._event()  # the task submits without a turn, which gets a (free) 429 at worst

    def _event(self, *, granted_epoch: float | None = None, is_late: bool = False) -> dict[str, Any]:
        asked = {"started_epoch": self.started_epoch, "asked_epoch": self.asked_epoch}
        return {"granted_epoch": granted_epoch, "is_late": is_late, **asked}


def turn_from(event: Any) -> tuple[float | None, bool]:
    """When the turn was granted (else None), and whether the deadline came first. An event of another form
    holds no turn.
    """
    told = fields_of(event)
    return _epoch(told, "granted_epoch"), told.get("is_late") is True


def asked_from(event: Any) -> tuple[float | None, float | None]:
    """When the try began and when it first asked, for a task that is resumed without its own arguments
    (``dag.test()``).
    """
    told = fields_of(event)
    return _epoch(told, "started_epoch"), _epoch(told, "asked_epoch")


def _epoch(told: dict[str, Any], field: str) -> float | None:
    epoch = told.get(field)
    return epoch if isinstance(epoch, int | float) else None
