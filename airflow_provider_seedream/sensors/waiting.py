"""Waiting for a generation and landing it: what the sensor does, and an operator with ``wait=True``.

Here the acts are put together: look, decide, land, write the outcome into the ledger. The deferred and the synchronous wait share
everything but where they sleep.
"""

import re
import time
from dataclasses import asdict
from datetime import timedelta
from random import random
from typing import Any, Literal, cast, get_args

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator, Context

from airflow_provider_seedream import times
from airflow_provider_seedream.exceptions import (
    SeedreamError,
    SeedreamInputError,
    SeedreamLandingError,
    SeedreamNotFoundError,
    SeedreamPartialResultError,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.polling import Rules, Verdict, Watch, decide, first_poll_seconds
from airflow_provider_seedream.sensors.outcomes import error_from, missing_error

OnPartial = Literal["fail", "accept"]
DEFAULT_POKE_INTERVAL_SECONDS = 10.0
DEFAULT_TIMEOUT_SECONDS = 3600.0  # six images take about four minutes [doc]; the results live 24 h
DEFAULT_MAX_IMAGE_BYTES = 64 * 1024 * 1024
OUTAGE_SECONDS = 1800.0
_RECORD = re.compile(r"(?P<folder>.+)/(?P<file>_seedream/ledger/[0-9a-f]{64}(\.\d+)?\.json)")


class WaitingMixin(BaseOperator):
    """Adds waiting and landing to an operator that has these attributes.

    :param poke_interval: seconds between looks. :param timeout: seconds from the start of a try until "not ready in time".
    """

    seedream_conn_id: str
    poke_interval: float
    timeout: float
    deferrable: bool
    on_partial: OnPartial
    max_image_bytes: int
    settling_seconds: float
    can_resubmit: bool = False

    def wait_and_land(self, context: Context, generation: Generation, *, started_epoch: float) -> dict[str, Any]:
        """A LandedGeneration as a dict. Raises what ends the wait, or defers."""
        if landed := self._already_landed(generation):
            return landed
        rules = self._rules(generation, started_epoch)
        verdict, watch = self._look(generation, Watch(), rules)
        if verdict.outcome == "wait":
            if self.deferrable:
                self._defer(generation, rules)
            verdict = self._watch(generation, watch, rules, verdict)
        return self._finish(context, generation, verdict)

    def resume_landing(self, context: Context, event: Any, generation: dict[str, Any]) -> dict[str, Any]:
        """Where a deferred wait goes on: the trigger looked, the worker lands."""
        from airflow_provider_seedream.triggers.seedream import verdict_from

        known = Generation.from_dict(generation)
        return self._finish(context, known, verdict_from(event, known.seedream_task_id))

    def between_looks(self, wait_seconds: float) -> None:
        """The synchronous wait's pause; it holds the worker slot, which is what ``deferrable=False`` asks for."""
        time.sleep(wait_seconds)

    def _rules(self, generation: Generation, started_epoch: float) -> Rules:
        seconds = min(self.timeout, _seconds(self.execution_timeout))
        return Rules(
            num_images=generation.num_images,
            deadline_epoch=started_epoch + seconds,
            poke_interval_seconds=self.poke_interval,
            settling_seconds=self.settling_seconds,
            outage_seconds=OUTAGE_SECONDS,
        )

    def _look(self, generation: Generation, watch: Watch, rules: Rules) -> tuple[Verdict, Watch]:
        look = self._hook.look(generation.seedream_task_id)
        verdict, watch = decide(look, watch, rules, now_epoch=times.now_epoch(), jitter=random())
        if verdict.note:
            self.log.info("Seedream task %s: %s", generation.seedream_task_id, verdict.note)
        return verdict, watch

    def _watch(self, generation: Generation, watch: Watch, rules: Rules, verdict: Verdict) -> Verdict:
        while verdict.outcome == "wait":
            self.between_looks(verdict.wait_seconds)
            verdict, watch = self._look(generation, watch, rules)
        return verdict

    def _defer(self, generation: Generation, rules: Rules) -> None:
        from airflow_provider_seedream.triggers.seedream import SeedreamGenerationTrigger

        now = times.now_epoch()
        first = first_poll_seconds(
            elapsed_seconds=now - (times.to_epoch(generation.created_at) or now),
            num_images=generation.num_images,
            poke_interval_seconds=self.poke_interval,
        )
        trigger = SeedreamGenerationTrigger(
            seedream_task_id=generation.seedream_task_id,
            seedream_conn_id=self.seedream_conn_id,
            num_images=generation.num_images,
            first_poll_epoch=min(now + first, rules.deadline_epoch),
            deadline_epoch=rules.deadline_epoch,
            poke_interval=rules.poke_interval_seconds,
            settling_seconds=rules.settling_seconds,
            outage_seconds=rules.outage_seconds,
        )
        self.log.info("Waiting for seedream task %s.", generation.seedream_task_id)
        self.defer(trigger=trigger, method_name="resume_landing", kwargs={"generation": generation.to_dict()})

    def _finish(self, context: Context, generation: Generation, verdict: Verdict) -> dict[str, Any]:
        if verdict.outcome == "done":
            return self._land(context, generation)
        if verdict.outcome == "late" and _seconds(self.execution_timeout) < self.timeout:
            raise AirflowTaskTimeout(
                f"Seedream task {generation.seedream_task_id} was not ready within execution_timeout; a retry waits on for free."
            )
        error = error_from(verdict, generation, now_epoch=times.now_epoch(), can_resubmit=self.can_resubmit)
        if verdict.outcome == "failed":
            self._note_outcome(generation, "failed", refunded=verdict.refunded, detail=verdict.detail)
        elif verdict.outcome == "missing" and not isinstance(error, SeedreamNotFoundError):
            self._note_outcome(generation, "expired")
        raise error

    def _land(self, context: Context, generation: Generation) -> dict[str, Any]:
        from airflow_provider_seedream import landing, manifest
        from airflow_provider_seedream.storage import Folder

        hook, folder = self._hook, Folder(generation.destination)
        downloads = hook.downloads(max_bytes=self.max_image_bytes)
        origin = landing.Origin(status=lambda: hook.get_generation(generation.seedream_task_id), fetch=downloads.fetch)
        record = self._record(generation)

        def build(images: tuple[manifest.ManifestImage, ...]) -> manifest.Manifest:
            return manifest.build_manifest(
                generation,
                images,
                record=asdict(record) if record else None,
                record_file=record.file if record else None,
                landed_by=describe_task(context),
                landed_at=times.to_iso(times.now_epoch()),
            )

        try:
            landed = landing.land(folder, generation, origin, build)
        except SeedreamNotFoundError as error:
            raise missing_error(error.message, generation, now_epoch=times.now_epoch()) from None
        missing = landed.missing_images
        self._note_outcome(generation, "partial" if missing else "landed")
        return self._result(generation, landed)

    def _already_landed(self, generation: Generation) -> dict[str, Any] | None:
        from airflow_provider_seedream.landing import find_landed
        from airflow_provider_seedream.storage import Folder

        try:
            landed = find_landed(Folder(generation.destination), generation)
        except (SeedreamLandingError, SeedreamInputError):
            raise
        except Exception as error:  # whatever a store raises
            raise SeedreamLandingError(
                f"Cannot read {generation.destination} ({type(error).__name__}: {error}).",
                seedream_task_id=generation.seedream_task_id,
            ) from error
        if landed is None:
            return None
        self.log.info("Seedream task %s is landed already.", generation.seedream_task_id)
        return self._result(generation, landed)

    def _result(self, generation: Generation, landed: Any) -> dict[str, Any]:
        from airflow_provider_seedream.manifest import landed_generation

        result = landed_generation(landed, generation.destination)
        self.log.info("Landed %d images; manifest: %s", len(result.images), result.manifest)
        if landed.missing_images and self.on_partial == "fail":
            raise SeedreamPartialResultError(
                f"{len(landed.images)} of {landed.images_requested} images came; they are landed, see {result.manifest}.",
                seedream_task_id=generation.seedream_task_id,
                record=generation.record,
            )
        return result.to_dict()

    def _record(self, generation: Generation) -> Any:
        """The ledger record, best effort: an image must not stay unlanded because its record cannot be read."""
        from airflow_provider_seedream.ledger import Ledger

        match = _RECORD.fullmatch(generation.record or "")
        if match is None:
            return None
        try:
            return Ledger(match["folder"]).read(match["file"])
        except SeedreamError as error:
            self.log.warning("The ledger record cannot be read; the manifest will lack the prompt: %s", error.message)
            return None

    def _note_outcome(self, generation: Generation, outcome: Any, *, refunded: bool = False, detail: str = "") -> None:
        """Write how a generation ended into its record. A failure to is no failure of the task: the next look repeats it."""
        from airflow_provider_seedream.ledger import Ledger, finished

        record = self._record(generation)
        if record is None or record.outcome == outcome:
            return
        now = times.to_iso(times.now_epoch())
        ended = finished(record, outcome, at=now, refunded=refunded, detail=detail or None)
        folder = (generation.record or "").removesuffix(f"/{record.file}")
        try:
            ledger = Ledger(folder)
            ledger.save(ended, attempts=1)
            if refunded:
                ledger.release_name(ended)
        except SeedreamError as error:
            self.log.warning("The outcome %r could not be written into the ledger: %s", outcome, error.message)

    @property
    def _hook(self) -> Any:
        from airflow_provider_seedream.hooks.seedream import SeedreamHook

        return SeedreamHook(self.seedream_conn_id)


def describe_task(context: Context) -> dict[str, Any]:
    """Who is acting: ids of the task instance, for the ledger and the manifest."""
    ti = context["ti"]
    return {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")}


def as_seconds(field: str, value: timedelta | float) -> float:
    """:raises SeedreamInputError: unless it is a non-negative duration."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise SeedreamInputError(f"{field} must be a timedelta or a number of seconds, 0 or more.")
    return float(seconds)


def check_on_partial(value: Any) -> OnPartial:
    if value not in get_args(OnPartial):
        raise SeedreamInputError(f"on_partial must be 'fail' or 'accept'; got {value!r}.")
    return cast(OnPartial, value)


def _seconds(duration: timedelta | None) -> float:
    return duration.total_seconds() if duration is not None else float("inf")
