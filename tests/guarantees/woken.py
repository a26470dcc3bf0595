"""A DAG run whose triggers speak at once, for tests of what a task does when it is woken."""

from __future__ import annotations

import time

from airflow.triggers.base import TriggerEvent

from tests.airflow.deferral import Deferral, read_deferral, resume_with
from tests.airflow.execution_api import Instance
from tests.airflow.runner import Runner


class Woken(Runner):
    """What is in flight of a batch is said to have ended, before anybody polled; a turn is granted as soon as
    it is asked for.

    Other triggers run as they are.
    """

    def _wait(self, instance: Instance) -> Deferral:
        stored = read_deferral(instance.report)
        event = _spoken_at_once(stored)
        if event is None:
            return super()._wait(instance)
        ended, instance.next_method, instance.next_kwargs = resume_with(stored, lambda: event)
        return ended


def _spoken_at_once(stored: Deferral) -> TriggerEvent | None:
    if stored.classpath.endswith("SeedreamBatchTrigger"):
        return TriggerEvent({"schema_version": 1, "seconds_to_look": [0] * len(stored.kwargs["in_flight"])})
    if stored.classpath.endswith("SeedreamTurnTrigger"):
        return TriggerEvent({"schema_version": 1, "granted_epoch": time.time(), "is_late": False})
    return None
