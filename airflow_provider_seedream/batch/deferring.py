"""The waits of a batch: how long it may still take, and its wait in the triggerer.

Pure: no I/O, and the clock is an argument. It builds the trigger, and leaves the deferral to the operator.
"""

import math
from datetime import timedelta

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_seedream.batch.asked import AskedBatch, DeferUntil
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.polling.policy import OUTAGE_SECONDS
from airflow_provider_seedream.polling.poller import MIN_FIRST_POLL_SECONDS
from airflow_provider_seedream.tasks.backstop import backstop
from airflow_provider_seedream.tasks.wait_options import interval_of
from airflow_provider_seedream.triggers.batch import SeedreamBatchTrigger


def ends_epoch(progress: Progress, execution_timeout: timedelta | None) -> float:
    """When ``execution_timeout`` is over, counted from the start of the try, in epoch seconds; infinite
    without one.
    """
    return (
        math.inf if execution_timeout is None else progress.started_epoch + execution_timeout.total_seconds()
    )


def seconds_left(
    progress: Progress, execution_timeout: timedelta | None, now_epoch: float, *, begun: int
) -> float:
    """The rest of ``execution_timeout``, in seconds; infinite without one.

    :param begun: rows that are in flight or have ended, for the error.
    :raises AirflowTaskTimeout: it is over. Airflow itself does not see that while a task is deferred.
    """
    left = ends_epoch(progress, execution_timeout) - now_epoch
    if execution_timeout is not None and left <= 0:
        limit = clock.spell(execution_timeout.total_seconds())
        raise AirflowTaskTimeout(
            f"ROWS NOT LANDED: The batch was not done within `execution_timeout` ({limit}): "
            f"{begun} of {counted(progress.rows, 'row')} had begun. A retry goes on, and pays for no row "
            "twice."
        )
    return left


def defer_until(
    asked: AskedBatch,
    progress: Progress,
    pace: Pace,
    *,
    file: str,
    post_epoch: float | None,
    ends_epoch: float,
    now: float,
) -> DeferUntil:
    """The wait that the operator begins.

    If polls count toward the rate limit and rows are left to send, the trigger polls nothing, as it would
    take the turns of those rows. Then it only wakes the worker, which polls between its submissions.

    :param asked: connection, poll interval and settling time of the trigger.
    :param progress: its generations in flight become the trigger's list.
    :param pace: the rate limit, by which the polls of the trigger are spread.
    :param file: with the progress, relative to the destination.
    :param post_epoch: when the next row may be sent; None if none is left to send.
    :param ends_epoch: when to wake in any case: ``execution_timeout`` is over, or a request to stop is to be
        looked for.
    :param now: the time of the deferral, in epoch seconds.
    """
    wake_epoch = min(math.inf if post_epoch is None else post_epoch, ends_epoch)
    worker_polls = pace.counts_polls and post_epoch is not None
    interval = interval_of(asked.poke_interval)
    trigger = SeedreamBatchTrigger(
        seedream_conn_id=asked.seedream_conn_id,
        in_flight=[] if worker_polls else pace.for_trigger(progress.in_flight.values(), now),
        # JSON has no infinity, and the trigger's arguments are stored as JSON.
        wake_epoch=None if math.isinf(wake_epoch) else wake_epoch,
        not_before_epoch=now + min(MIN_FIRST_POLL_SECONDS, interval or math.inf),
        poke_interval=interval,
        settling_seconds=asked.settling_seconds,
        outage_seconds=OUTAGE_SECONDS,
        progress=file,
    )
    return DeferUntil(trigger=trigger, progress=file, timeout=backstop(_speaks_epoch(trigger), now_epoch=now))


def _speaks_epoch(trigger: SeedreamBatchTrigger) -> float:
    """When the trigger emits its event at the latest: at the wake-up that the worker asks for, else at the
    last deadline.
    """
    if trigger.wake_epoch is not None:
        return trigger.wake_epoch
    deadlines: list[float] = [one[2] for one in trigger.in_flight]
    return max([trigger.not_before_epoch, *deadlines])
