"""How a generation ends in storage: its images landed, its outcome written into the ledger.

Here the worker's acts are put together. The ledger is written best effort: an image must not stay unlanded, nor a task fail,
because a record cannot be read or written; the next look repeats it.
"""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_seedream.exceptions import (
    SeedreamError,
    SeedreamLandingError,
    SeedreamLedgerError,
    SeedreamNotFoundError,
    SeedreamResultsExpiredError,
    final,
)
from airflow_provider_seedream.generations import Generation, GenerationStatus
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing import xmp
from airflow_provider_seedream.landing.errors import complete, error_from, expired_error, missing_error
from airflow_provider_seedream.landing.land import Origin, find_landed, land
from airflow_provider_seedream.ledger.records import Ledger, Outcome, Record, finished, record_at
from airflow_provider_seedream.manifest import DIGITAL_SOURCE_TYPES, Manifest, ManifestImage, build_manifest
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.task_ref import NOBODY, TaskRef
from airflow_provider_seedream.observability import metrics
from airflow_provider_seedream.polling.policy import FailedPoll, PollOutcome, has_expired
from airflow_provider_seedream.storage import Folder, NotExclusiveError

_log = logging.getLogger(__name__)


def already_landed(generation: Generation) -> Manifest | None:
    """The manifest if the generation is already landed; None if it must be landed.

    Also write "landed" into the record: the task that landed the images may have died before it could.

    :raises SeedreamLandingError: the storage does not answer, or the name belongs to another generation.
    """
    manifest = find_landed(Folder(generation.destination), generation)
    if manifest and generation.record:  # a bare id has no record to complete, and was counted when it landed
        _note_landed(generation, manifest)
    return manifest


def generation_of(event: Any) -> Generation:
    """The generation that a trigger's event is about, from its ledger record.

    The id comes from the event, as the record may lack it: the storage may have failed right after the POST.

    :raises SeedreamLedgerError: the event names no record, or the record cannot be read.
    """
    fields = event if isinstance(event, dict) else {}
    found = record_at(fields.get("record"))
    task_id = fields.get("seedream_task_id")
    record = found[0].read(found[1]) if found else None
    if found is None or record is None:
        what = "is gone" if found else f"is not named by the trigger's event {str(event)[:200]}"
        error = SeedreamLedgerError(f"The record of what is waited for {what}.", paid="yes", seedream_task_id=task_id)
        error.on_retry = "A retry attaches to what was paid."
        raise error
    return found[0].generation(replace(record, seedream_task_id=task_id))


def more_may_come(landed: Manifest, hook: SeedreamHook) -> bool:
    """True if images are missing and have become ready, or may still become ready: then the task waits or lands again."""
    if not landed.missing_images:
        return False
    if not landed.settled and not has_expired(clock.to_epoch(landed.created_at), now_epoch=clock.now_epoch()):
        return True
    look = hook.look(landed.seedream_task_id)
    return isinstance(look, GenerationStatus) and look.images_ready > len(landed.images)


def land_generation(
    generation: Generation,
    hook: SeedreamHook,
    downloads: Downloads,
    *,
    landed_by: TaskRef,
    status: GenerationStatus | None = None,
    embed_metadata: bool = False,
    settled: bool = True,
) -> Manifest:
    """Land a finished generation and note it in the ledger.

    :param status: a status of this moment, whose links are fresh; without one the API is asked, and again when links have expired.
    :param embed_metadata: say in the files that AI made them.
    :param settled: False where images that are missing may still come: the manifest says so, and the next try waits for them.
    :raises SeedreamLandingError: a retry completes it for free.
    :raises SeedreamResultsExpiredError: the results are gone. :raises SeedreamNotFoundError: the API does not know them.
    """
    is_old = has_expired(clock.to_epoch(generation.created_at), now_epoch=clock.now_epoch())
    statuses = _Statuses(generation, hook, status)
    build = partial(_build, generation, _record(generation), statuses, landed_by=landed_by, settled=settled)
    timed = metrics.landing(generation.seedream_task_id, created_at=generation.created_at, by=landed_by)
    try:
        with timed:
            origin = Origin(status=statuses.ask, fetch=downloads.fetch)
            mark = partial(_mark, generation) if embed_metadata else None
            folder = Folder(generation.destination)
            manifest = land(folder, generation, origin, build, mark=mark, without_dead_links=is_old)
    except SeedreamNotFoundError as error:
        raise missing_error(error.message, generation, now_epoch=clock.now_epoch()) from None
    except SeedreamLandingError as error:
        if is_old and error.stale_link:
            note_outcome(generation, "expired")
            raise expired_error(generation) from None
        _say_what_to_do(error, generation)
        raise
    except SeedreamError as error:  # an error of a status call or a store does not know what it is about
        error.paid = "yes"
        complete(error, generation)
        raise
    _note_landed(generation, manifest)
    return manifest


class _Statuses:
    """Where the links come from: the status that is known, then the API. ``most_results`` is the largest number of them seen."""

    def __init__(self, generation: Generation, hook: SeedreamHook, known: GenerationStatus | None) -> None:
        self._generation = generation
        self._hook = hook
        self._known = known
        self.most_results = 0

    def ask(self) -> GenerationStatus:
        found, self._known = self._known or self._hook.get_generation(self._generation.seedream_task_id), None
        self.most_results = max(self.most_results, len(found.results))
        return found


def _build(
    generation: Generation,
    record: Record | None,
    statuses: _Statuses,
    images: tuple[ManifestImage, ...],
    *,
    landed_by: TaskRef,
    settled: bool,
) -> Manifest:
    wanted = generation.num_images or statuses.most_results
    return build_manifest(
        generation,
        images,
        record=record.to_dict() if record else None,
        record_file=record.file if record and record.destination == generation.destination else None,
        landed_by=landed_by.to_dict(),
        landed_at=clock.to_iso(clock.now_epoch()),
        images_requested=wanted if len(images) < wanted else None,
        settled=settled or len(images) >= wanted,
    )


