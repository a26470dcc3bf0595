"""The last lines of a batch and the error that it ends with, from the rows that did not land. Does no I/O but
the log.

A batch that was halted ends with the error that halted it, see ``halts``. Any other batch ends with the sum
of its rows.
"""

import logging
from collections.abc import Mapping
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_seedream.batch.asked import AskedBatch
from airflow_provider_seedream.batch.halts import error_of
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.exceptions import (
    Paid,
    SeedreamBatchError,
    SeedreamCapError,
    SeedreamError,
    SeedreamInsufficientCreditsError,
    final,
)
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.counting import counted, verb_for
from airflow_provider_seedream.model.error_lines import Where, error_lines
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.tasks.fields import check_budget
from airflow_provider_seedream.tasks.reporting import log_lines

FOUND_AGAIN = "A retry finds the paid rows in the ledger and pays no row twice."
_STOPPED = {
    "stop_when": "`stop_when`",
    "request": "stopped on request",
    "sample": "sample rejected",
    "no_answer": "no answer about the sample",
    None: "stopped",
}
_STOP_VERDICTS = {"stop_when": "TOO MANY FAILURES", "no_answer": "NO ANSWER IN TIME"}
_log = logging.getLogger(__name__)


def summed_up(
    progress: Progress, summary: Mapping[str, Any], asked: AskedBatch, *, host: str | None, now_epoch: float
) -> SeedreamError | None:
    """Say in the log how a finished batch has ended, and return the error that it ends with; None if the task
    succeeds.

    Rows with an unknown outcome are a warning with the command that settles them, even if the task succeeds:
    each of them may have been paid.

    :param progress: as it stands at the end: counts of rows that did not land.
    :param summary: as the operator returns it.
    :param host: of the API, for the commands that settle unknown rows.
    :param now_epoch: the end of the batch, for the duration in the last line.
    """
    error = error_of_rows(
        progress,
        summary,
        on_error=asked.on_error,
        on_partial=asked.on_partial,
        fail_on_unknown=asked.fail_on_unknown,
        conn_id=asked.seedream_conn_id,
    )
    if error is None and (unknown := unknown_error(progress, summary, conn_id=asked.seedream_conn_id)):
        where = Where(conn_id=asked.seedream_conn_id, host=host)
        log_lines(_log.warning, error_lines(unknown, where, now_epoch=now_epoch))
    budget = check_budget("max_credits", asked.max_credits)
    _log.info("%s", last_line(progress, summary, max_credits=budget, now_epoch=now_epoch))
    return error


def error_of_rows(
    progress: Progress,
    summary: Mapping[str, Any],
    *,
    on_error: str,
    on_partial: str,
    fail_on_unknown: bool,
    conn_id: str,
) -> SeedreamError | None:
    """The error that the rows of a finished batch add up to; None if the task succeeds.

    It is final, so that Airflow does not retry, if a retry would meet the same error in each of these rows.

    :param summary: as the operator returns it; ``count`` holds the number of rows by status.
    :param on_error: ``fail`` or ``continue``, as the operator's.
    :param on_partial: ``accept`` counts a row with fewer images than asked for as landed.
    :param fail_on_unknown: True if one row with an unknown outcome fails the task.
    :param conn_id: of the batch, for the commands.
    """
    count = summary["count"]
    fine = (
        count["landed"]
        + count["skipped_budget"]
        + count["skipped"]
        + (count["partial"] if on_partial == "accept" else 0)
    )
    stopped_by = progress.stop["by"] if progress.stop else None
    if stopped_by in _STOP_VERDICTS:
        return _stopped(progress, summary, verdict=_STOP_VERDICTS[stopped_by])
    if progress.unlanded:  # paid images that expire in 24 h: an error also with on_error="continue"
        what = f"{counted(progress.unlanded, 'row', 'are')} paid for and not landed"
    elif stopped_by == "sample":  # the task is skipped, however the rows of the sample ended
        return None
    elif on_error == "fail" and fine < summary["rows"]:
        what = f"{summary['rows'] - fine} of {counted(summary['rows'], 'row')} did not land"
    elif fail_on_unknown and count["unknown"]:
        return final(_unknown(progress, summary, conn_id))
    else:
        return None
    message = f"{what} ({by_status(count)}). Results: {summary['results']}."
    error = _batch_error(message, progress, summary)
    # One row that a retry may bring further is enough: the ledger keeps the retry from paying the others
    # again.
    return error if progress.retryable else final(error)


def _batch_error(
    message: str, progress: Progress, summary: Mapping[str, Any], *, verdict: str | None = None
) -> SeedreamBatchError:
    """An error with the credits that were paid for certain, and apart from them those of rows with an
    unknown outcome.
    """
    at_risk = progress.unknown_credits
    credits_paid = max(0, summary["credits"] - at_risk)
    if credits_paid and at_risk:
        message += f" Up to {counted(at_risk, 'credit')} more are at risk."
    paid: Paid = "yes" if credits_paid else "unknown" if at_risk else "no"
    error = SeedreamBatchError(message, paid=paid, verdict=verdict)
    error.credits, error.kept_until = credits_paid or at_risk, progress.kept_until
    return error


