"""The trigger of the wallet: poll, decide, send one small event. It only sends GETs, so a second copy of it
does no harm.

It holds numbers and a connection id. Never imports landing or the ledger.
"""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.loops import wait_async
from airflow_provider_seedream.polling.policy import PollOutcome, PollPolicy, PollState, Verdict
from airflow_provider_seedream.polling.poller import Poller
from airflow_provider_seedream.triggers.base import EVENT_VERSION, SeedreamTrigger, fields_of
from airflow_provider_seedream.triggers.client import load_client, paced_client

MAX_DETAIL_CHARACTERS = 400


@dataclass(eq=False, kw_only=True)
class SeedreamCreditsTrigger(SeedreamTrigger):
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
    :param first_poll_epoch: when to poll first. :param deadline_epoch: when to give up, both in epoch
        seconds.
    :param poke_interval: seconds between polls. :param outage_seconds: how long the API may be unreachable.
    :param watch: since when the API has been silent, in epoch seconds (``PollState.instants()``); None if it
        has not been.
    """

    seedream_conn_id: str
    min_credits: str
    first_poll_epoch: float
    deadline_epoch: float
    poke_interval: float
    outage_seconds: float
    watch: dict[str, float | None] | None = None

    @property
    def policy(self) -> PollPolicy:
        """The stored arguments as the policy of a wait for the wallet."""
        return PollPolicy(
            min_credits=Decimal(self.min_credits),
            deadline_epoch=self.deadline_epoch,
            poke_interval_seconds=self.poke_interval,
            outage_seconds=self.outage_seconds,
        )

    async def wait(self) -> dict[str, Any]:
        await load_client()
        state = PollState(**(self.watch or {}))  # type: ignore[arg-type]  # instants() holds no statuses
        poller = Poller(
            self.policy, state, due_epoch=self.first_poll_epoch, on_note=partial(self.log.info, "%s")
        )
        # read the connection after it: its key may be rotated meanwhile
        await asyncio.sleep(poller.due_epoch - clock.now_epoch())
        async with paced_client(self.seedream_conn_id) as client:
            return event_from(
                await wait_async(poller, partial(client.poll_wallet, until_epoch=self.deadline_epoch))
            )

    async def give_up(self, error: Exception) -> dict[str, Any]:
        return event_from(
            PollOutcome(verdict="lost", detail=f"The trigger failed ({type(error).__name__}: {error}).")
        )


def event_from(outcome: PollOutcome) -> dict[str, Any]:
    """The trigger's event, smaller than 1 KB."""
    return {
        "schema_version": EVENT_VERSION,
        "outcome": outcome.verdict,
        "detail": outcome.detail[:MAX_DETAIL_CHARACTERS],
    }


def outcome_from(event: Any) -> PollOutcome:
    """The outcome in an event. An event of another form counts as "lost": the retry that follows is free."""
    known: tuple[Verdict, ...] = ("done", "late", "lost", "missing", "refused")
    told = fields_of(event)
    if told.get("outcome") not in known:
        return PollOutcome(
            verdict="lost", detail=f"The trigger's event is not understood: {str(event)[:200]}."
        )
    return PollOutcome(verdict=told["outcome"], detail=str(told.get("detail", "")))
