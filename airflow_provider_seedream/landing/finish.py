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
    final,
)
from airflow_provider_seedream.generations import Generation, GenerationStatus
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing import xmp
from airflow_provider_seedream.landing.errors import complete, expired_error, missing_error
from airflow_provider_seedream.landing.land import Origin, find_landed, land
from airflow_provider_seedream.landing.outcome import KnownRecord
from airflow_provider_seedream.ledger.records import Ledger, Record, record_at
from airflow_provider_seedream.manifest import DIGITAL_SOURCE_TYPES, Manifest, ManifestImage, build_manifest
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.observability import metrics
from airflow_provider_seedream.polling.policy import FailedPoll, has_expired
from airflow_provider_seedream.storage import Folder, NotExclusiveError

_log = logging.getLogger(__name__)


def already_landed(generation: Generation, ledger: Ledger | None = None) -> Manifest | None:
    """The manifest if the generation is already landed; None if it must be landed.

    Also write "landed" into the record: the task that landed the images may have died before it could.

    :raises SeedreamLandingError: the storage does not answer, or the name belongs to another generation.
    """
    manifest = find_landed(Folder(generation.destination), generation)
    if manifest and generation.record:  # a bare id has no record to complete, and was counted when it landed
        KnownRecord(generation, ledger).note_landed(manifest)
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
    ledger: Ledger | None = None,
) -> Manifest:
    """Land a finished generation and note it in the ledger.

    :param status: a status of this moment, whose links are fresh; without one the API is asked, and again when links have expired.
    :param embed_metadata: say in the files that AI made them.
    :param settled: False where images that are missing may still come: the manifest says so, and the next try waits for them.
    :param ledger: of the task that has submitted: what it wrote itself is not read back.
    :raises SeedreamLandingError: a retry completes it for free.
    :raises SeedreamResultsExpiredError: the results are gone. :raises SeedreamNotFoundError: the API does not know them.
    """
    is_old = has_expired(clock.to_epoch(generation.created_at), now_epoch=clock.now_epoch())
    statuses, known = _Statuses(generation, hook, status), KnownRecord(generation, ledger)
    build = partial(_build, generation, known.record, statuses, landed_by=landed_by, settled=settled)
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
            known.note("expired")
            raise expired_error(generation) from None
        _say_what_to_do(error, generation)
        raise
    except SeedreamError as error:  # an error of a status call or a store does not know what it is about
        error.paid = "yes"
        complete(error, generation)
        raise
    known.note_landed(manifest)
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
    ledger: Ledger | None = None,
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
            generation,
            hook,
            downloads,
            landed_by=landed_by,
            status=look,
            embed_metadata=embed_metadata,
            settled=False,
            ledger=ledger,
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
