"""The trigger of a batch: polls all generations in flight, and wakes the worker when there is enough to do.

It only sends GETs, so a second copy does no harm. It holds ids and numbers, never imports landing or the ledger, does not raise.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.decision import Rules, Watch, decide, learn
from airflow_provider_seedream.polling.schedule import SEEN
from airflow_provider_seedream.triggers.client import status_client
from airflow_provider_seedream.triggers.looks import Looks

EVENT_VERSION = 1
PATIENCE_SECONDS = 30.0  # finished images wait up to 30 s so that several land in one wake-up: each costs a task process


class SeedreamBatchTrigger(BaseTrigger):
    """Waits until rows can be submitted again, or generations have ended::

        SeedreamBatchTrigger(
            seedream_conn_id="seedream_default",
            in_flight=[entry.for_trigger() for entry in progress.in_flight.values()],
            wake_epoch=None,
            not_before_epoch=now + 5,
            poke_interval=None,
            settling_seconds=120,
            outage_seconds=1800,
        )

    :param seedream_conn_id: the connection.
    :param in_flight: one list for each generation: seedream_task_id, due_epoch, deadline_epoch, created_epoch, num_images,
        image_size, kind; at most ``max_in_flight``.
    :param wake_epoch: when the worker wants to continue in any case; None: only when generations have ended.
    :param not_before_epoch: no event before that (apache/airflow#66374).
    :param poke_interval: seconds between polls of one generation; None: more often while it is probably ready.
    :param progress: name of the batch's progress file; it comes back in the event. None in rows of 0.2.
    :param settling_seconds: how long links may follow FINISHED. :param outage_seconds: how long the API may be unreachable.
    """

    def __init__(
        self,
        *,
        seedream_conn_id: str,
        in_flight: list[list[Any]],
        wake_epoch: float | None,
        not_before_epoch: float,
        poke_interval: float | None,
        settling_seconds: float,
        outage_seconds: float,
        progress: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seedream_conn_id = seedream_conn_id
        self.in_flight = in_flight
        self.wake_epoch = wake_epoch
        self.not_before_epoch = not_before_epoch
        self.poke_interval = poke_interval
        self.settling_seconds = settling_seconds
        self.outage_seconds = outage_seconds
        self.progress = progress

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "seedream_conn_id": self.seedream_conn_id,
                "in_flight": self.in_flight,
                "wake_epoch": self.wake_epoch,
                "not_before_epoch": self.not_before_epoch,
                "poke_interval": self.poke_interval,
                "settling_seconds": self.settling_seconds,
                "outage_seconds": self.outage_seconds,
                "progress": self.progress,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        watched: list[_Watched] = []
        try:
            watched += [_Watched(waiting, self) for waiting in self.in_flight]
            await self._watch(watched)
        except Exception:  # a raise would lose what the trigger knows
            self.log.exception("The generations in flight cannot be watched; the worker looks at them itself.")
            await asyncio.sleep(min(PATIENCE_SECONDS, (self.wake_epoch or math.inf) - clock.now_epoch()))
        await asyncio.sleep(self.not_before_epoch - clock.now_epoch())
        now = clock.now_epoch()
        seen = {
            "seconds_to_look": [one.seconds_to_look(now) for one in watched],
            "silent_seconds": [one.silent_seconds(now) for one in watched],
        }
        yield TriggerEvent({"schema_version": EVENT_VERSION, **seen, "progress": self.progress})

    async def _watch(self, watched: list["_Watched"]) -> None:
        """Look at each when it is due, until the worker should go on."""
        wake_epoch = math.inf if self.wake_epoch is None else self.wake_epoch
        if not watched:
            await asyncio.sleep(wake_epoch - clock.now_epoch())
            return
        async with status_client(self.seedream_conn_id) as client:
            while waiting := [one for one in watched if not one.has_ended]:
                if len(waiting) < len(watched):
                    wake_epoch = min(wake_epoch, min(one.ended_epoch for one in watched) + PATIENCE_SECONDS)
                if (now := clock.now_epoch()) >= wake_epoch:
                    return
                await asyncio.sleep(min(wake_epoch, *(one.due_epoch for one in waiting)) - now)
                until = min(wake_epoch, clock.now_epoch() + PATIENCE_SECONDS)  # for a turn, where looks count
                await asyncio.gather(*(one.look(client, until) for one in waiting if one.due_epoch <= clock.now_epoch()))


class _Watched:
    """One generation in flight."""

    def __init__(self, waiting: list[Any], trigger: SeedreamBatchTrigger) -> None:
        self.seedream_task_id, self.due_epoch, deadline_epoch, created_epoch, num_images, image_size, kind = waiting
        self.ended_epoch = math.inf
        self._watch = Watch()
        self._rules = Rules(
            deadline_epoch=deadline_epoch,
            poke_interval_seconds=trigger.poke_interval,
            num_images=num_images,
            image_size=image_size,
            kind=kind,
            created_epoch=created_epoch,
            settling_seconds=trigger.settling_seconds,
            outage_seconds=trigger.outage_seconds,
        )

    @property
    def has_ended(self) -> bool:
        return self.ended_epoch < math.inf

    def seconds_to_look(self, now_epoch: float) -> int:
        """When another look pays; 0 when it has ended."""
        return 0 if self.has_ended else max(1, math.ceil(self.due_epoch - now_epoch))

    def silent_seconds(self, now_epoch: float) -> int:
        """Since when the API gave no sign of life; 0 when it did."""
        since = self._watch.silent_epoch
        return 0 if since is None else math.ceil(now_epoch - since)

    async def look(self, client: Looks, until_epoch: float) -> None:
        look = await client.look(self.seedream_task_id, until_epoch=min(until_epoch, self._rules.deadline_epoch))
        now = clock.now_epoch()
        verdict, self._watch = decide(look, self._watch, self._rules, now_epoch=now, jitter=random.random(), seen=SEEN)
        learn(verdict, self._watch, self._rules, now_epoch=now, seen=SEEN)
        if verdict.outcome != "wait":
            self.ended_epoch = now
        self.due_epoch = now + verdict.wait_seconds
