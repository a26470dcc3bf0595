"""The trigger of the wallet: poll, decide, send one small event. It only sends GETs, so a second copy of it does no harm.

It holds numbers and a connection id. It does not raise: an error becomes its event, so the worker learns of it.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.decision import Outcome, Rules, Verdict, Watch
from airflow_provider_seedream.polling.wallet import decide_balance
from airflow_provider_seedream.triggers.client import load_client, status_client

EVENT_VERSION = 1
MAX_DETAIL_CHARACTERS = 400


class SeedreamCreditsTrigger(BaseTrigger):
    """Waits until the wallet holds enough::

        SeedreamCreditsTrigger(
            seedream_conn_id="seedream_default",
            min_credits="500",
            first_poll_epoch=now + 60,
            deadline_epoch=now + 86400,
            poke_interval=60,
            outage_seconds=1800,
        )

    :param seedream_conn_id: the connection. :param min_credits: the credits to wait for, as decimal text.
    :param first_poll_epoch: when to poll first. :param deadline_epoch: when to give up, both in epoch seconds.
    :param poke_interval: seconds between polls. :param outage_seconds: how long the API may be unreachable.
    :param watch: since when the API has been silent, in epoch seconds (``Watch.instants()``); None if it has not been.
    """

    def __init__(
        self,
        *,
        seedream_conn_id: str,
        min_credits: str,
        first_poll_epoch: float,
        deadline_epoch: float,
        poke_interval: float,
        outage_seconds: float,
        watch: dict[str, float | None] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seedream_conn_id = seedream_conn_id
        self.min_credits = min_credits
        self.first_poll_epoch = first_poll_epoch
        self.rules = Rules(
            num_images=None,
            deadline_epoch=deadline_epoch,
            poke_interval_seconds=poke_interval,
            outage_seconds=outage_seconds,
        )
        self.watch = Watch(**(watch or {}))  # type: ignore[arg-type]  # instants() holds no statuses

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "seedream_conn_id": self.seedream_conn_id,
                "min_credits": self.min_credits,
                "first_poll_epoch": self.first_poll_epoch,
                "deadline_epoch": self.rules.deadline_epoch,
                "poke_interval": self.rules.poke_interval_seconds,
                "outage_seconds": self.rules.outage_seconds,
                "watch": self.watch.instants(),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            verdict = await self._watch()
        except Exception as error:  # a raise would lose what the trigger knows
            self.log.exception("The wallet cannot be watched.")
            verdict = Verdict(outcome="lost", detail=f"The trigger failed ({type(error).__name__}: {error}).")
        yield TriggerEvent(event_from(verdict))

    async def _watch(self) -> Verdict:
        await load_client()
        await asyncio.sleep(self.first_poll_epoch - clock.now_epoch())
        watch, enough = self.watch, Decimal(self.min_credits)
        async with status_client(self.seedream_conn_id) as client:
            while True:
                look = await client.look_at_wallet(until_epoch=self.rules.deadline_epoch)
                now, jitter = clock.now_epoch(), random.random()
                verdict, watch = decide_balance(look, enough, watch, self.rules, now_epoch=now, jitter=jitter)
                if verdict.note:
                    self.log.info("%s", verdict.note)
                if verdict.outcome != "wait":
                    return verdict
                await asyncio.sleep(verdict.wait_seconds)


def event_from(verdict: Verdict) -> dict[str, Any]:
    """What the trigger says, in less than 1 KB."""
    return {"schema_version": EVENT_VERSION, "outcome": verdict.outcome, "detail": verdict.detail[:MAX_DETAIL_CHARACTERS]}


def verdict_from(event: Any) -> Verdict:
    """The verdict in an event; anything that is not ours is "lost", which costs a free retry."""
    known: tuple[Outcome, ...] = ("done", "late", "lost", "missing", "refused")
    if not isinstance(event, dict) or event.get("schema_version") != EVENT_VERSION or event.get("outcome") not in known:
        return Verdict(outcome="lost", detail=f"The trigger's event is not understood: {str(event)[:200]}.")
    return Verdict(outcome=event["outcome"], detail=str(event.get("detail", "")))
