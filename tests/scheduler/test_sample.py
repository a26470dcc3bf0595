"""A batch that asks a person about its sample, with a real scheduler and a real answer to Airflow's own
question.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.airflow.asking import asker_has_ended
from tests.airflow.cluster import Run
from tests.scheduler.stage import WAIT_SECONDS, Stage

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

TASKS = """
from datetime import timedelta

from airflow_provider_seedream.bounds import Sample
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator

def batch(name, **more):
    rows = [{"prompt": f"{name} {row}"} for row in range(9)]
    given = {"task_id": name, "requests": rows, "results": name, "sample": 3, **USUAL, **more}
    return SeedreamBatchOperator(**given)

batch("approved"), batch("rejected")
batch("forgotten", sample=Sample(rows=3, response_timeout=timedelta(seconds=15)))
"""


def test_a_yes_a_no_and_no_answer_cost_what_they_say(stage: Stage) -> None:
    run = stage.start(TASKS, deferrable=True)
    stage.cluster.wait(
        "three questions", lambda: len(questions(stage, run)) == 3, timeout_seconds=WAIT_SECONDS
    )
    assert stage.emulator.books.posts_received == 9, "three rows of each"
    stage.cluster.wait(
        "two wait", lambda: is_waiting(stage, run, "approved", "rejected"), timeout_seconds=WAIT_SECONDS
    )
    answer(stage, run, "approved", "Approve")
    answer(stage, run, "rejected", "Reject")
    run.wait(state="failed", timeout_seconds=WAIT_SECONDS)
    assert [run.task(task_id).state for task_id in ("approved", "rejected", "forgotten")] == [
        "success",
        "skipped",
        "failed",
    ]
    assert run.task("forgotten").try_number == 1
    assert "NO ANSWER IN TIME" in run.logs()
    assert run.xcom("approved")["count"]["landed"] == 9
    assert stage.emulator.books.posts_received == stage.emulator.books.posts == 15
    assert len(stage.images()) == 15


def questions(stage: Stage, run: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stage.cluster.api(
        "GET", f"dags/{run.dag_id}/dagRuns/{quote(run.run_id)}/hitlDetails"
    )["hitl_details"]
    return found


def is_waiting(stage: Stage, run: Run, *task_ids: str) -> bool:
    """These tasks wait for their answer, and the scheduler takes one for an answer (see ``asking``)."""
    return all(
        run.task(task_id).state in ("awaiting_input", "deferred")
        and asker_has_ended(stage.cluster, run.dag_id, run.run_id, task_id)
        for task_id in task_ids
    )


def answer(stage: Stage, run: Run, task_id: str, option: str) -> None:
    path = f"dags/{run.dag_id}/dagRuns/{quote(run.run_id)}/taskInstances/{task_id}/-1/hitlDetails"
    stage.cluster.api("PATCH", path, {"chosen_options": [option], "params_input": {}})
