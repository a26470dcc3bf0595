"""Status and wallet calls of triggers. They wait for a turn if the connection says that such calls count
toward the rate limit.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_seedream.generations import GenerationStatus, Wallet
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.policy import FailedPoll
from airflow_provider_seedream.rate_limit.queue import TurnQueue

if TYPE_CHECKING:
    from airflow_provider_seedream.hooks.async_status import StatusClient

T = TypeVar("T", GenerationStatus, Wallet)


class PacedClient:
    """Polls at the pace of the connection::

        async with paced_client("seedream_default") as client:
            answer = await client.poll("b1c2d3")  # a GenerationStatus or a FailedPoll

    :param client: sends the calls.
    :param queue: the queue in which a poll waits for its turn; None if status calls do not count toward the
        rate limit.
    """

    def __init__(self, client: "StatusClient", queue: TurnQueue | None) -> None:
        self._client = client
        self._queue = queue
        # since when each poll waits: its place in the queue, also if it has to ask again
        self._asked: dict[str, float] = {}

    def turns(self) -> list[list[int]]:
        """The turns of the last minute, of all triggers of the connection here; empty where polls do not
        count. See the limiter.
        """
        return self._queue.limiter.turns(clock.now_epoch()) if self._queue else []

    async def poll(
        self, seedream_task_id: str, *, until_epoch: float = math.inf
    ) -> GenerationStatus | FailedPoll:
        """One status call, sent once; an error is returned, not raised. No turn by ``until_epoch`` counts
        as throttled.
        """
        if self._queue is None:
            return await self._client.poll(seedream_task_id)
        return await self._in_turn(
            self._queue, seedream_task_id, partial(self._client.poll, seedream_task_id), until_epoch
        )

    async def poll_wallet(self, *, until_epoch: float = math.inf) -> Wallet | FailedPoll:
        """The same for the wallet: one wallet call, sent once."""
        if self._queue is None:
            return await self._client.poll_wallet()
        return await self._in_turn(self._queue, "wallet", self._client.poll_wallet, until_epoch)

    async def _in_turn(
        self, queue: TurnQueue, who: str, call: Callable[[], Awaitable[T | FailedPoll]], until_epoch: float
    ) -> T | FailedPoll:
        """Wait for a turn, send the call, and tell the queue of a 429.

        :param who: the id of the generation, or ``wallet``. Its place in the queue is kept if no turn comes
            in time.
        :param until_epoch: no turn after this, in epoch seconds.
        """
        asked_epoch = self._asked.setdefault(who, clock.now_epoch())
        try:
            async with asyncio.timeout(None if math.isinf(until_epoch) else until_epoch - clock.now_epoch()):
                granted_epoch = await queue.turn("poll", asked_epoch=asked_epoch)
        except TimeoutError:
            return FailedPoll(trouble="throttled", detail="no turn yet")
        del self._asked[who]
        answer = await call()
        if isinstance(answer, FailedPoll) and answer.trouble == "throttled":
            wait = answer.retry_after_seconds
            queue.throttled(clock.now_epoch(), retry_after_seconds=wait, granted_epoch=granted_epoch)
        return answer
