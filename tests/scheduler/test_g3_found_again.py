"""G3: a recorded POST is always found again, whatever people and tables do in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scheduler.stage import LONG, WAIT_SECONDS, Stage

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

TASKS = f"""
submit = SeedreamGenerateOperator(task_id="submit", prompt="a watch {LONG}", num_images=2, **USUAL)
SeedreamGenerationSensor(task_id="land", generation=submit.output, **USUAL)
SeedreamGenerateOperator(task_id="whole", prompt="a watch {LONG}", num_images=2, wait=True, **USUAL)
"""

BROKEN_ONCE = """
def break_once(context, result=None):
    if context["ti"].try_number == 1:
        raise RuntimeError("a callback of the user's own failed")

usual = USUAL | {"post_execute": break_once, "retry_delay": datetime.timedelta(seconds=3)}
submit = SeedreamGenerateOperator(task_id="submit", prompt="a watch", num_images=2, **usual)
land = SeedreamGenerationSensor(task_id="land", generation=submit.output, **USUAL)
land >> SeedreamGenerateOperator(task_id="whole", prompt="a watch", num_images=2, wait=True, **usual)
"""

REORDERED = f"""
@task
def prompts(path):
    return [f"{{word}} {LONG}" for word in Path(path).read_text().split()]

submit = SeedreamGenerateOperator.partial(task_id="submit", **USUAL).expand(prompt=prompts("{{{{ dag_run.conf['path'] }}}}"))
SeedreamGenerationSensor.partial(task_id="land", **USUAL).expand(generation=submit.output)
"""


def test_a_clear_while_waiting_and_a_clear_after_success_pay_nothing(stage: Stage, deferrable: bool) -> None:
    run = stage.start(TASKS, deferrable=deferrable)
    stage.wait_for_polls(run, "land", "whole", deferred=deferrable, posts=2)
    run.clear("submit", "land", "whole")
    stage.cluster.wait("cleared", lambda: run.task("whole").try_number == 2, timeout_seconds=WAIT_SECONDS)
    stage.finish_jobs()
    run.wait(timeout_seconds=WAIT_SECONDS)
    stage.assert_landed_once(generations=2, num_images=2)

    landed, downloads = run.xcom("land"), stage.emulator.books.downloads
    run.clear("submit", "land", "whole")
    run.wait(timeout_seconds=WAIT_SECONDS)
    assert run.xcom("land") == landed
    assert stage.emulator.books.downloads == downloads
    stage.assert_landed_once(generations=2, num_images=2)


def test_a_retry_without_xcom_and_task_state_finds_what_was_paid(stage: Stage, deferrable: bool) -> None:
    run = stage.start(BROKEN_ONCE, deferrable=deferrable)
    for task_id in ("submit", "whole"):
        run.wait_for_task(task_id, state="up_for_retry", timeout_seconds=WAIT_SECONDS)
        stage.cluster.wipe("xcom", "task_state_store")
    run.wait(timeout_seconds=WAIT_SECONDS)
    assert (run.task("submit").try_number, run.task("whole").try_number) == (2, 2)
    assert stage.emulator.books.downloads == 4
    stage.assert_landed_once(generations=2, num_images=2)


def test_a_reordered_mapping_finds_its_generations(stage: Stage, tmp_path: Path) -> None:
    words, order = ["red", "green", "blue", "grey"], tmp_path / "order.txt"
    order.write_text(" ".join(words))
    run = stage.start(REORDERED, conf={"path": str(order)}, deferrable=True)
    stage.wait_for_polls(run, "land", deferred=True, posts=4)
    ids = [run.xcom("submit", "seedream_task_id", map_index=index) for index in range(4)]

    order.write_text(" ".join(reversed(words)))
    run.clear("prompts", "submit", "land")
    stage.cluster.wait("cleared", lambda: run.task("prompts").try_number == 2, timeout_seconds=WAIT_SECONDS)
    stage.finish_jobs()
    run.wait(timeout_seconds=WAIT_SECONDS)
    assert [run.xcom("submit", "seedream_task_id", map_index=index) for index in range(4)] == ids[::-1]

    downloads = stage.emulator.books.downloads
    order.write_text(" ".join([*words[2:], *words[:2]]))
    run.clear("prompts", "submit", "land")
    run.wait(timeout_seconds=WAIT_SECONDS)
    assert [run.xcom("land", map_index=index)["seedream_task_id"] for index in range(4)] == [
        *ids[2:],
        *ids[:2],
    ]
    assert stage.emulator.books.downloads == downloads
    stage.assert_landed_once(generations=4, num_images=1)
