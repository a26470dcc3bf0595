"""The error that a batch ends with, from the rows that did not land. Pure: no I/O.

A batch that was halted ends with the error that halted it, see ``halts``. Any other batch ends with the sum of its rows.
"""

from collections.abc import Mapping
from typing import Any

from airflow_provider_seedream.batch.halts import error_of
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.exceptions import (
    SeedreamBatchError,
    SeedreamError,
    SeedreamInsufficientCreditsError,
    final,
)

FOUND_AGAIN = "A retry finds the paid rows in the ledger and pays no row twice."


def error_of_rows(progress: Progress, summary: Mapping[str, Any], *, on_error: str, on_partial: str) -> SeedreamError | None:
    """The error that the rows of a finished batch add up to; None if the task succeeds.

    It is final, so that Airflow does not retry, if a retry would meet the same error in each of these rows.

    :param summary: as the operator returns it. :param on_error: and :param on_partial: the operator's arguments.
    """
    count = summary["count"]
    fine = count["landed"] + count["skipped_budget"] + (count["partial"] if on_partial == "accept" else 0)
    if progress.unlanded:  # paid images that expire in 24 h: an error also with on_error="continue"
        what = f"{progress.unlanded} rows are paid for and not landed"
    elif on_error == "fail" and fine < summary["rows"]:
        what = f"{summary['rows'] - fine} of {summary['rows']} rows did not land"
    else:
        return None
    error = SeedreamBatchError(f"{what} ({counted(count)}), {summary['credits']} credits: see {summary['results']}.")
    return error if progress.retryable else final(error)


def halted(progress: Progress, *, has_retry_policy: bool) -> SeedreamError:
    """The error that stopped the submissions, with the number of rows that were not sent. All paid rows have ended by now.

    An empty wallet is final, as retries would meet it again, unless a retry can bring other rows further or the task has a retry
    policy, which decides itself.
    """
    error = error_of(progress.halt or {}, unsent=progress.rows_unsent, unlanded=progress.unlanded, rows=progress.rows)
    is_timed = progress.retryable or has_retry_policy
    return error if is_timed or not isinstance(error, SeedreamInsufficientCreditsError) else final(error)


def counted(count: Mapping[str, int]) -> str:
    """The counts by status for people, e.g. ``12 landed, 1 unknown``."""
    return ", ".join(f"{number} {status}" for status, number in count.items() if number) or "none"
