"""G20: what people do to a waiting task loses nothing: the record keeps id and credits, and the bare id is
enough to land.
"""

from __future__ import annotations

import pytest

from tests.airflow.cluster import Run
from tests.scheduler.killing import kill
from tests.scheduler.stage import LONG, WAIT_SECONDS, Stage

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

TASKS = f"""
for task_id in ("failed", "succeeded", "cleared", "killed"):
    SeedreamGenerateOperator(task_id=task_id, prompt=f"{{task_id}} {LONG}", num_images=2, wait=True, **USUAL)
"""
TASK_IDS = ("failed", "succeeded", "cleared", "killed")

RESCUE = """
@task
def lost_ids(dag_run=None):
    return dag_run.conf["ids"]

SeedreamGenerationSensor.partial(task_id="land", **USUAL).expand(generation=lost_ids())
"""


def test_what_people_do_to_a_waiting_task_loses_nothing(stage: Stage, deferrable: bool) -> None:
    run = stage.start(TASKS, deferrable=deferrable)
    stage.wait_for_polls(run, *TASK_IDS, deferred=deferrable, posts=4)
    run.mark("failed", "failed")
    run.mark("succeeded", "success")
    run.clear("cleared")
    kill_what_waits(stage, run, deferrable)
    stage.cluster.wait("cleared", lambda: run.task("cleared").try_number == 2, timeout_seconds=WAIT_SECONDS)
    stage.cluster.end_runs()
    run.wait(state="failed", timeout_seconds=WAIT_SECONDS)
    assert (run.task("failed").state, run.task("succeeded").state) == ("failed", "success")

    records = stage.records()
    paid = {submission.seedream_task_id for submission in stage.emulator.books.submissions}
    assert {record["seedream_task_id"] for record in records} == paid
    assert {(record["outcome"], record["credits"]) for record in records} == {("submitted", 20)}
    assert stage.images() == []

    stage.finish_jobs()
    ids = sorted(record["seedream_task_id"] for record in records)
    stage.start(RESCUE, dag_id=f"{stage.name}_rescue", conf={"ids": ids}, deferrable=deferrable).wait(
        timeout_seconds=WAIT_SECONDS
    )
    assert sorted(manifest["seedream_task_id"] for manifest in stage.manifests()) == ids
    assert len(stage.images()) == 8
    assert stage.emulator.books.posts_received == 4
    stage.assert_contract_kept()


def kill_what_waits(stage: Stage, run: Run, deferrable: bool) -> None:
    """SIGKILL for the process in which the task "killed" waits: its worker, or the triggerer."""
    if deferrable:
        stage.cluster.kill_triggerer()
        stage.cluster.start_triggerer("triggerer")
    else:
        assert kill(run, run.task("killed"))
