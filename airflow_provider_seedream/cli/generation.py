"""Commands about one generation: its status, and the rescue of its images while the API still has them.

Neither command submits. Both wait by the same decisions and land by the same code as the sensor. Links are
never shown, as links are credentials.
"""

import argparse
import time
from dataclasses import replace

from airflow_provider_seedream.cli.printing import print_facts, print_json, print_lines, print_rows, working
from airflow_provider_seedream.cli.records import find_record
from airflow_provider_seedream.exceptions import (
    SeedreamInputError,
    SeedreamPartialResultError,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.finish import (
    already_landed,
    land_generation,
    land_ready,
    more_may_come,
)
from airflow_provider_seedream.landing.outcome import close_unlanded
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.manifest import Manifest, landed_generation
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.model.names import check_name
from airflow_provider_seedream.model.task_ref import NOBODY
from airflow_provider_seedream.polling.decision import STEADY_INTERVAL_SECONDS
from airflow_provider_seedream.polling.loops import wait
from airflow_provider_seedream.polling.policy import PollOutcome, PollPolicy
from airflow_provider_seedream.polling.poller import Poller
from airflow_provider_seedream.storage.uris import check_destination
from airflow_provider_seedream.tasks.wait_options import (
    DEFAULT_MAX_IMAGE_BYTES,
    check_embed_metadata,
    check_max_image_bytes,
)


def status(options: argparse.Namespace) -> int:
    """`airflow seedream status`: the API's answer about a generation. Links are left out, as they are
    credentials.

    :param options: ``seedream_task_id``, ``conn_id`` and ``output``.
    :returns: 0, also for a generation that failed.
    :raises SeedreamInputError: the id is not one; nothing is sent.
    :raises SeedreamNotFoundError: the API does not know the id, or has deleted it after 24 h.
    """
    now = SeedreamHook(options.conn_id).get_generation(_check_id(options.seedream_task_id))
    facts = {
        "seedream_task_id": options.seedream_task_id,
        "status": now.status,
        "progress": now.progress,
        "failure_reason": now.failure_reason,
        "results": len(now.results),
        "images_ready": now.images_ready,
    }
    show = print_json if options.output == "json" else print_facts
    show(facts)
    return 0


def land(options: argparse.Namespace) -> int:
    """`airflow seedream land`: wait for a paid generation and land its images as its task would have. It pays
    nothing.

    The record in the folder tells prompt, price, name, the task that paid, and how that task lands. Without a
    record the images land under the bare id. A generation that is already landed is shown, and nothing is
    downloaded again.

    :param options: ``seedream_task_id``, ``destination``, ``name``, ``timeout`` in seconds (300 by default),
        ``embed_metadata``, ``max_image_bytes``, ``conn_id`` and ``output``.
    :returns: 0 if all images are landed.
    :raises SeedreamError: not ready in time (exit code 3), failed, expired, or fewer images than asked for.
        Ready ones are landed.
    """
    hook = SeedreamHook(options.conn_id)
    generation, record = _generation(options)
    landed = already_landed(generation)
    # A complete landing is only shown; one with missing images is completed if the API has them now.
    if landed is None or more_may_come(landed, hook):
        mark = _embeds_metadata(options, record)
        outcome = _wait(generation, hook, seconds=options.timeout)
        with working("Landing"), hook.downloads(max_bytes=_max_image_bytes(options, record)) as downloads:
            # The manifest names the task that paid, and this command as the one that landed.
            by = replace(record.made_by if record else NOBODY, command="seedream land")
            # A wait that ended early still lands the images that are ready: they are paid.
            act = land_generation if outcome.verdict == "done" else land_ready
            landed = act(generation, hook, downloads, landed_by=by, embed_metadata=mark)
        if landed is None or (outcome.verdict != "done" and landed.missing_images):
            error = close_unlanded(generation, outcome, can_resubmit=False)
            if landed:
                _show(landed, generation.destination, options.output)
                error.message += (
                    f" {len(landed.images)} of {landed.images_requested} images were ready; they are landed."
                )
            raise error
    _show(landed, generation.destination, options.output)
    if landed.missing_images:
        raise SeedreamPartialResultError(
            f"{len(landed.images)} of {landed.images_requested} images came; they are landed."
        )
    return 0


def _generation(options: argparse.Namespace) -> tuple[Generation, Record | None]:
    """The generation with all that the folder's ledger knows of it, and its record; without a record the bare
    id.

    :raises SeedreamInputError: destination, name or id are not valid.
    :raises SeedreamLedgerError: a record cannot be read: it may be the one of this generation.
    """
    destination, name = check_destination(options.destination), check_name(options.name)
    task_id = _check_id(options.seedream_task_id)
    ledger = Ledger(destination)
    record = find_record(ledger, task_id)
    if record is None:
        return Generation.bare(task_id, destination=destination, name=name or task_id), None
    # An option names another folder or stem than the task had; the record stays where it is.
    known = ledger.generation(record)
    return known.at(destination=destination, name=name or known.name), record


def _max_image_bytes(options: argparse.Namespace, record: Record | None) -> int:
    """The option, else the task's own bound as the record has it, else the default."""
    if options.max_image_bytes is not None:
        return check_max_image_bytes(options.max_image_bytes)
    return (record and record.max_image_bytes) or DEFAULT_MAX_IMAGE_BYTES


def _embeds_metadata(options: argparse.Namespace, record: Record | None) -> bool:
    """The option, else the task's own choice as the record has it, else False.

    :raises SeedreamInputError: metadata is wanted, and its library is not installed here.
    """
    wanted = (
        bool(record and record.embed_metadata) if options.embed_metadata is None else options.embed_metadata
    )
    try:
        return check_embed_metadata(wanted)
    except SeedreamInputError as error:
        # The record may ask for metadata on a machine that lacks the library.
        error.message += " To land the images without it, add --no-embed-metadata."
        raise


def _wait(generation: Generation, hook: SeedreamHook, *, seconds: float) -> PollOutcome:
    """Wait with the sensor's own decisions, at a steady interval, until the generation ends or the time is
    over.

    :param seconds: how long at most.
    """
    policy = PollPolicy(
        num_images=generation.num_images,
        deadline_epoch=clock.now_epoch() + seconds,
        poke_interval_seconds=STEADY_INTERVAL_SECONDS,
        created_epoch=clock.to_epoch(generation.created_at),  # results that are 24 h old are gone
    )
    with working(f"Waiting for {generation.seedream_task_id}"):
        return wait(Poller(policy), lambda: hook.poll(generation.seedream_task_id), time.sleep)


def _show(manifest: Manifest, destination: str, output: str) -> None:
    """The landed images, as JSON in the form of the sensor's XCom, or as tables."""
    landed = landed_generation(manifest, destination)
    if output == "json":
        print_json(landed.to_dict())
        return
    rows = [
        {"pixels": f"{one.width} x {one.height}", "bytes": one.size_bytes, "type": one.media_type}
        for one in landed.images
    ]
    print_rows("Landed", rows)
    print_lines("Images:", [image.uri for image in landed.images])
    print_lines(f"Manifest: {landed.manifest}")


def _check_id(value: str) -> str:
    """The id, if it can be one. :raises SeedreamInputError: it cannot; nothing is sent."""
    if not contract.is_seedream_task_id(value):
        raise SeedreamInputError(f"ID must be a seedream task id; got {value[:80]!r}.")
    return value
