"""G6: deadlines hold while deferred, across a restart of the triggerer, and never submit again."""

from __future__ import annotations

from itertools import dropwhile, takewhile
from typing import Any

import pytest
from airflow.models.trigger import Trigger

from tests.scheduler.stage import LONG, WAIT_SECONDS, Stage

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

LIMIT_SECONDS = 60  # long enough to be deferred before it is over, on a busy machine
POLL_SECONDS = 4
# the new triggerer is at work 10 to 15 s later, on a very busy machine only after the deadline
KILL_AFTER_SECONDS = 12
# a busy machine polls late; a deadline that began anew with the triggerer would be later still
SLACK_SECONDS = 30

TASKS = f"""
limit = datetime.timedelta(seconds={LIMIT_SECONDS})
limits = {{"timeout": {{"timeout": limit}}, "execution": {{"execution_timeout": limit}}}}
for name, limit in limits.items():
    usual = USUAL | {{"poke_interval": {POLL_SECONDS}}}
    prompt = f"{{name}} {LONG}"
    submit = SeedreamGenerateOperator(task_id=f"submit_{{name}}", prompt=prompt, **usual)
    SeedreamGenerationSensor(task_id=f"land_{{name}}", generation=submit.output, **usual, **limit)
    SeedreamGenerateOperator(task_id=f"whole_{{name}}", prompt=prompt, wait=True, **usual, **limit)
"""

FINAL = ("land_timeout", "whole_timeout")
RETRIED = ("land_execution", "whole_execution")


def test_a_deadline_holds_across_a_restart_and_later_tries_pay_nothing(stage: Stage) -> None:
    cluster, clock = stage.cluster, stage.emulator.clock
    run = stage.start(TASKS, deferrable=True, retries=1)
    stage.wait_for_polls(run, *FINAL, *RETRIED, deferred=True, posts=4)
    deadlines = deadlines_by_path(stage)
    newest = max(polls_of_first_try(stage, path)[0].at for path in stage.polled())
    cluster.wait(
        "time to kill", lambda: clock.now() > newest + KILL_AFTER_SECONDS, timeout_seconds=WAIT_SECONDS
    )
    cluster.kill_triggerer()
    killed_at = clock.now()
    cluster.start_triggerer("triggerer")

    cluster.wait(
        "retried",
        lambda: all(run.task(task_id).try_number == 2 for task_id in RETRIED),
        timeout_seconds=WAIT_SECONDS,
    )
    for task_id in FINAL:
        assert run.wait_for_task(task_id, state="failed", timeout_seconds=WAIT_SECONDS).try_number == 1
    for path in stage.polled():
        polls = polls_of_first_try(stage, path)
        deadline, last_at = deadlines[path], polls[-1].at
        assert deadline <= polls[0].at + LIMIT_SECONDS
        resumed_at = next(poll.at for poll in polls if poll.at > killed_at)
        assert deadline - 1 <= last_at <= max(deadline, resumed_at) + POLL_SECONDS + SLACK_SECONDS

    stage.finish_jobs()
    run.wait(state="failed", timeout_seconds=WAIT_SECONDS)
    assert {run.task(task_id).state for task_id in RETRIED} == {"success"}
    run.clear(*FINAL)
    run.wait(timeout_seconds=WAIT_SECONDS)
    stage.assert_landed_once(generations=4, num_images=1)


def deadlines_by_path(stage: Stage) -> dict[str, float]:
    """When the waits end, by the path of their polls; in epoch seconds, as the triggers of the first tries
    have it.
    """
    waits = [Trigger._decrypt_kwargs(row["kwargs"]) for row in stage.cluster.triggers()]
    return {
        path: one["deadline_epoch"]
        for path in stage.polled()
        for one in waits
        if one["seedream_task_id"] in path
    }


def polls_of_first_try(stage: Stage, path: str) -> list[Any]:
    """The worker's first poll, then those of the triggerers until a worker of the next try polls."""
    polls = [poll for poll in stage.polls() if poll.path == path]
    later = dropwhile(lambda poll: not _by_trigger(poll), polls)
    return [polls[0], *takewhile(_by_trigger, later)]


def _by_trigger(poll: Any) -> bool:
    return bool(poll.user_agent.endswith("(trigger)"))
