"""The trigger of a batch: polls all generations in flight, and wakes the worker when there is enough to do.

It only sends GETs, so a second copy does no harm. It holds ids and numbers. Never imports landing or the
ledger.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.loops import wait_async
from airflow_provider_seedream.polling.policy import PollOutcome, PollPolicy
from airflow_provider_seedream.polling.poller import Poller
from airflow_provider_seedream.triggers.base import SeedreamTrigger
from airflow_provider_seedream.triggers.client import paced_client

# finished images wait up to 30 s so that several land in one wake-up: each costs a task process
PATIENCE_SECONDS = 30.0


@dataclass(eq=False, kw_only=True)
class SeedreamBatchTrigger(SeedreamTrigger):
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

    Its event says of each generation, in their order, in how many seconds to poll it again (0: it has ended),
    and for how many seconds the API has been silent (an empty list: it has answered all). Where polls count
    toward the rate limit, it says how many were sent in the last minute: the worker goes on with the same
    key.

    :param seedream_conn_id: the connection.
    :param in_flight: one list for each generation: seedream_task_id, due_epoch, deadline_epoch,
        created_epoch, num_images, image_size, kind; at most ``max_in_flight``.
    :param wake_epoch: when the worker wants to continue in any case; None: only when generations have ended.
    :param not_before_epoch: no event before that (apache/airflow#66374).
    :param poke_interval: seconds between polls of one generation; None: more often while it is probably
        ready.
    :param settling_seconds: how long links may follow FINISHED. :param outage_seconds: how long the API may
        be unreachable.
    :param progress: name of the batch's progress file; it comes back in the event. None in rows of 0.2.
    """

    seedream_conn_id: str
    in_flight: list[list[Any]]
    wake_epoch: float | None
    not_before_epoch: float
    poke_interval: float | None
    settling_seconds: float
    outage_seconds: float
    progress: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._pollers: list[Poller] = []
        self._turns: list[list[int]] = []

    async def wait(self) -> dict[str, Any]:
        # Kept on the trigger: after an error, the event still holds their state.
        self._pollers += map(self._poller, self.in_flight)
        if self._pollers:
            async with paced_client(self.seedream_conn_id) as client:
                # Each generation in a task of its own, so that a slow answer delays no other, until the
                # worker should go on. Its id is the first item of its stored list, see ``in_flight`` above.
                polls = [
                    asyncio.create_task(
                        wait_async(
                            poller, partial(client.poll, task_id, until_epoch=poller.policy.deadline_epoch)
                        )
                    )
                    for (task_id, *_), poller in zip(self.in_flight, self._pollers, strict=True)
                ]
                try:
                    await _raising(polls, seconds=self._seconds_to_wake(), until=asyncio.FIRST_COMPLETED)
                    await _raising(
                        polls,
                        seconds=min(PATIENCE_SECONDS, self._seconds_to_wake()),
                        until=asyncio.FIRST_EXCEPTION,
                    )
                finally:
                    for poll in polls:
                        poll.cancel()
                    await asyncio.gather(*polls, return_exceptions=True)
                    self._turns = client.turns()
        else:
            await asyncio.sleep(self._seconds_to_wake())
        return await self._event()

    async def give_up(self, error: Exception) -> dict[str, Any]:
        # A worker that is woken at once would defer at once, so a lasting error pauses.
        await asyncio.sleep(min(PATIENCE_SECONDS, self._seconds_to_wake()))
        return await self._event()

    def _poller(self, generation: list[Any]) -> Poller:
        _, due_epoch, deadline_epoch, created_epoch, num_images, image_size, kind = generation
        policy = PollPolicy(
            deadline_epoch=deadline_epoch,
            poke_interval_seconds=self.poke_interval,
            num_images=num_images,
            image_size=image_size,
            kind=kind,
            created_epoch=created_epoch,
            settling_seconds=self.settling_seconds,
            outage_seconds=self.outage_seconds,
        )
        return Poller(policy, due_epoch=due_epoch)

    def _seconds_to_wake(self) -> float:
        """Seconds until the worker wants to continue in any case, infinite if it does not; never negative."""
        return math.inf if self.wake_epoch is None else max(0.0, self.wake_epoch - clock.now_epoch())

    async def _event(self) -> dict[str, Any]:
        await asyncio.sleep(self.not_before_epoch - clock.now_epoch())
        now = clock.now_epoch()
        silent_seconds = [_silent_seconds(one, now) for one in self._pollers]
        return {
            # Whole seconds, as a hundred of them must fit into 1 KB: until the next poll at least 1; 0 if the
            # wait has ended.
            "seconds_to_look": [
                0 if one.has_ended else max(1, math.ceil(one.due_epoch - now)) for one in self._pollers
            ],
            "silent_seconds": silent_seconds if any(silent_seconds) else [],
            "turns": self._turns,
            "progress": self.progress,
        }


async def _raising(polls: Iterable[asyncio.Task[PollOutcome]], *, seconds: float, until: str) -> None:
    """Wait for these tasks as ``asyncio.wait`` does, and raise the error of one that has failed."""
    ended, _ = await asyncio.wait(polls, timeout=None if math.isinf(seconds) else seconds, return_when=until)
    for poll in ended:
        poll.result()


def _silent_seconds(poller: Poller, now_epoch: float) -> int:
    """Whole seconds since the API last answered; 0 if the last poll was answered."""
    since = poller.state.silent_epoch
    return 0 if since is None else math.ceil(now_epoch - since)
