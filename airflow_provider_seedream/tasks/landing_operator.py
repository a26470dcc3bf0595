"""How a task ends a wait: it lands the images that are ready, and returns them or raises the error of the
wait's end.

Imports the hook and the storage only when it runs: this module is loaded with every DAG.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, Context

from airflow_provider_seedream.exceptions import (
    SeedreamInputError,
    SeedreamLandingError,
    SeedreamPartialResultError,
)
from airflow_provider_seedream.tasks.reporting import ReportingTask
from airflow_provider_seedream.tasks.wait_options import OnPartial, execution_seconds

if TYPE_CHECKING:
    from airflow_provider_seedream.generations import Generation, GenerationStatus, LandedGeneration
    from airflow_provider_seedream.hooks.seedream import SeedreamHook
    from airflow_provider_seedream.manifest import Manifest
    from airflow_provider_seedream.model.task_ref import TaskRef
    from airflow_provider_seedream.polling.policy import PollOutcome

# ends of a wait at which some images may be ready
_MAY_HAVE_IMAGES = ("late", "lost", "refused", "missing", "unsettled")


class LandingOperator(ReportingTask):
    """An operator that can land a generation; its subclasses set these attributes::

        class SeedreamGenerationSensor(LandingOperator, BaseSensorOperator):
            can_resubmit = False  # a sensor never pays

    :param timeout: seconds from the start of a try until "not ready in time".
    :param on_partial: ``fail`` or ``accept`` fewer images than were asked for; those that came are landed in
        both cases.
    :param max_image_bytes: a larger image is refused.
    :param embed_metadata: write into the files that AI made them (XMP); needs the extra ``metadata``.
    :param announce: one event of an ``AssetAlias`` for each ``image``, or one for each ``generation``.
    :param can_resubmit: True if a retry of the task can submit again; its errors say so.
    """

    timeout: float
    on_partial: OnPartial
    max_image_bytes: int
    embed_metadata: bool = False
    announce: str = "image"
    can_resubmit: bool = False
    _landed: tuple[LandedGeneration, Manifest] | None = None
    _must_ask_again = False  # the storage did not say whether the images are landed
    # the last one in which images were ready; its links live for an hour
    _ready: GenerationStatus | None = None

    def _finish(
        self, context: Context, generation: Generation, outcome: PollOutcome, *, poll_again: bool = False
    ) -> dict[str, Any]:
        """Land the images at the end of a wait and return them as a LandedGeneration, or raise the error of
        its end.

        Images that are ready are landed although the wait failed: they are paid for, and a retry may come
        after the API has deleted them. If all of them were ready, the task succeeds.

        :param outcome: of the last poll, the worker's or the trigger's.
        :param poll_again: True after a deferral: the trigger cannot hand on links, and its last poll may be
            minutes old.
        """
        from airflow_provider_seedream.landing import finish
        from airflow_provider_seedream.landing.outcome import close_unlanded
        from airflow_provider_seedream.model import clock

        if outcome.verdict in ("done", "lost"):  # a trigger with an incomplete connection is "lost", too
            self._hook.check_connection(generation.seedream_task_id)
        if outcome.verdict == "done":
            if self._must_ask_again and (there := finish.already_landed(generation)):
                return self._result(context, generation, there)
            by, mark = describe_task(context), self.embed_metadata
            with self._hook.downloads(max_bytes=self.max_image_bytes) as downloads:
                landed = finish.land_generation(
                    generation, self._hook, downloads, landed_by=by, embed_metadata=mark
                )
            return self._result(context, generation, landed)
        # Airflow's own `execution_timeout` keeps its error class, so that retries and callbacks treat it as
        # everywhere.
        some = (
            self._land_ready(context, generation, poll_again=poll_again)
            if outcome.verdict in _MAY_HAVE_IMAGES
            else None
        )
        is_airflows = outcome.verdict == "late" and execution_seconds(self) < self.timeout
        is_enough = self.on_partial == "accept" and outcome.verdict == "late" and not is_airflows
        if some and (is_enough or not some.missing_images):
            return self._result(context, generation, some)
        self._tell_landed(context)
        if is_airflows:
            raise AirflowTaskTimeout(
                "NOT READY IN TIME: Still not ready after `execution_timeout` "
                f"({clock.spell(execution_seconds(self))}); a retry waits on for "
                f"free.{_told(some, generation)} Seedream task id: {generation.seedream_task_id}."
            )
        error = close_unlanded(
            generation, outcome, can_resubmit=self.can_resubmit, timeout_seconds=self.timeout
        )
        error.message += _told(some, generation)
        raise error

    def _land_ready(self, context: Context, generation: Generation, *, poll_again: bool) -> Manifest | None:
        """Land the images that are ready although the wait has ended: they are paid for, and the API deletes
        them after 24 h.

        Returns their manifest; None if no image is ready. It raises no error of landing, as the wait has an
        error of its own.

        :param poll_again: True after a deferral: then the API is asked for fresh links.
        """
        from airflow_provider_seedream.landing.finish import land_ready
        from airflow_provider_seedream.manifest import landed_generation
        from airflow_provider_seedream.observability.lineage import report_landed

        if self._ready is None and not poll_again:
            return None
        by, mark = describe_task(context), self.embed_metadata
        try:
            with self._hook.downloads(max_bytes=self.max_image_bytes) as downloads:
                some = land_ready(
                    generation, self._hook, downloads, landed_by=by, status=self._ready, embed_metadata=mark
                )
        except SeedreamInputError:  # an incomplete connection: the wait has an error of its own
            return None
        if some:
            result = landed_generation(some, generation.destination)
            self._landed = result, some
            report_landed(self._hook, result, some)
        return some

    def _already_landed(self, context: Context, generation: Generation) -> dict[str, Any] | None:
        """The result if an earlier try has landed this generation completely; None if the task must wait or
        land.

        If the storage does not answer, the wait goes on: the images may not be ready for minutes. Then it is
        read again.

        :raises SeedreamLandingError: the name belongs to another generation.
        :param generation: of this wait; its name and destination say where the images would lie.
        :returns: None also if images are missing that may still come.
        """
        from airflow_provider_seedream.landing.finish import already_landed, more_may_come

        try:
            landed = already_landed(generation)
        except SeedreamLandingError as error:
            if error.__cause__ is None:  # the name belongs to another generation
                raise
            self.log.warning("%s The storage is read again when the images are ready.", error.message)
            self._must_ask_again = True
            return None
        if landed is None or more_may_come(landed, self._hook):
            return None
        self.log.info("Seedream task %s is landed already.", generation.seedream_task_id)
        return self._result(context, generation, landed)

    def _result(self, context: Context, generation: Generation, landed: Manifest) -> dict[str, Any]:
        """Tell lineage, log, XCom and asset events of a landing, and return it as a LandedGeneration.

        :raises SeedreamPartialResultError: images are missing, and ``on_partial`` is ``fail``.
        :param landed: the manifest as it stands in the folder.
        :returns: a LandedGeneration as a dict, below 4 KB.
        """
        from airflow_provider_seedream.manifest import landed_generation
        from airflow_provider_seedream.observability.asset_events import announce
        from airflow_provider_seedream.observability.lineage import report_landed

        result = landed_generation(landed, generation.destination)
        self._landed = result, landed
        report_landed(self._hook, result, landed)
        self.log.info("%s", _last_line(landed, generation, result.manifest))
        if landed.missing_images and self.on_partial == "fail":
            self._tell_landed(context)
            came = f"{len(landed.images)} of {landed.images_requested} images came"
            raise SeedreamPartialResultError(
                f"{came}; they are landed. Manifest: {result.manifest}.",
                seedream_task_id=generation.seedream_task_id,
                record=generation.record,
            )
        context["ti"].xcom_push("images", [image.uri for image in result.images])
        announce(context, self.outlets, result, landed, one_for=self.announce)
        return result.to_dict()

    def _tell_landed(self, context: Context) -> None:
        """Name the images that have landed, if any, in an XCom of a task that fails now: the gallery shows
        them.

        The key is the one under which a batch that fails names its table. The task's own error must not be
        lost for it.
        """
        if self._landed:
            with suppress(Exception):  # best effort
                context["ti"].xcom_push("results", self._landed[0].to_dict())

    @cached_property
    def _hook(self) -> SeedreamHook:
        """One hook for each try: it reads the connection once and keeps its session."""
        from airflow_provider_seedream.hooks.seedream import SeedreamHook

        return SeedreamHook(self.seedream_conn_id)


def _last_line(landed: Manifest, generation: Generation, manifest_uri: str) -> str:
    """A landing in one line, for people who read only the end of a log.

    ::

        Images landed: 2 of 2, 20 credits, 34 s after the submission. Results: s3://bucket/hero.json

    Price and duration are left out where they are unknown, as for a bare id.
    """
    from airflow_provider_seedream.model import clock
    from airflow_provider_seedream.model.counting import counted

    parts = [f"Images landed: {len(landed.images)} of {landed.images_requested}"]
    price = generation.billed_credits if generation.billed_credits is not None else generation.credits
    created = clock.to_epoch(generation.created_at)
    if price is not None:
        parts.append(counted(price, "credit"))
    if created is not None:
        parts.append(f"{clock.spell(clock.now_epoch() - created)} after the submission")
    return f"{', '.join(parts)}. Results: {manifest_uri}"


def _told(some: Manifest | None, generation: Generation) -> str:
    """The part of an error about images that have landed nevertheless."""
    if some is None:
        return ""
    there = f"{generation.destination}/{some.name}.json"
    return (
        f" {len(some.images)} of {some.images_requested} images were ready; they are landed. Manifest: "
        f"{there}."
    )


def describe_task(context: Context) -> TaskRef:
    """The acting try of a task, with its installation where it has a name, for the ledger and the manifest.

    :param context: of a running task instance; a task that is not mapped has the map index -1.
    :raises SeedreamInputError: ``[seedream] installation`` is not a plain name.
    """
    from airflow_provider_seedream.model.task_ref import TaskRef
    from airflow_provider_seedream.tasks.installation import describe_installation

    return TaskRef.running(context, try_number=context["ti"].try_number, **describe_installation())
