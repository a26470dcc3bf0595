"""A DAG run whose triggers speak at once, for tests of what a task does when it is woken."""

from __future__ import annotations

import dataclasses

from airflow.triggers.base import TriggerEvent

from tests.airflow.deferral import Deferral, read_deferral, resume_with
from tests.airflow.execution_api import Instance
from tests.airflow.runner import Runner


class Woken(Runner):
    """What is in flight of a batch is said to have ended, before anybody looked."""

    def _wait(self, instance: Instance) -> Deferral:
        stored = read_deferral(instance.report)
        if not self.keeps_kwargs:
            stored = dataclasses.replace(stored, next_kwargs={})
        seconds = [0] * len(stored.kwargs["in_flight"])
        event = {"schema_version": 1, "seconds_to_look": seconds, "progress": stored.kwargs["progress"]}
        ended, instance.next_method, instance.next_kwargs = resume_with(stored, lambda: TriggerEvent(event))
        return ended
