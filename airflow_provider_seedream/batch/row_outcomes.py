"""How a row ended, as a line of the results: one table from errors to statuses.

Pure: reads no storage, no clock and no API. The same error gives the same status on every path to it.
"""

from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout

from airflow_provider_seedream.batch.progress import InFlight, Progress
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.statuses import Status
from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamBudgetError,
    SeedreamError,
    SeedreamInputError,
    SeedreamModerationError,
    SeedreamResultsExpiredError,
)
from airflow_provider_seedream.ledger.submit import Submitted
from airflow_provider_seedream.manifest import Manifest, landed_generation

MAX_ROWS_NAMED = 20  # in a line of the log: the results name all
_STATUSES: dict[type[SeedreamError], Status] = {
    SeedreamInputError: "invalid",
    SeedreamBudgetError: "skipped_budget",
    SeedreamAmbiguousSubmissionError: "unknown",
    SeedreamModerationError: "moderated",
    SeedreamResultsExpiredError: "expired",
}


def landed_row(entry: InFlight, manifest: Manifest) -> RowResult:
    """The result of a row whose images, all or some of them, are in storage::

        landed_row(entry, manifest).status  # "landed", or "partial" if images are missing

    The row costs what its entry says: 0 credits if an equal row has paid for the generation. So the credits
    of all rows add up to the price of the batch.

    :param entry: the row in flight.
    :param manifest: as it stands in the destination.
    """
    landed = landed_generation(manifest, entry.generation.destination)
    came = f"{len(landed.images)} of {manifest.images_requested} images came"
    return RowResult(
        row=entry.number,
        status="partial" if manifest.missing_images else "landed",
        name=entry.generation.name,
        seedream_task_id=entry.generation.seedream_task_id,
        credits=entry.credits,
        # Only the row that paid shows the measured price, or the sum over the rows would count it twice.
        billed_credits=entry.generation.billed_credits if entry.credits else None,
        paid="yes",
        images=tuple(image.uri for image in landed.images),
        manifest=landed.manifest,
        detail=came if manifest.missing_images else None,
        columns=entry.columns,
    )


def ended_row(
    number: int,
    error: SeedreamError,
    *,
    name: str | None,
    price: int,
    columns: dict[str, Any],
    billed: int | None = None,
) -> RowResult:
    """The result of a row that landed nothing. The class of the error gives the status, its ``paid`` the
    credits::

        ended_row(3, SeedreamBudgetError("..."), name=None, price=10, columns={}).status  # "skipped_budget"

    An error of a class without a status of its own is ``failed``. An unknown outcome counts as spent, as it
    may be paid.

    :param number: of the row, from 1.
    :param name: the file stem that the row asks for.
    :param columns: of the row, for its line.
    :param price: in credits; charged unless the error says otherwise.
    :param billed: the credits that the wallet lost, where that was measured.
    """
    charged = price if error.paid in ("yes", "unknown") else 0
    status: Status = next((status for cls, status in _STATUSES.items() if isinstance(error, cls)), "failed")
    return RowResult(
        row=number,
        status=status,
        name=name,
        seedream_task_id=error.seedream_task_id,
        credits=charged,
        billed_credits=billed if charged else None,
        paid=error.paid,
        detail=error.detail,
        columns=columns,
    )


def price_of(row: Row, found: Submitted, progress: Progress) -> int:
    """The credits that a row has cost; 0 if another row or another task has paid for its generation.

    The sum over all rows is the price of the batch, so each generation counts in one row: the row whose POST
    it was, or in a later try the first row that attaches to it.

    :param progress: knows the rows that equal another one, those in flight, and the edits whose price a row
        bears already.
    """
    generation = found.generation
    if not found.is_new:
        in_flight = (entry.generation.seedream_task_id for entry in progress.in_flight.values())
        if not found.is_mine or row.number in progress.repeats or generation.seedream_task_id in in_flight:
            return 0  # another row or task pays for it
    # Of two edits with equal source bytes, the one that attached may be taken in before the one that paid.
    if row.images and not progress.bears_price(generation.record):
        return 0
    return max(generation.credits or 0, generation.billed_credits or 0)


def is_final(error: SeedreamError) -> bool:
    """True if a retry would meet the same error: Airflow does not retry it, and neither does the batch for
    this row.
    """
    return isinstance(error, AirflowFailException | AirflowSensorTimeout)


def count_end(progress: Progress, result: RowResult, error: SeedreamError) -> None:
    """Count a row that ended without images, for the last lines and the error of the batch.

    :param progress: is changed: its counts, the first rows with an unknown outcome, and the first expiry.
    :param result: the line of the row.
    :param error: the error that ended it; its ``kept_until`` says when the API deletes the images.
    """
    progress.retryable += not is_final(error)
    progress.over_budget += result.status == "skipped_budget"
    if result.status == "unknown":
        progress.unknown += 1
        progress.unknown_credits += result.credits
        progress.unknown_rows = [*progress.unknown_rows, result.row][:MAX_ROWS_NAMED]
    # Images that are paid and missing: a retry lands them for free, but only until the first of them expires.
    if result.status == "failed" and result.paid == "yes":
        progress.unlanded += 1
        progress.kept_until = min(filter(None, (progress.kept_until, error.kept_until)), default=None)