def _stopped(progress: Progress, summary: Mapping[str, Any], *, verdict: str) -> SeedreamBatchError:
    """The error of a batch that ``stop_when`` or a missing answer has stopped, for each ``on_error``.

    It is final, as a retry sends nothing; but not while paid images have not landed, as a retry lands them.
    """
    skipped = summary["count"]["skipped"]
    parts = [(progress.stop or {})["message"]]
    if skipped:  # 0 if it stopped with the last rows of its table
        parts.append(f"{skipped} of {counted(summary['rows'], 'row')} {verb_for(skipped, 'are')} skipped.")
    parts.append(f"Results: {summary['results']}.")
    error = _batch_error(" ".join(parts), progress, summary, verdict=verdict)
    error.on_retry = "A retry sends nothing. Clear the task to be asked again: the sample is not paid again."
    if verdict == "TOO MANY FAILURES":
        error.on_retry = (
            "Look at these rows, correct the table, the template or the source of the trouble, then clear "
            "the task: it sends the rows that were skipped or refunded, and pays for no row twice. A retry "
            "sends nothing. The records of the failed ones:"
        )
        error.commands = [command("ledger", summary["destination"], "--outcome", "failed", "--records")]
    return error if progress.unlanded else final(error)


def last_line(
    progress: Progress, summary: Mapping[str, Any], *, max_credits: int | None, now_epoch: float
) -> str:
    """A finished batch in one line: rows, images, credits, time and where the results are.

    ::

        30 of 40 rows landed: 30 images, 300 of 300 credits. Not sent: 10 (budget). Took 12 min.
        Results: s3://bucket/results.jsonl

    :param max_credits: the budget of the task; None without one.
    """
    count = summary["count"]
    spent = (
        counted(summary["credits"], "credit")
        if max_credits is None
        else f"{summary['credits']} of {counted(max_credits, 'credit')}"
    )
    parts = [
        f"{count['landed']} of {counted(summary['rows'], 'row')} landed: "
        f"{counted(summary['images'], 'image')}, {spent}."
    ]
    if count["skipped_budget"]:
        parts.append(f"Not sent: {count['skipped_budget']} (budget).")
    if count["skipped"]:
        parts.append(f"Not sent: {count['skipped']} ({_STOPPED[(progress.stop or {}).get('by')]}).")
    others = {
        status: number
        for status, number in count.items()
        if status not in ("landed", "skipped_budget", "skipped")
    }
    if any(others.values()):
        parts.append(f"Not landed: {by_status(others)}.")
    return " ".join(
        [*parts, f"Took {clock.spell(now_epoch - progress.started_epoch)}.", f"Results: {summary['results']}"]
    )


def unknown_error(
    progress: Progress, summary: Mapping[str, Any], *, conn_id: str
) -> SeedreamBatchError | None:
    """The rows with an unknown outcome, which a person must settle, as an error; None without such rows.

    The task logs it as a warning; with ``fail_on_unknown=True`` it is the error of the task.
    """
    return _unknown(progress, summary, conn_id) if summary["count"]["unknown"] else None


def _unknown(progress: Progress, summary: Mapping[str, Any], conn_id: str) -> SeedreamBatchError:
    """The error of the rows whose POST was not answered, with the command that lists their records."""
    more = ", ..." if progress.unknown > len(progress.unknown_rows) else ""
    rows = f"{', '.join(map(str, sorted(progress.unknown_rows)))}{more}"
    error = SeedreamBatchError(
        f"The requests of {counted(progress.unknown, 'row')} left, no answer came. Rows: {rows}.",
        paid="unknown",
    )
    error.verdict, error.credits = "UNKNOWN OUTCOME", progress.unknown_credits
    error.on_retry = (
        "They are not sent again automatically. This lists their records, each with the command that "
        "settles it; clear the task after that:"
    )
    error.commands = [command("ledger", summary["destination"], "--outcome", "unknown", conn_id=conn_id)]
    return error


def halted(progress: Progress, *, landed: int, credits_: int, has_retry_policy: bool) -> SeedreamError:
    """The error that stopped the submissions, with the number of rows that were not sent. All paid rows have
    ended by now.

    An empty wallet and a full cap are final, as retries would meet them again, unless a retry can bring other
    rows further or the task has a retry policy, which decides itself.

    :param landed: rows that have landed. :param credits_: that the rows with a result have cost.
    """
    error = error_of(
        progress.halt or {},
        unsent=progress.rows_unsent,
        unlanded=progress.unlanded,
        landed=landed,
        credits_=credits_,
        rows=progress.rows,
        kept_until=progress.kept_until,
    )
    is_timed = progress.retryable or has_retry_policy
    would_be_met_again = (
        isinstance(error, SeedreamInsufficientCreditsError) or error.verdict == SeedreamCapError.verdict
    )
    return final(error) if would_be_met_again and not is_timed else error


def amid_rows(error: SeedreamError, by: TaskRef, progress: Progress | None = None) -> SeedreamError:
    """The error of a storage, a key or a table, with a note if this try or an earlier one may have
    paid for rows.
    """
    in_flight = progress and progress.in_flight
    if in_flight or (progress and progress.cursor) or (by.try_number or 1) > 1:
        error.paid = "yes" if in_flight else "unknown"
        error.on_retry = (
            f"{error.on_retry} {FOUND_AGAIN}" if isinstance(error, AirflowFailException) else FOUND_AGAIN
        )
    return error


def by_status(count: Mapping[str, int]) -> str:
    """The counts by status for people, e.g. ``12 landed, 1 unknown``."""
    return ", ".join(f"{number} {status}" for status, number in count.items() if number) or "none"
