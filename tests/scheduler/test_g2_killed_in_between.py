"""G2: a worker killed between its POST and the record of it leaves an unknown outcome, which is never paid
for again.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.airflow.cluster import Run
from tests.scheduler.killing import kill
from tests.scheduler.stage import WAIT_SECONDS, Stage

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

# Each prompt begins with its task's id. The stage's timeouts let an intent settle 30 s after it was written:
# twice 10 s to connect and twice 5 s for the answer.
TASKS = """
def usual(task_id, times=""):
    return USUAL | {"task_id": task_id, "prompt": f"{task_id} [stall-after-accept:120{times}]", "num_images": 2}

SeedreamGenerateOperator(**usual("careful"))
SeedreamGenerateOperator(**usual("whole"), wait=True)
SeedreamGenerateOperator(**usual("generous", "*1"), wait=True, on_unknown_submit="resubmit")
"""


def test_a_kill_between_post_and_record_is_never_paid_for_again(stage: Stage, deferrable: bool) -> None:
    run = stage.start(TASKS, deferrable=deferrable, retries=3)
    kill_senders(stage, run, ("careful", "whole", "generous"))
    run.wait(state="failed", timeout_seconds=WAIT_SECONDS)

    assert posts(stage) == {"careful": 1, "whole": 1, "generous": 2}
    assert stage.emulator.books.credits_charged == 80
    assert run.task("generous").state == "success"
    assert len(stage.images()) == 2
    for task_id in ("careful", "whole"):
        row = run.task(task_id)
        assert (row.state, row.try_number, row.max_tries) == ("failed", 2, 3)  # two tries are left, and stay
        record = next(r for r in stage.records() if r["made_by"]["task_id"] == task_id)
        assert (record["outcome"], record["seedream_task_id"], record["credits"]) == ("intent", None, 20)
        log = stage.cluster.task_logs(f"dag_id={run.dag_id}/", f"task_id={task_id}/", "attempt=2")
        assert f"{record['key']}.json" in log
        assert "UNKNOWN OUTCOME, up to 20 credits at risk" in log
    stage.assert_contract_kept()


def kill_senders(stage: Stage, run: Run, task_ids: tuple[str, ...]) -> None:
    """Kill each task's process as soon as the server has its POST; the answer is still due."""
    killed: set[str] = set()

    def all_killed() -> bool:
        for task_id in set(posts(stage)) - killed:
            assert kill(run, run.task(task_id)), run.task(task_id)
            killed.add(task_id)
        return killed == set(task_ids)

    stage.cluster.wait("every sender killed", all_killed, timeout_seconds=WAIT_SECONDS)


def posts(stage: Stage) -> dict[str, int]:
    """POSTs by task id."""
    return dict(Counter(submission.prompt.split()[0] for submission in stage.emulator.books.submissions))
