"""The trigger of one generation: poll, decide, send one small event. It only sends GETs, so a second copy of it does no harm.

It holds ids and numbers; the triggerer looks up the key. It never imports landing or the ledger, and it does not raise: an error
becomes its event, so the worker learns of it.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.contract import Kind
from airflow_provider_seedream.polling.decision import Outcome, Rules, Verdict, Watch, decide, learn, seconds_before_first_look
from airflow_provider_seedream.polling.schedule import SEEN
from airflow_provider_seedream.triggers.client import load_client, status_client

EVENT_VERSION = 1
MAX_EVENT_BYTES = 960  # of 1 KB: the whole event is logged


class SeedreamGenerationTrigger(BaseTrigger):
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
    :param first_poll_epoch: when to poll first. :param deadline_epoch: when to give up, both in epoch seconds.
    :param poke_interval: seconds between polls; each varies by a tenth. None: the first poll when the job can be ready, but not
        before ``first_poll_epoch``, and further ones more often while it is probably ready.
    :param settling_seconds: how long links may follow FINISHED. :param outage_seconds: how long the API may be unreachable.
    :param watch: since when the generation has been FINISHED without links, or the API silent, in epoch seconds
        (``Watch.instants()``); None if neither has begun.
    :param image_size: as submitted. :param kind: ``generate`` or ``edit``.
    :param created_epoch: when it was submitted. These three tell when the job can be ready; None if unknown.
    :param record: URI of its ledger record, which comes back in the event; None without one.
    """

    def __init__(
        self,
        *,
        seedream_task_id: str,
        seedream_conn_id: str,
        num_images: int | None,
        first_poll_epoch: float,
        deadline_epoch: float,
        poke_interval: float | None,
        settling_seconds: float,
        outage_seconds: float,
        watch: dict[str, float | None] | None = None,
        image_size: str | None = None,
        kind: Kind | None = None,
        created_epoch: float | None = None,
        record: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seedream_task_id = seedream_task_id
        self.seedream_conn_id = seedream_conn_id
        self.first_poll_epoch = first_poll_epoch
        self.rules = Rules(
            num_images=num_images,
            deadline_epoch=deadline_epoch,
            poke_interval_seconds=poke_interval,
            settling_seconds=settling_seconds,
            outage_seconds=outage_seconds,
            image_size=image_size,
            kind=kind,
            created_epoch=created_epoch,
        )
        self.record = record
        self.watch = Watch(**(watch or {}))  # type: ignore[arg-type]  # instants() holds no statuses

    def serialize(self) -> tuple[str, dict[str, Any]]:
        rules = self.rules
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "seedream_task_id": self.seedream_task_id,
                "seedream_conn_id": self.seedream_conn_id,
                "num_images": rules.num_images,
                "first_poll_epoch": self.first_poll_epoch,
                "deadline_epoch": rules.deadline_epoch,
                "poke_interval": rules.poke_interval_seconds,
                "settling_seconds": rules.settling_seconds,
                "outage_seconds": rules.outage_seconds,
                "watch": self.watch.instants(),
                "image_size": rules.image_size,
                "kind": rules.kind,
                "created_epoch": rules.created_epoch,
                "record": self.record,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            verdict = await self._watch()
        except Exception as error:  # a raise would lose what the trigger knows
            self.log.exception("Seedream task %s cannot be watched.", self.seedream_task_id)
            said = getattr(error, "message", error)  # without what is paid, which it cannot know
            verdict = Verdict(outcome="lost", detail=f"The trigger failed ({type(error).__name__}: {said}).")
        yield TriggerEvent(event_from(self.seedream_task_id, verdict, record=self.record))

    async def _watch(self) -> Verdict:
        await load_client()
        await asyncio.sleep(self._seconds_before_first_look())
        watch = self.watch
        async with status_client(self.seedream_conn_id) as looks:
            while True:
                look = await looks.look(self.seedream_task_id, until_epoch=self.rules.deadline_epoch)
                now, jitter = clock.now_epoch(), random.random()
                verdict, watch = decide(look, watch, self.rules, now_epoch=now, jitter=jitter, seen=SEEN)
                if verdict.note:
                    self.log.info("Seedream task %s: %s", self.seedream_task_id, verdict.note)
                if verdict.outcome != "wait":
                    learn(verdict, watch, self.rules, now_epoch=now, seen=SEEN)
                    return verdict
                await asyncio.sleep(verdict.wait_seconds)

    def _seconds_before_first_look(self) -> float:
        now = clock.now_epoch()
        return max(self.first_poll_epoch - now, seconds_before_first_look(self.rules, now_epoch=now, seen=SEEN))


def event_from(seedream_task_id: str, verdict: Verdict, *, record: str | None = None) -> dict[str, Any]:
    """The trigger's event, smaller than 1 KB, as Airflow logs all of it.

    :param record: URI of the ledger record: a task that is resumed without its own arguments finds its generation there
        (``dag.test()`` and ``airflow tasks test`` drop them).
    """
    event = {
        "schema_version": EVENT_VERSION,
        "seedream_task_id": seedream_task_id,
        "outcome": verdict.outcome,
        "detail": verdict.detail,
        "refunded": verdict.refunded,
        "record": record,
    }
    while len(json.dumps(event)) > MAX_EVENT_BYTES and event["detail"]:
        event["detail"] = str(event["detail"])[: len(str(event["detail"])) * 3 // 4]
    if len(json.dumps(event)) > MAX_EVENT_BYTES:  # a folder with an address of many hundred characters
        event["record"] = None
    return event


def verdict_from(event: Any, seedream_task_id: str) -> Verdict:
    """The verdict in an event. An event of another form counts as "lost": the retry that follows is free."""
    known: tuple[Outcome, ...] = ("done", "failed", "unsettled", "late", "lost", "missing", "refused", "expired")
    if (
        not isinstance(event, dict)
        or event.get("schema_version") != EVENT_VERSION
        or event.get("seedream_task_id") != seedream_task_id
        or event.get("outcome") not in known
    ):
        return Verdict(outcome="lost", detail=f"The trigger's event is not understood: {str(event)[:200]}.")
    detail, refunded = str(event.get("detail", "")), event.get("refunded") is True
    return Verdict(outcome=event["outcome"], detail=detail, refunded=refunded)
