"""The trigger of one generation: poll, decide, send one small event. It only sends GETs, so a second copy of
it does no harm.

It holds ids and numbers; the triggerer reads the key from the connection. Never imports landing or the
ledger.
"""

import asyncio
import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.contract import Kind
from airflow_provider_seedream.polling.loops import wait_async
from airflow_provider_seedream.polling.policy import PollOutcome, PollPolicy, PollState, Verdict
from airflow_provider_seedream.polling.poller import Poller
from airflow_provider_seedream.triggers.base import EVENT_VERSION, SeedreamTrigger, fields_of
from airflow_provider_seedream.triggers.client import load_client, paced_client

MAX_EVENT_BYTES = 960  # of 1 KB: the whole event is logged


@dataclass(eq=False, kw_only=True)
class SeedreamGenerationTrigger(SeedreamTrigger):
    """Waits until a generation is done, failed, late or lost. The sensor and the operators defer to it::

        SeedreamGenerationTrigger(
            seedream_task_id="b1c2d3",
            seedream_conn_id="seedream_default",
            num_images=2,
            first_poll_epoch=now + 20,
            deadline_epoch=now + 3600,
            poke_interval=None,
            settling_seconds=120,
            outage_seconds=1800,
        )

    :param seedream_task_id: the API's id. :param seedream_conn_id: the connection.
    :param num_images: images asked for; None if unknown.
    :param first_poll_epoch: when to poll first. :param deadline_epoch: when to give up, both in epoch
        seconds.
    :param poke_interval: seconds between polls; each varies by a tenth. None: the first poll when the job can
        be ready, but not before ``first_poll_epoch``, and further ones more often while it is probably ready.
    :param settling_seconds: how long links may follow FINISHED. :param outage_seconds: how long the API may
        be unreachable.
    :param watch: since when the generation has been FINISHED without links, or the API silent, in epoch
        seconds (``PollState.instants()``); None if neither has begun.
    :param image_size: as submitted. :param kind: ``generate`` or ``edit``.
    :param created_epoch: when it was submitted. These three tell when the job can be ready; None if unknown.
    :param record: URI of its ledger record, which comes back in the event; None without one.
    """

    seedream_task_id: str
    seedream_conn_id: str
    num_images: int | None
    first_poll_epoch: float
    deadline_epoch: float
    poke_interval: float | None
    settling_seconds: float
    outage_seconds: float
    watch: dict[str, float | None] | None = None
    image_size: str | None = None
    kind: Kind | None = None
    created_epoch: float | None = None
    record: str | None = None

    @property
    def policy(self) -> PollPolicy:
        """The stored arguments as the policy of a wait."""
        return PollPolicy(
            num_images=self.num_images,
            deadline_epoch=self.deadline_epoch,
            poke_interval_seconds=self.poke_interval,
            settling_seconds=self.settling_seconds,
            outage_seconds=self.outage_seconds,
            image_size=self.image_size,
            kind=self.kind,
            created_epoch=self.created_epoch,
        )

    async def wait(self) -> dict[str, Any]:
        await load_client()
        poller = Poller(self.policy, self._state(), on_note=self._note)
        now = clock.now_epoch()
        poller.due_epoch = max(self.first_poll_epoch, now + poller.seconds_before_first_poll(now_epoch=now))
        # read the connection after it: its key may be rotated meanwhile
        await asyncio.sleep(poller.due_epoch - now)
        async with paced_client(self.seedream_conn_id) as client:
            poll = partial(client.poll, self.seedream_task_id, until_epoch=self.deadline_epoch)
            return self._event(await wait_async(poller, poll))

    def _state(self) -> PollState:
        return PollState(**(self.watch or {}))  # type: ignore[arg-type]  # instants() holds no statuses

    def _note(self, note: str) -> None:
        # a logger is five objects: most waits need none
        self.log.info("Seedream task %s: %s", self.seedream_task_id, note)

    async def give_up(self, error: Exception) -> dict[str, Any]:
        said = getattr(error, "message", error)  # without "paid", which a trigger cannot know
        return self._event(
            PollOutcome(verdict="lost", detail=f"The trigger failed ({type(error).__name__}: {said}).")
        )

    def _event(self, outcome: PollOutcome) -> dict[str, Any]:
        return event_from(self.seedream_task_id, outcome, record=self.record)


def event_from(seedream_task_id: str, outcome: PollOutcome, *, record: str | None = None) -> dict[str, Any]:
    """The trigger's event, smaller than 1 KB, as Airflow logs all of it.

    :param record: URI of the ledger record: a task that is resumed without its own arguments finds its
        generation there (``dag.test()`` and ``airflow tasks test`` drop them).
    """
    event = {
        "schema_version": EVENT_VERSION,
        "seedream_task_id": seedream_task_id,
        "outcome": outcome.verdict,
        "detail": outcome.detail,
        "refunded": outcome.refunded,
        "record": record,
    }
    while len(json.dumps(event)) > MAX_EVENT_BYTES and event["detail"]:
        event["detail"] = str(event["detail"])[: len(str(event["detail"])) * 3 // 4]
    if len(json.dumps(event)) > MAX_EVENT_BYTES:  # a folder with an address of many hundred characters
        event["record"] = None
    return event


def outcome_from(event: Any, seedream_task_id: str) -> PollOutcome:
    """The outcome in an event. An event of another form counts as "lost": the retry that follows is free."""
    known: tuple[Verdict, ...] = (
        "done",
        "failed",
        "unsettled",
        "late",
        "lost",
        "missing",
        "refused",
        "expired",
    )
    told = fields_of(event)
    if told.get("seedream_task_id") != seedream_task_id or told.get("outcome") not in known:
        return PollOutcome(
            verdict="lost", detail=f"The trigger's event is not understood: {str(event)[:200]}."
        )
    detail, refunded = str(told.get("detail", "")), told.get("refunded") is True
    return PollOutcome(verdict=told["outcome"], detail=detail, refunded=refunded)
