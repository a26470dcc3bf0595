"""Keeps the result of a POST in Airflow while the storage refuses its record: the id as XCom, the facts in
the task's state.

The state of a task (Airflow 3.3) survives retries, deferrals and, in 3.3, a clear; earlier versions of
Airflow have none. XComs are deleted before every try: they are for the tasks downstream. Never imports the
hook.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from airflow.providers.common.compat.sdk import Context

from airflow_provider_seedream.ledger.keeping import Fact

T = TypeVar("T")
_log = logging.getLogger(__name__)


class TaskMemory:
    """The memory of a task in Airflow. Best effort: it does not raise, as a failing memory must not fail a
    task that has paid::

        TaskMemory(context, pushes_id=True).recall(request.key)  # a Fact, or None

    :param context: of the task instance.
    :param pushes_id: True for a task with one generation: its id is pushed as XCom ``seedream_task_id``.
    """

    def __init__(self, context: Context, *, pushes_id: bool) -> None:
        self._context: Any = context
        self._pushes_id = pushes_id

    def keep(self, key: str, fact: Fact) -> None:
        """Keep the result of a POST until the ledger has it.

        :param key: of the ledger record.
        :param fact: the id, and the facts that its record will hold.
        """
        if self._pushes_id and fact.seedream_task_id:
            _trying(lambda: self._context["ti"].xcom_push("seedream_task_id", fact.seedream_task_id))
        if (state := self._state) is not None:
            _trying(lambda: state.set(_name(key), asdict(fact)))

    def recall(self, key: str) -> Fact | None:
        """The result that an earlier try kept; None if there is none, or if Airflow cannot say it.

        :param key: of the ledger record.
        """
        state = self._state
        kept = None if state is None else _trying(lambda: state.get(_name(key)))
        return _trying(lambda: Fact(**kept)) if isinstance(kept, dict) else None

    def forget(self, key: str) -> None:
        """Drop the result, as the ledger has it now."""
        if (state := self._state) is not None:
            _trying(lambda: state.delete(_name(key)))

    @property
    def _state(self) -> Any:
        """Airflow's store for the state of a task; None before 3.3."""
        return self._context.get("task_state_store")


def _name(key: str) -> str:
    """The name of a fact in the task's state: the first 32 digits of the key tell requests apart."""
    return f"seedream_{key[:32]}"


def _trying(act: Callable[[], T]) -> T | None:
    """The result of a call of Airflow; None, with a warning in the log, if it fails."""
    try:
        return act()
    except Exception as error:  # any error of Airflow: the ledger is the record that counts
        _log.warning("Airflow's memory of a POST failed (%s: %s).", type(error).__name__, error)
        return None
