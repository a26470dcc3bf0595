"""Ends a deferred wait whose trigger sends no event, because no triggerer runs or serves the queue of the
task.

Each trigger has its own deadline and sends an event then. Airflow's ``defer(timeout=)`` is the backstop
behind it: the scheduler wakes the task, without the trigger's event and without the arguments of the
deferral.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, Context

try:
    from airflow.sdk.exceptions import TaskDeferralTimeout
except ImportError:  # Airflow 3.1
    from airflow.exceptions import TaskDeferralTimeout  # type: ignore[no-redef]

# after a trigger's own deadline: a triggerer may be down for some minutes, and its event on its way
BACKSTOP_SECONDS = 600.0
UNHEARD = (
    "No triggerer has sent an event for this wait. Check that one runs (`airflow triggerer`) and serves the "
    "queue of this task (Airflow 3.2: `[triggerer] queues_enabled` and `airflow triggerer --queues`). "
    "`deferrable=False` needs no triggerer."
)


def backstop(until_epoch: float, *, now_epoch: float) -> timedelta:
    """The timeout for ``defer``: the rest of the wait, plus some minutes for the trigger's event to arrive.

    :param until_epoch: when the trigger sends its event at the latest.
    :param now_epoch: the time of the deferral.
    :returns: at least 10 minutes, also for a wait whose end has passed: its event may be on its way.
    """
    return timedelta(seconds=max(0.0, until_epoch - now_epoch) + BACKSTOP_SECONDS)


def resumed(
    task: BaseOperator, go_on: Callable[[], Any], unheard: Callable[[Context], Any], context: Context
) -> Any:
    """The result of a resumed task. If the backstop ended the wait, the result of ``unheard``.

    :param task: its log names the probable reason: no triggerer runs, or none serves the queue of the task.
    :param go_on: Airflow's own resumption; it raises if the deferral has timed out.
    :param unheard: called instead with the context alone, as Airflow has dropped the arguments of the
        deferral.
    """
    with suppress(TaskDeferralTimeout):
        return go_on()
    task.log.error("%s", UNHEARD)
    return unheard(context)


def started_epoch(context: Context) -> float | None:
    """When the try began: Airflow 3.3 knows it also when it resumes a task."""
    started = getattr(context["ti"], "start_date", None)
    return started.timestamp() if isinstance(started, datetime) else None
