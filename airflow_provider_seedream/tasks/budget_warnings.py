"""Calls the user's callbacks when a share of a cap is spent: Airflow's notifiers, or functions of a context.

The books remember the warning, so that another task that shares them does not repeat it on the same day.
"""

import logging
from collections.abc import Callable
from typing import Any

from airflow.providers.common.compat.sdk import Context

from airflow_provider_seedream.ledger.cap_rules import Passed
from airflow_provider_seedream.tasks.fields import check_callbacks

_log = logging.getLogger(__name__)


def teller(value: Any, context: Context, conn_id: str) -> Callable[[Passed], None]:
    """The function that calls the callbacks of a task for a cap.

    Each gets the task's context with ``seedream_budget``, a dict of ``connection``, ``cap``, ``period``,
    ``label``, ``credits``, ``spent_credits`` and ``ends_at``. A callback that fails is logged, and the task
    goes on: its images are worth more than the message.

    :param value: as ``on_budget_warning`` was given.
    """

    def told(passed: Passed) -> None:
        for callback in check_callbacks(value):
            try:
                callback({**context, "seedream_budget": {"connection": conn_id, **passed.to_dict()}})
            except Exception:
                _log.exception("A callback of on_budget_warning failed; the task goes on.")

    return told
