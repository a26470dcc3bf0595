"""The brake of a batch (``stop_when``): it stops the sending if too many of the last rows did not land. Does
no I/O.

The window of endings is in the progress, so it survives a deferral; ``tries`` keeps it for a retry.
"""

from collections import Counter
from typing import Any, Literal, TypedDict

from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.bounds import StopWhen
from airflow_provider_seedream.exceptions import SeedreamError

StoppedBy = Literal["stop_when", "request", "sample", "no_answer"]
BAD = ("failed", "moderated", "expired")
_COUNTED = ("landed", "partial", *BAD)
_REASON_CHARACTERS = 120
_REASONS_NAMED = 3
_ROWS_NAMED = 5


class Stop(TypedDict):
    """Why a batch sends no more rows, as plain JSON for its progress::

        Stop(by="stop_when", message="Of the last 50 rows, 31 did not land.", detail="not sent: ...")

    The rows that were not sent end as ``skipped``. An error that ends the batch without results is a halt
    instead, see ``halts``.

    :param by: the bound that was met. :param message: for the log and the error. :param detail: for the line
        of each skipped row.
    """

    by: StoppedBy
    message: str
    detail: str


def count_ending(
    progress: Progress, result: RowResult, error: SeedreamError | None, rule: StopWhen | None
) -> Stop | None:
    """Add an ending to the window of the progress. Returns the stop if too many rows of the window did not
    land, else None.

    :param error: why this row did not land.
    :param rule: None for no brake.
    """
    if rule is None or result.status not in _COUNTED:
        return None
    reason = " ".join(error.message.split())[:_REASON_CHARACTERS] if error and result.status in BAD else None
    # A retry may end a row again: its new end takes the place of the old one.
    others = [ending for ending in progress.endings if ending[0] != result.row]
    progress.endings = [*others, [result.row, result.status, reason]][-rule.of_last :]
    is_exceeded = rule.is_exceeded([status in BAD for _, status, _ in progress.endings])
    return _stop(progress.endings, rule) if is_exceeded and progress.stop is None else None


def _stop(endings: list[list[Any]], rule: StopWhen) -> Stop:
    """The stop, with the statuses, the most common reasons and the first rows: where a person begins to
    look.
    """
    bad = [ending for ending in endings if ending[1] in BAD]
    by_status = ", ".join(
        f"{number} {status}" for status, number in Counter(status for _, status, _ in bad).most_common()
    )
    reasons = Counter(reason for _, _, reason in bad).most_common(_REASONS_NAMED)
    rows = sorted(row for row, _, _ in bad)
    many = f"{len(bad)} of the last {len(endings)} rows that ended did not land ({by_status})"
    why = "; ".join(f"{number} x {reason!r}" for reason, number in reasons)
    first = ", ".join(map(str, rows[:_ROWS_NAMED])) + (" and more" if len(rows) > _ROWS_NAMED else "")
    return Stop(
        by="stop_when",
        message=(
            f"{many}, more than {rule.share:.0%} (`stop_when`), so no more rows were sent. Most common: "
            f"{why}. First rows: {first}."
        ),
        detail=f"Not sent: {many} (`stop_when`).",
    )
