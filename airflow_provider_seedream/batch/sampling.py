"""The sample of a batch: its rows go first, a person answers, then the rest of the table goes or is skipped.
Pure: no I/O.

The table is gone through twice: first for the rows of the sample alone, then for all others. A row's number
and the digest of the table mean the same in both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from airflow_provider_seedream.batch.brake import Stop
from airflow_provider_seedream.batch.plan import Plan
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import Duplicate, Duplicates, RefusedRow, RequestTable
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.markdown import as_text
from airflow_provider_seedream.tasks.asking import Answer

Digested = tuple[Row | RefusedRow, str]


def rows_of_phase(rows: Iterator[Digested], progress: Progress) -> Iterator[Digested]:
    """The rows that are worked on now: those of the sample, or after them all others; without a sample all.

    :param rows: of the table, behind the cursor of the progress.
    """
    if not progress.sample:
        yield from rows
        return
    sample, last = frozenset(progress.sample), max(progress.sample)
    for row, digest in rows:
        if (row.number in sample) != progress.is_sampled:
            yield row, digest
        if progress.is_sampling and row.number >= last:
            return


def begin_rest(progress: Progress) -> None:
    """Go through the table again, for the rows that are not in the sample.

    :param progress: the sample has ended: nothing of it is in flight or waits.
    """
    progress.is_sampled = True
    progress.cursor, progress.digest, progress.waiting = 0, "", []


@dataclass(frozen=True, slots=True, kw_only=True)
class RestOf:
    """The rows of a table that are not in its sample, for a plan::

        plan_table(RestOf(table=table, sample=frozenset(progress.sample)), ...)

    :param table: the whole table.
    :param sample: numbers of the rows that are left out.
    """

    table: RequestTable
    sample: frozenset[int]

    def compared(self) -> Iterator[tuple[Row | RefusedRow, Duplicate]]:
        """As :meth:`RequestTable.compared`, among these rows: one that repeats a row of the sample is
        looked up in the ledger.
        """
        duplicates = Duplicates()
        for row, _ in self.table.rows():
            if row.number not in self.sample:
                yield row, duplicates.judge(row)


def settle(progress: Progress, answer: Answer, *, now_epoch: float) -> None:
    """Take in the answer of a person: the rest may be sent, or is stopped.

    The wait does not count toward ``execution_timeout``: the start of the try moves by it.
    """
    if progress.asked_epoch is not None:
        progress.started_epoch += max(0.0, now_epoch - progress.asked_epoch)
    who = f" by {answer.by}" if answer.by else ""
    if answer.error:
        message = f"The rest of the table was not approved: {answer.error} Nothing but the sample was sent."
        progress.stop = dict(
            Stop(by="no_answer", message=message, detail="Not sent: no answer about the sample.")
        )
    elif answer.is_yes:
        progress.approved = {"by": answer.by, "at": clock.to_iso(now_epoch)}
    else:
        message = (
            f"The sample was rejected{who}, so the rest of the table was not sent. Nothing but the "
            "sample was sent."
        )
        progress.stop = dict(
            Stop(by="sample", message=message, detail=f"Not sent: the sample was rejected{who}.")
        )
    begin_rest(progress)


def subject_of(task_id: str, progress: Progress) -> str:
    """The headline of the question."""
    return (
        f"Send the other {counted(progress.rows - len(progress.sample), 'row', grouped=True)} of {task_id}?"
    )


def outlook(plan: Plan, *, per_minute: float) -> str:
    """The cost of a yes as markdown: requests, images, credits and time; and how the other rows end.

    :param plan: of the rest of the table.
    :param per_minute: requests that the key allows.
    """
    requests, images = (
        counted(plan.requests, "request", grouped=True),
        counted(plan.images, "image", grouped=True),
    )
    lines = [
        f"**A yes sends {requests} for {images}: up to {counted(plan.credits, 'credit', grouped=True)}, "
        f"about {clock.spell(plan.requests / per_minute * 60)} at {counted(float(per_minute), 'request')} a "
        "minute.**"
    ]
    if plan.within_caps and plan.within_caps["requests"] < plan.requests:
        lines.append(
            f"The caps of the connection leave room for {plan.within_caps['requests']:,} of these requests "
            "now."
        )
    if others := {
        status: number
        for status, number in plan.count.items()
        if number and status not in ("pay", "pay_again")
    }:
        statuses = ", ".join(
            f"{number:,} {as_text(status.replace('_', ' '))}" for status, number in others.items()
        )
        lines.append(f"Of the other rows, these cost nothing: {statuses}.")
    return " ".join(lines)


def elapsed(timeout: timedelta | None) -> str:
    """How the batch ends without a yes, for the person who is asked."""
    if timeout is None:
        return "A no ends the batch: only this sample is paid."
    return (
        f"A no, or no answer within {clock.spell(timeout.total_seconds())}, ends the batch: only this "
        "sample is paid."
    )
