"""The end of a generation in storage: its images landed, its outcome written into the ledger.

Here the worker's acts are put together. The ledger is written best effort: an image must not stay unlanded,
nor a task fail, because a record cannot be read or written; the next poll repeats it.
"""

import logging
from dataclasses import replace
from typing import Any

from airflow_provider_seedream.exceptions import (
    SeedreamError,
    SeedreamLandingError,
    SeedreamLedgerError,
    SeedreamNotFoundError,
)
from airflow_provider_seedream.generations import Generation, GenerationStatus
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.errors import complete, expired_error, missing_error, say_what_to_do
from airflow_provider_seedream.landing.land import find_landed, land_images, publish_manifest
from airflow_provider_seedream.landing.links import Links
from airflow_provider_seedream.landing.outcome import KnownRecord
from airflow_provider_seedream.ledger.records import Ledger, record_at
from airflow_provider_seedream.manifest import Manifest, build_manifest
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.observability import metrics
from airflow_provider_seedream.polling.policy import FailedPoll, has_expired
from airflow_provider_seedream.storage.folder import Folder

_log = logging.getLogger(__name__)


def already_landed(generation: Generation, ledger: Ledger | None = None) -> Manifest | None:
    """The manifest if the generation is already landed; None if it must be landed.

    Also write "landed" into the record: the task that landed the images may have died before it could.

    :param ledger: of the task that has submitted; None reads the record from storage.
    :raises SeedreamLandingError: the storage does not answer, or the name belongs to another generation.
    """
    manifest = find_landed(Folder(generation.destination), generation)
    if manifest and generation.record:  # a bare id has no record to complete, and was counted when it landed
        KnownRecord(generation, ledger).note_landed(manifest)
    return manifest


def generation_of(event: Any) -> Generation:
    """The generation that a trigger's event is about, from its ledger record.

    The id comes from the event, as the record may lack it: the storage may have failed right after the POST.

    :param event: of the trigger, ``{"record": uri, "seedream_task_id": id, ...}``; from a database, so of any
        shape.
    :raises SeedreamLedgerError: the event names no record, or the record cannot be read.
    """
    fields = event if isinstance(event, dict) else {}
    found = record_at(fields.get("record"))
    task_id = fields.get("seedream_task_id")
    record = found[0].read(found[1]) if found else None
    if found is None or record is None:
        problem = "is gone" if found else f"is not named by the trigger's event {str(event)[:200]}"
        error = SeedreamLedgerError(
            f"The record of the awaited generation {problem}.", paid="yes", seedream_task_id=task_id
        )
        error.on_retry = "A retry attaches to the paid generation."
        raise error
    return found[0].generation(replace(record, seedream_task_id=task_id))


def more_may_come(landed: Manifest, hook: SeedreamHook) -> bool:
    """True if images are missing and have become ready, or may still become ready: then the task waits or
    lands again.

    :param landed: the manifest of an earlier landing. Without missing images the API is not asked.
    :raises SeedreamInputError: the connection is incomplete.
    """
    if not landed.missing_images:
        return False
    if not landed.settled and not has_expired(clock.to_epoch(landed.created_at), now_epoch=clock.now_epoch()):
        return True
    answer = hook.poll(landed.seedream_task_id)
    return isinstance(answer, GenerationStatus) and answer.images_ready > len(landed.images)


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

    Call it again after any error: images that are stored already are recognised by their bytes, and the
    manifest comes last, so a manifest that exists means whole images::

        with hook.downloads(max_bytes=64 * 1024 * 1024) as downloads:
            manifest = land_generation(generation, hook, downloads, landed_by=describe_task(context))

    :param landed_by: the task that lands, for the manifest; a person has no task and names the command.
    :param status: a status of this moment, whose links are fresh; without one the API is asked, and again
        when links have expired.
    :param embed_metadata: say in the files that AI made them.
    :param settled: False where images that are missing may still come: the manifest says so, and the next try
        waits for them.
    :param ledger: of the task that has submitted: what it wrote itself is not read back.
    :returns: the manifest that stands in the folder: ours, or that of another landing which has at least as
        many images.
    :raises SeedreamLandingError: a retry completes it for free.
    :raises SeedreamResultsExpiredError: the results are gone.
    :raises SeedreamNotFoundError: the API does not know them.
    """
    is_old = has_expired(clock.to_epoch(generation.created_at), now_epoch=clock.now_epoch())
    known, links = KnownRecord(generation, ledger), Links(generation, hook, downloads, status)
    folder = Folder(generation.destination)
    # An old link that is dead stays dead: after 24 h the API gives no other. Then images with a dead link are
    # left out.
    try:
        with metrics.landing(generation.seedream_task_id, created_at=generation.created_at, by=landed_by):
            images = land_images(
                folder, generation, links, embed_metadata=embed_metadata, without_dead_links=is_old
            )
            # A bare id does not say how many images were asked for; then the API's list of results counts.
            wanted = generation.num_images or links.most_results
            manifest = build_manifest(
                generation,
                images,
                record=known.record.to_dict() if known.record else None,
                record_file=known.file_in(generation.destination),
                landed_by=landed_by.to_dict(),
                landed_at=clock.to_iso(clock.now_epoch()),
                images_requested=wanted if len(images) < wanted else None,
                settled=settled or len(images) >= wanted,
            )
            manifest = publish_manifest(folder, generation, manifest)
    except SeedreamNotFoundError as error:
        # A 404 of an old generation means expired, which needs another class than a wrong id.
        raise missing_error(error.message, generation, now_epoch=clock.now_epoch()) from None
    except SeedreamLandingError as error:
        if is_old and error.stale_link:
            known.note("expired")
            raise expired_error(generation) from None
        say_what_to_do(error, generation, conn_id=hook.seedream_conn_id)
        raise
    except SeedreamError as error:  # an error of a status call or a store does not name the generation
        error.paid = "yes"
        complete(error, generation)
        raise
    # After the manifest: a crash in between is repaired by the next landing, which finds the manifest.
    known.note_landed(manifest)
    return manifest


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
    """Land the images that are ready although a wait has ended before all were.

    Best effort, as that wait has an error of its own: an error of the API or the storage is logged and not
    raised.

    :param status: the last one that had links; without one the API is asked once.
    :returns: the manifest, or None where no image is ready. Before FINISHED no image is: links might lead to
        previews.
    """
    try:
        answer = status or hook.poll(generation.seedream_task_id)
        if isinstance(answer, FailedPoll) or answer.status != "FINISHED" or not answer.images_ready:
            return None
        return land_generation(
            generation,
            hook,
            downloads,
            landed_by=landed_by,
            status=answer,
            embed_metadata=embed_metadata,
            settled=False,
            ledger=ledger,
        )
    except SeedreamError as error:
        _log.warning("The images that are ready could not be landed now: %s", error)
        return None
