"""Waiting for a generation, for the sensor and for operators with ``wait=True``.

The deferred and the synchronous wait differ only in the place where they sleep. The hook, the storage and the trigger are
imported when a task runs, as this module is loaded with every DAG.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from random import random
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, Context

from airflow_provider_seedream.exceptions import SeedreamGenerationTimeoutError
from airflow_provider_seedream.links import SeedreamImagesLink
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.tasks.backstop import UNHEARD, backstop, resumed
from airflow_provider_seedream.tasks.landing_operator import LandingOperator
from airflow_provider_seedream.tasks.wait_options import (
    OUTAGE_SECONDS,
    beyond_defaults,
    check_embed_metadata,
    execution_seconds,
    interval_of,
)

if TYPE_CHECKING:
    from airflow_provider_seedream.generations import Generation
    from airflow_provider_seedream.polling.decision import Rules, Verdict, Watch


class WaitingOperator(LandingOperator):
    """An operator that can wait for a generation and land it; its subclasses set these attributes.

    :param look_interval: seconds between looks; None: when they pay.
    """

    look_interval: float | None
    deferrable: bool
    settling_seconds: float
    operator_extra_links = (SeedreamImagesLink(),)
    _read: Sequence[str] = ()

    def wait_and_land(self, context: Context, generation: Generation, *, started_epoch: float) -> dict[str, Any]:
        """A LandedGeneration as a dict. Raises what ends the wait, or defers."""
        self._waits_for = generation
        check_embed_metadata(self.embed_metadata)
        if landed := self._already_landed(context, generation):
            return landed
        self._note_options(generation)
        rules = self._rules(generation, started_epoch)
        verdict, watch = self._begin(generation, rules)
        if verdict.outcome == "wait":
            if self.deferrable:
                self._defer(generation, watch, rules, verdict)
            verdict = self._watch_in_time(context, generation, watch, rules, verdict)
        return self._finish(context, generation, verdict)

    def resume_landing(self, context: Context, event: Any, generation: dict[str, Any] | None = None) -> dict[str, Any]:
        """Continue after a deferral: the trigger has polled, the worker lands.

        :param generation: as it was before the wait; None if Airflow did not keep it (``dag.test()``, ``airflow tasks test``).
        """
        from airflow_provider_seedream.generations import Generation
        from airflow_provider_seedream.triggers.seedream import verdict_from

        self._waits_for = known = self.find_again(event) if generation is None else Generation.from_dict(generation)
        return self._finish(context, known, verdict_from(event, known.seedream_task_id), look_again=True)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        go_on = partial(super().resume_execution, next_method, next_kwargs, context)
        return resumed(self, go_on, self.resume_unheard, context)

    def resume_unheard(self, context: Context) -> dict[str, Any]:
        """Continue a wait whose trigger sent no event until the time was over: poll once, and land the images that are ready."""
        return self.look_once(context, self.find_again(None))

    def look_once(self, context: Context, generation: Generation) -> dict[str, Any]:
        """The time is over: land the generation if it is ready, else raise the error that ends the wait."""
        from airflow_provider_seedream.polling.decision import Watch

        self._waits_for = generation
        if landed := self._already_landed(context, generation):
            return landed
        rules = self._rules(generation, clock.now_epoch() - self._patience_seconds)
        verdict, _ = self._look(generation, Watch(), rules)
        try:
            return self._finish(context, generation, verdict)
        except SeedreamGenerationTimeoutError as error:
            error.message += f" {UNHEARD}"
            raise

    def find_again(self, event: Any) -> Generation:
        """The generation of this wait, from the ledger record that the event names.

        :raises SeedreamLedgerError: a retry attaches to what was paid.
        """
        from airflow_provider_seedream.landing.finish import generation_of

        return generation_of(event)

    def note_reads(self, uris: Sequence[str]) -> None:
        """Remember and tell what this task has read."""
        from airflow_provider_seedream.observability.lineage import report

        self._read = uris
        report(self._hook, reads=uris)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Asked by OpenLineage's listener, where there is one, when the task has ended, also by failing."""
        from airflow_provider_seedream.observability.openlineage import lineage_of_files, lineage_of_landing

        return lineage_of_landing(*self._landed) if self._landed else lineage_of_files(self._read)

    def between_looks(self, wait_seconds: float, watch: Watch) -> None:
        """The synchronous wait's pause; it holds the worker slot, which is what ``deferrable=False`` asks for."""
        time.sleep(wait_seconds)

    def _rules(self, generation: Generation, started_epoch: float) -> Rules:
        from airflow_provider_seedream.polling.decision import Rules

        return Rules(
            num_images=generation.num_images,
            deadline_epoch=started_epoch + self._patience_seconds,
            poke_interval_seconds=interval_of(self.look_interval),
            settling_seconds=self.settling_seconds,
            outage_seconds=OUTAGE_SECONDS,
            image_size=generation.image_size,
            kind=generation.kind,
            created_epoch=clock.to_epoch(generation.created_at),
        )

    def _note_options(self, generation: Generation) -> None:
        from airflow_provider_seedream.landing.finish import note_options

        note_options(generation, beyond_defaults(embed_metadata=self.embed_metadata, max_image_bytes=self.max_image_bytes))

    def _begin(self, generation: Generation, rules: Rules) -> tuple[Verdict, Watch]:
        """Poll first, unless the job cannot be ready yet."""
        from airflow_provider_seedream.polling.decision import Verdict, Watch, seconds_before_first_look
        from airflow_provider_seedream.polling.schedule import SEEN

        seconds = seconds_before_first_look(rules, now_epoch=clock.now_epoch(), seen=SEEN)
        if seconds:
            return Verdict(outcome="wait", wait_seconds=seconds), Watch()
        return self._look(generation, Watch(), rules)

    def _look(self, generation: Generation, watch: Watch, rules: Rules) -> tuple[Verdict, Watch]:
        from airflow_provider_seedream.generations import GenerationStatus
        from airflow_provider_seedream.polling.decision import decide, learn
        from airflow_provider_seedream.polling.schedule import SEEN

        look = self._hook.look(generation.seedream_task_id)
        now = clock.now_epoch()
        verdict, watch = decide(look, watch, rules, now_epoch=now, jitter=random(), seen=SEEN)
        learn(verdict, watch, rules, now_epoch=now, seen=SEEN)
        if isinstance(look, GenerationStatus) and look.images_ready:
            self._ready = look
        if verdict.note:
            self.log.info("Seedream task %s: %s", generation.seedream_task_id, verdict.note)
        return verdict, watch

    def _watch_in_time(self, context: Context, generation: Generation, watch: Watch, rules: Rules, verdict: Verdict) -> Verdict:
        """Poll until the wait ends. Airflow's own ``execution_timeout`` may interrupt it."""
        try:
            return self._watch(generation, watch, rules, verdict)
        except AirflowTaskTimeout:
            self._land_ready(context, generation, look_again=False)
            raise

    def _watch(self, generation: Generation, watch: Watch, rules: Rules, verdict: Verdict) -> Verdict:
        while verdict.outcome == "wait":
            self.between_looks(verdict.wait_seconds, watch)
            verdict, watch = self._look(generation, watch, rules)
        return verdict

    def _defer(self, generation: Generation, watch: Watch, rules: Rules, verdict: Verdict) -> None:
        from airflow_provider_seedream.polling.decision import MIN_FIRST_POLL_SECONDS, first_poll_seconds
        from airflow_provider_seedream.triggers.seedream import SeedreamGenerationTrigger

        now = clock.now_epoch()
        fixed = rules.poke_interval_seconds is not None
        first = first_poll_seconds(rules, now_epoch=now) if fixed else MIN_FIRST_POLL_SECONDS  # the triggerer knows more
        trigger = SeedreamGenerationTrigger(
            seedream_task_id=generation.seedream_task_id,
            seedream_conn_id=self.seedream_conn_id,
            num_images=generation.num_images,
            first_poll_epoch=min(now + max(first, verdict.asked_seconds), rules.deadline_epoch),
            deadline_epoch=rules.deadline_epoch,
            poke_interval=rules.poke_interval_seconds,
            settling_seconds=rules.settling_seconds,
            outage_seconds=rules.outage_seconds,
            watch=watch.instants(),
            image_size=rules.image_size,
            kind=rules.kind,
            created_epoch=rules.created_epoch,
            record=generation.record,
        )
        self.log.info("Waiting for seedream task %s.", generation.seedream_task_id)
        self.defer(
            trigger=trigger,
            method_name="resume_landing",
            kwargs={"generation": generation.to_dict()},
            timeout=backstop(rules.deadline_epoch, now_epoch=now),
        )

    @property
    def _patience_seconds(self) -> float:
        """How long a try may wait in all, in seconds: for the rate limit and for the images."""
        return min(self.timeout, execution_seconds(self))
