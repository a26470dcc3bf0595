"""Waiting for a generation, for the sensor and for operators with ``wait=True``.

The deferred and the synchronous wait differ only in the place where they sleep. The hook, the storage and the
trigger are imported when a task runs, as this module is loaded with every DAG.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, Context

from airflow_provider_seedream.exceptions import SeedreamGenerationTimeoutError
from airflow_provider_seedream.links import SeedreamImagesLink
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.tasks.backstop import UNHEARD, backstop, resumed
from airflow_provider_seedream.tasks.landing_operator import LandingOperator
from airflow_provider_seedream.tasks.wait_options import (
    beyond_defaults,
    check_embed_metadata,
    execution_seconds,
    interval_of,
)

if TYPE_CHECKING:
    from airflow_provider_seedream.generations import Generation, GenerationStatus
    from airflow_provider_seedream.polling.policy import FailedPoll, PollOutcome, PollState
    from airflow_provider_seedream.polling.poller import Poller


class WaitingOperator(LandingOperator):
    """An operator that can wait for a generation and land it; its subclasses set these attributes::

        class SeedreamGenerationSensor(WaitingOperator, SeedreamSensor):
            def execute(self, context):
                return self.wait_and_land(
                    context, self._generation(), started_epoch=self.started_epoch(context)
                )

    :param poll_interval: seconds between polls; None: by the poll schedule.
    :param deferrable: True: wait in the triggerer; False: hold the worker slot.
    :param settling_seconds: how long links may follow FINISHED.
    """

    poll_interval: float | None
    deferrable: bool
    settling_seconds: float
    operator_extra_links = (SeedreamImagesLink(),)
    _read: Sequence[str] = ()

    def wait_and_land(
        self, context: Context, generation: Generation, *, started_epoch: float
    ) -> dict[str, Any]:
        """Wait until the generation is ready and land it; return a LandedGeneration as a dict.

        :param started_epoch: when the try began, in epoch seconds: from there ``timeout`` counts.
        :raises TaskDeferred: a deferrable task goes on waiting in the triggerer.
        :raises SeedreamError: the wait ended without images; its class says why, and its text what a retry
            does.
        """
        self._waits_for = generation
        check_embed_metadata(self.embed_metadata)
        if landed := self._already_landed(context, generation):
            return landed
        from airflow_provider_seedream.landing.outcome import note_options

        # Before the wait: a rescue by hand may come while it goes on, and `airflow seedream land` lands in
        # the same way.
        note_options(
            generation,
            beyond_defaults(embed_metadata=self.embed_metadata, max_image_bytes=self.max_image_bytes),
        )
        return self._finish(context, generation, self._wait_in_time(context, generation, started_epoch))

    def resume_landing(
        self, context: Context, event: Any, generation: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Continue after a deferral: the trigger has polled, the worker lands.

        :param generation: as it was before the wait; None if Airflow did not keep it (``dag.test()``,
            ``airflow tasks test``).
        """
        from airflow_provider_seedream.generations import Generation
        from airflow_provider_seedream.triggers.seedream import outcome_from

        self._waits_for = known = (
            self.find_again(event) if generation is None else Generation.from_dict(generation)
        )
        return self._finish(context, known, outcome_from(event, known.seedream_task_id), poll_again=True)

    # Airflow calls this when a deferred task goes on, with an event or after the timeout of its deferral.
    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        go_on = partial(super().resume_execution, next_method, next_kwargs, context)
        return resumed(self, go_on, self.resume_unheard, context)

    def resume_unheard(self, context: Context) -> dict[str, Any]:
        """Continue a wait whose trigger sent no event until the time was over: poll once, and land the
        images that are ready.
        """
        return self.poll_once(context, self.find_again(None))

    def poll_once(self, context: Context, generation: Generation) -> dict[str, Any]:
        """The time is over: land the generation if it is ready, else raise the error that ends the wait.

        :raises SeedreamGenerationTimeoutError: it is not ready; the text says that no trigger has sent an
            event.
        """
        self._waits_for = generation
        if landed := self._already_landed(context, generation):
            return landed
        poller = self._poller(generation, clock.now_epoch() - self._patience_seconds)
        outcome = poller.heard(self._poll(generation), now_epoch=clock.now_epoch())
        try:
            return self._finish(context, generation, outcome)
        except SeedreamGenerationTimeoutError as error:
            error.message += f" {UNHEARD}"
            raise

    def find_again(self, event: Any) -> Generation:
        """The generation of this wait, from the ledger record that the event names.

        :raises SeedreamLedgerError: the record cannot be found; a retry attaches to the paid generation.
        """
        from airflow_provider_seedream.landing.finish import generation_of

        return generation_of(event)

    def note_reads(self, uris: Sequence[str]) -> None:
        """Remember the files that this task has read, and report them to Airflow's lineage.

        :param uris: storage URIs, without connection ids.
        """
        from airflow_provider_seedream.observability.lineage import report

        self._read = uris
        report(self._hook, reads=uris)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Called by OpenLineage's listener, if there is one, when the task has ended or failed."""
        from airflow_provider_seedream.observability.openlineage import lineage_of_files, lineage_of_landing

        return lineage_of_landing(*self._landed) if self._landed else lineage_of_files(self._read)

    def _pause(self, seconds: float, state: PollState) -> None:
        """The pause between two polls of a synchronous wait. It holds the worker slot, as
        ``deferrable=False`` asks for.

        :param state: of the poller: a sensor leaves the process only if this state may be lost.
        """
        clock.sleep(seconds)

    def _wait_in_time(self, context: Context, generation: Generation, started_epoch: float) -> PollOutcome:
        """Poll until the wait ends; a deferrable task defers at the first pause.

        :raises AirflowTaskTimeout: ``execution_timeout`` is over; images that were ready are landed first.
        """
        from airflow_provider_seedream.polling.loops import wait

        poller = self._poller(generation, started_epoch)
        try:
            return wait(
                poller,
                lambda: self._poll(generation),
                lambda seconds: self._pause_or_defer(seconds, generation, poller),
            )
        except AirflowTaskTimeout:
            self._land_ready(context, generation, poll_again=False)
            raise

    def _poller(self, generation: Generation, started_epoch: float) -> Poller:
        """The poller of this wait. Its first poll is due at once, unless the job cannot be ready yet."""
        from airflow_provider_seedream.polling.policy import PollPolicy
        from airflow_provider_seedream.polling.poller import Poller

        policy = PollPolicy(
            num_images=generation.num_images,
            deadline_epoch=started_epoch + self._patience_seconds,
            poke_interval_seconds=interval_of(self.poll_interval),
            settling_seconds=self.settling_seconds,
            image_size=generation.image_size,
            kind=generation.kind,
            created_epoch=clock.to_epoch(generation.created_at),
        )
        poller = Poller(
            policy, on_note=partial(self.log.info, "Seedream task %s: %s", generation.seedream_task_id)
        )
        if seconds := poller.seconds_before_first_poll(now_epoch=clock.now_epoch()):
            poller.due_epoch = clock.now_epoch() + seconds
        return poller

    def _poll(self, generation: Generation) -> GenerationStatus | FailedPoll:
        """One status call. The last answer with ready images is kept: its links serve if the wait ends
        badly.
        """
        from airflow_provider_seedream.generations import GenerationStatus

        answer = self._hook.poll(generation.seedream_task_id)
        if isinstance(answer, GenerationStatus) and answer.images_ready:
            self._ready = answer
        return answer

    def _pause_or_defer(self, seconds: float, generation: Generation, poller: Poller) -> None:
        """The only difference between the deferred and the synchronous wait."""
        if self.deferrable:
            self._defer(generation, poller)
        self._pause(seconds, poller.state)

    def _defer(self, generation: Generation, poller: Poller) -> None:
        """Hand the wait over to the triggerer, with the state of this process's polls.

        The trigger does not poll before a 429 allows it, nor within 5 s unless the user polls faster.
        Airflow's own timeout of the deferral comes after the deadline: it wakes the task if no trigger runs
        (see ``backstop``).

        :raises TaskDeferred: always; Airflow's own way to defer.
        """
        from airflow_provider_seedream.polling.poller import MIN_FIRST_POLL_SECONDS
        from airflow_provider_seedream.triggers.seedream import SeedreamGenerationTrigger

        now, policy = clock.now_epoch(), poller.policy
        fixed = policy.poke_interval_seconds is not None
        first = (
            poller.first_poll_seconds(now_epoch=now) if fixed else MIN_FIRST_POLL_SECONDS
        )  # the triggerer plans by its own schedule
        # A 429 of the last poll holds for the trigger, too; without a poll there was none.
        asked = poller.outcome.asked_seconds if poller.outcome else 0.0
        trigger = SeedreamGenerationTrigger(
            seedream_task_id=generation.seedream_task_id,
            seedream_conn_id=self.seedream_conn_id,
            num_images=generation.num_images,
            first_poll_epoch=min(now + max(first, asked), policy.deadline_epoch),
            deadline_epoch=policy.deadline_epoch,
            poke_interval=policy.poke_interval_seconds,
            settling_seconds=policy.settling_seconds,
            outage_seconds=policy.outage_seconds,
            watch=poller.state.instants(),
            image_size=policy.image_size,
            kind=policy.kind,
            created_epoch=policy.created_epoch,
            record=generation.record,
        )
        self.log.info("Waiting for seedream task %s.", generation.seedream_task_id)
        self.defer(
            trigger=trigger,
            method_name="resume_landing",
            kwargs={"generation": generation.to_dict()},
            timeout=backstop(policy.deadline_epoch, now_epoch=now),
        )

    @property
    def _patience_seconds(self) -> float:
        """How long a try may wait in all, in seconds: for the rate limit and for the images."""
        return min(self.timeout, execution_seconds(self))
