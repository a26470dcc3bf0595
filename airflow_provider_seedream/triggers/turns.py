"""The trigger that waits for a turn at the API. It sends nothing, so two copies of it are harmless.

Holds numbers and the connection's id; looks nothing up, never raises: a worker that wakes without a turn meets a 429 at worst.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.rate_limit.queue import queue_for

EVENT_VERSION = 1


class SeedreamTurnTrigger(BaseTrigger):
    """Waits for a turn of a submission; all instants in epoch seconds.

    :param seedream_conn_id: the connection. :param requests_per_minute: its rate limit.
    :param asked_epoch: when the task first asked: its place in the queue, which it keeps when it has to ask again.
    :param not_before_epoch: no turn before that (apache/airflow#66374). :param deadline_epoch: when to give up.
    :param throttled_epoch: when the 429 came that made it ask; None if there was none.
    :param retry_after_seconds: what that 429 asked for, if it did.
    :param granted_epoch: when the refused request had got its turn; None if it had none.
    :param started_epoch: when the try began, which comes back in the event; None in rows of 0.2.
    """

    def __init__(
        self,
        *,
        seedream_conn_id: str,
        requests_per_minute: float,
        asked_epoch: float,
        not_before_epoch: float,
        deadline_epoch: float,
        throttled_epoch: float | None = None,
        retry_after_seconds: float | None = None,
        granted_epoch: float | None = None,
        started_epoch: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seedream_conn_id = seedream_conn_id
        self.requests_per_minute = requests_per_minute
        self.asked_epoch = asked_epoch
        self.not_before_epoch = not_before_epoch
        self.deadline_epoch = deadline_epoch
        self.throttled_epoch = throttled_epoch
        self.retry_after_seconds = retry_after_seconds
        self.granted_epoch = granted_epoch
        self.started_epoch = started_epoch

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "seedream_conn_id": self.seedream_conn_id,
                "requests_per_minute": self.requests_per_minute,
                "asked_epoch": self.asked_epoch,
                "not_before_epoch": self.not_before_epoch,
                "deadline_epoch": self.deadline_epoch,
                "throttled_epoch": self.throttled_epoch,
                "retry_after_seconds": self.retry_after_seconds,
                "granted_epoch": self.granted_epoch,
                "started_epoch": self.started_epoch,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        granted_epoch, is_late = None, False
        try:
            async with asyncio.timeout(self.deadline_epoch - clock.now_epoch()):
                granted_epoch = await self._turn()
        except TimeoutError:
            is_late = True
        except Exception:
            self.log.exception("No turn can be granted; the task goes on without one.")
        turn = {"granted_epoch": granted_epoch, "is_late": is_late}
        asked = {"started_epoch": self.started_epoch, "asked_epoch": self.asked_epoch}
        yield TriggerEvent({"schema_version": EVENT_VERSION, **turn, **asked})

    async def _turn(self) -> float:
        queue = queue_for(self.seedream_conn_id, self.requests_per_minute)
        if self.throttled_epoch is not None:
            queue.throttled(self.throttled_epoch, retry_after_seconds=self.retry_after_seconds, granted_epoch=self.granted_epoch)
        await asyncio.sleep(self.not_before_epoch - clock.now_epoch())
        return await queue.turn("submit", asked_epoch=self.asked_epoch)


def turn_from(event: Any) -> tuple[float | None, bool]:
    """When the turn was granted, if one was, and whether the deadline came first. What is not ours is no turn."""
    if not isinstance(event, dict) or event.get("schema_version") != EVENT_VERSION:
        return None, False
    granted = event.get("granted_epoch")
    return granted if isinstance(granted, int | float) else None, event.get("is_late") is True


def asked_from(event: Any) -> tuple[float | None, float | None]:
    """When the try began and when it first asked, for a task that is resumed without its own arguments (``dag.test()``)."""
    fields = event if isinstance(event, dict) and event.get("schema_version") == EVENT_VERSION else {}
    started, asked = (
        epoch if isinstance(epoch := fields.get(field), int | float) else None for field in ("started_epoch", "asked_epoch")
    )
    return started, asked
