"""G4: triggers only GET, may run twice, and survive the loss of their triggerer."""

from __future__ import annotations

import os
import signal

import pytest

from tests.airflow.cluster import Run
from tests.scheduler.stage import LONG, WAIT_SECONDS, Stage

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

TASKS = f"""
submit = SeedreamGenerateOperator(task_id="submit", prompt="a watch {LONG}", num_images=2, **USUAL)
SeedreamGenerationSensor(task_id="land", generation=submit.output, **USUAL)
SeedreamGenerateOperator(task_id="whole", prompt="a watch {LONG}", num_images=2, wait=True, **USUAL)
"""


@pytest.fixture
def run(stage: Stage) -> Run:
    """Two tasks in the triggerer, each waiting for a generation of its own."""
    run = stage.start(TASKS, deferrable=True)
    stage.wait_for_polls(run, "land", "whole", deferred=True, posts=2)
    return run


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_wait_survives_the_loss_of_its_triggerer(stage: Stage, run: Run, how: signal.Signals) -> None:
    stage.cluster.kill_triggerer(how=how)
    seen = len(stage.polls("(trigger)"))
    stage.cluster.start_triggerer("triggerer")
    wait_for_polls_at_both(stage, since=seen)
    stage.finish_jobs()
    run.wait(timeout_seconds=WAIT_SECONDS)
    assert {row.try_number for row in run.tasks()} == {1}
    stage.assert_landed_once(generations=2, num_images=2)


def test_two_triggerers_may_poll_the_same_generations(stage: Stage, run: Run) -> None:
    first = taken_over(stage)
    # so that the first keeps them, too
    stage.cluster.sql("update trigger set triggerer_id = :first", first=first)
    wake_first(stage)
    stage.finish_jobs()
    run.wait(timeout_seconds=WAIT_SECONDS)
    stage.assert_landed_once(generations=2, num_images=2)


def test_an_event_that_comes_twice_is_harmless(stage: Stage, run: Run) -> None:
    taken_over(stage)
    stage.finish_jobs()
    run.wait(timeout_seconds=WAIT_SECONDS)
    wake_first(stage)  # it polls, sees the end, and fires again
    stage.cluster.wait(
        "fired again", lambda: run.logs().count("Trigger fired event") == 4, timeout_seconds=WAIT_SECONDS
    )
    assert run.state == "success"
    assert stage.emulator.books.downloads == 4
    stage.assert_landed_once(generations=2, num_images=2)


def taken_over(stage: Stage) -> int:
    """Stop the first triggerer for so long that a second takes over what it had; the id of the first."""
    cluster = stage.cluster
    (first,) = owners(stage)
    assert first is not None
    cluster.start_triggerer("triggerer-2")
    cluster.children["triggerer"].kill(signal.SIGSTOP)
    cluster.wait("taken over", lambda: first not in owners(stage), timeout_seconds=WAIT_SECONDS)
    wait_for_polls_at_both(stage, since=len(stage.polls("(trigger)")))
    return first


def wake_first(stage: Stage) -> None:
    """Let the stopped triggerer go on. Its event loop polls before its main process can learn that it lost
    its triggers.
    """
    triggerer, since = stage.cluster.children["triggerer"], len(stage.polls("(trigger)"))
    for pid in triggerer.members():
        if pid != triggerer.pid:
            os.kill(pid, signal.SIGCONT)
    wait_for_polls_at_both(stage, since=since)
    triggerer.kill(signal.SIGCONT)


def owners(stage: Stage) -> set[int | None]:
    return {row["triggerer_id"] for row in stage.cluster.triggers()}


def wait_for_polls_at_both(stage: Stage, *, since: int) -> None:
    """Wait until a triggerer has polled both generations again."""
    stage.cluster.wait(
        "both polled",
        lambda: len({poll.path for poll in stage.polls("(trigger)")[since:]}) == 2,
        timeout_seconds=WAIT_SECONDS,
    )
