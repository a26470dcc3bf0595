"""Status and wallet calls of triggers. They wait for a turn if the connection says that such calls count toward the rate limit."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_seedream.generations import GenerationStatus, Wallet
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.decision import FailedLook
from airflow_provider_seedream.rate_limit.queue import TurnQueue

if TYPE_CHECKING:
    from airflow_provider_seedream.hooks.async_status import StatusClient

T = TypeVar("T", GenerationStatus, Wallet)


class Looks:
    """Polls through a client::

        async with status_client("seedream_default") as looks:
            answer = await looks.look("b1c2d3")  # a GenerationStatus or a FailedLook

    :param queue: the queue in which a poll waits for its turn; None if status calls do not count toward the rate limit.
    """

    def __init__(self, client: "StatusClient", queue: TurnQueue | None) -> None:
        self._client = client
        self._queue = queue
        self._asked: dict[str, float] = {}  # since when each poll waits: its place in the queue, also if it has to ask again

    async def look(self, seedream_task_id: str, *, until_epoch: float = math.inf) -> GenerationStatus | FailedLook:
        """One status call, sent once; an error is returned, not raised. No turn by ``until_epoch`` counts as throttled."""
        return await self._in_turn(seedream_task_id, partial(self._client.look, seedream_task_id), until_epoch)

    async def look_at_wallet(self, *, until_epoch: float = math.inf) -> Wallet | FailedLook:
        """The same for the wallet."""
        return await self._in_turn("wallet", self._client.look_at_wallet, until_epoch)

    async def _in_turn(self, who: str, call: Callable[[], Awaitable[T | FailedLook]], until_epoch: float) -> T | FailedLook:
        if self._queue is None:
            return await call()
        asked_epoch = self._asked.setdefault(who, clock.now_epoch())
        try:
            async with asyncio.timeout(None if math.isinf(until_epoch) else until_epoch - clock.now_epoch()):
                granted_epoch = await self._queue.turn("look", asked_epoch=asked_epoch)
        except TimeoutError:
            return FailedLook(trouble="throttled", detail="no turn yet")
        del self._asked[who]
        look = await call()
        if isinstance(look, FailedLook) and look.trouble == "throttled":
            wait = look.retry_after_seconds
            self._queue.throttled(clock.now_epoch(), retry_after_seconds=wait, granted_epoch=granted_epoch)
        return look