def land_ready(
    generation: Generation,
    hook: SeedreamHook,
    downloads: Downloads,
    *,
    landed_by: TaskRef,
    status: GenerationStatus | None = None,
    embed_metadata: bool = False,
) -> Manifest | None:
    """Land the images that are ready although a wait has ended before all were. Best effort, as that wait has an error of its own.

    :param status: the last one that had links; without one the API is asked once.
    :returns: the manifest, or None where no image is ready. Before FINISHED none is: links might lead to previews.
    """
    try:
        look = status or hook.look(generation.seedream_task_id)
        if isinstance(look, FailedPoll) or look.status != "FINISHED" or not look.images_ready:
            return None
        return land_generation(
            generation, hook, downloads, landed_by=landed_by, status=look, embed_metadata=embed_metadata, settled=False
        )
    except SeedreamError as error:
        _log.warning("The images that are ready could not be landed now: %s", error)
        return None


def _say_what_to_do(error: SeedreamLandingError, generation: Generation) -> None:
    """Complete the error of a landing that failed for good in this try: until when, and how, the images can still be landed."""
    rescue = f"airflow seedream land {generation.seedream_task_id}"
    if isinstance(error.__cause__, NotExclusiveError):
        error.verdict, error.commands = "STORAGE UNSUITABLE", [f"{rescue} DESTINATION"]
        final(error).on_retry = "A retry would be refused again: land the images in another destination."
    elif not isinstance(error, AirflowFailException):  # a first mistake has a remedy of its own
        error.on_retry = "A retry lands again for free. So does a clear of this task, or a command:"
        error.commands = [f"{rescue} {generation.destination}"]
    complete(error, generation)


def _mark(generation: Generation, data: bytes) -> bytes:
    """An image with metadata in it; as it came where that would break a signature or fails: it is paid, and must land."""
    source_type = DIGITAL_SOURCE_TYPES[generation.kind] if generation.kind else None
    try:
        if xmp.has_content_credentials(data):
            _log.warning(
                "An image carries Content Credentials (C2PA) of its own; it is landed unchanged, without embedded metadata."
            )
            return data
        return xmp.embed(data, seedream_task_id=generation.seedream_task_id, model=contract.MODEL, digital_source_type=source_type)
    except Exception as error:  # whatever the library raises
        _log.warning("Metadata could not be embedded (%s: %s); the image is landed unchanged.", type(error).__name__, error)
        return data


def close_unlanded(
    generation: Generation, outcome: PollOutcome, *, can_resubmit: bool, timeout_seconds: float | None = None
) -> SeedreamError:
    """The error of an outcome that lands nothing, noted in the ledger where it is the generation's end."""
    now = clock.now_epoch()
    error = error_from(outcome, generation, now_epoch=now, can_resubmit=can_resubmit, timeout_seconds=timeout_seconds)
    if outcome.verdict == "failed":
        note_outcome(generation, "failed", refunded=outcome.refunded, detail=outcome.detail)
    elif isinstance(error, SeedreamResultsExpiredError):
        note_outcome(generation, "expired")
    return error


def _note_landed(generation: Generation, manifest: Manifest) -> None:
    note_outcome(generation, "partial" if manifest.missing_images else "landed")


def note_options(generation: Generation, options: dict[str, Any]) -> None:
    """Write the options of a landing into the record, best effort, so that ``airflow seedream land`` lands as the task would.

    :param options: fields of the record: ``embed_metadata``, ``max_image_bytes``. Empty: nothing is read or written.
    """
    record = _record(generation) if options else None
    if record is None or not _is_of(record, generation) or record == (told := replace(record, **options)):
        return
    try:
        Ledger((generation.record or "").removesuffix(f"/{record.file}")).advance(record, told, attempts=1)
    except SeedreamError as error:
        _log.warning("The options of the landing could not be written into the ledger: %s", error.message)


def note_outcome(generation: Generation, outcome: Outcome, *, refunded: bool = False, detail: str | None = None) -> None:
    """Write how a generation ended into its record, best effort."""
    record = _record(generation)
    if record is not None and not _is_of(record, generation):
        _log.warning("The record %s tells of another POST than %s; it is left.", generation.record, generation.seedream_task_id)
        return
    if record is None or record.outcome != outcome:
        returned = max(generation.credits or 0, generation.billed_credits or 0) if refunded else None
        metrics.ended(outcome, credits_refunded=returned or 0, by=record.made_by if record else NOBODY)
    if record is None or record.outcome == outcome:
        return
    now = clock.to_iso(clock.now_epoch())
    ended = finished(record, generation, outcome, at=now, refunded=refunded, detail=detail)
    try:
        ledger = Ledger((generation.record or "").removesuffix(f"/{record.file}"))
        if refunded:  # before the outcome: whoever reads that submits anew, and reserves the name
            ledger.release(ended)
        ledger.advance(record, ended, attempts=1)
    except SeedreamError as error:
        _log.warning("The outcome %r could not be written into the ledger: %s", outcome, error.message)


def _is_of(record: Record, generation: Generation) -> bool:
    """Whether a record is that of the generation's POST. One without an id may be: its storage failed after the POST."""
    if record.seedream_task_id is None:
        return generation.claim in (None, record.claim)
    return record.seedream_task_id == generation.seedream_task_id


def _record(generation: Generation) -> Record | None:
    found = record_at(generation.record)
    try:
        return found[0].read(found[1]) if found else None
    except SeedreamError as error:
        _log.warning("The ledger record cannot be read; the manifest will lack the prompt: %s", error.message)
        return None
