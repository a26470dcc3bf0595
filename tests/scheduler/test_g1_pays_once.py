"""G1: a task instance never pays twice by itself, however many there are and however they die."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.scheduler.killing import Killer
from tests.scheduler.stage import WAIT_SECONDS, Stage, states

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

MAPPED = 200
# retries and waits for intents to settle make them slower ones
KILLED = int(os.environ.get("SEEDREAM_KILLED_TASKS", "60"))
NUM_IMAGES = 2

CHAIN = f"""
prompts = [f"watch {{number}}" for number in range({MAPPED})]
submit = SeedreamGenerateOperator.partial(task_id="submit", num_images={NUM_IMAGES}, **USUAL).expand(prompt=prompts)
SeedreamGenerationSensor.partial(task_id="land", **USUAL).expand(generation=submit.output)
"""

WHOLE = f"""
prompts = [f"watch {{number}}" for number in range({KILLED})]
SeedreamGenerateOperator.partial(task_id="whole", num_images={NUM_IMAGES}, wait=True, **USUAL).expand(prompt=prompts)
"""

# Under Airflow's default trigger rule one failed submission would keep every mapped sensor from running.
ONE_FAILS = """
submit = SeedreamGenerateOperator.partial(task_id="submit", **USUAL).expand(prompt=["red", "[refuse:400]", "blue"])
SeedreamGenerationSensor.partial(task_id="land", trigger_rule="all_done", **USUAL).expand(generation=submit.output)
"""


@pytest.fixture
def emulator() -> Any:
    """Jobs of about a second."""
    settings = Settings.fast(flat_images=True, seconds_per_image=(0.5, 1.0), late_assets_seconds=(0.1, 0.5))
    with Emulator(settings) as running:
        yield running


def test_two_hundred_mapped_tasks_pay_two_hundred_times(stage: Stage) -> None:
    run = stage.start(CHAIN, deferrable=True, retries=3)
    run.wait(timeout_seconds=2000)
    assert len(run.tasks()) == 2 * MAPPED
    assert states(run.tasks()) == {"success"}
    stage.assert_landed_once(generations=MAPPED, num_images=NUM_IMAGES)


def test_with_all_done_a_failed_submission_keeps_no_other_from_landing(stage: Stage) -> None:
    run = stage.start(ONE_FAILS, deferrable=True)
    run.wait(timeout_seconds=WAIT_SECONDS)  # the DAG's last tasks decide on its state
    assert [row.state for row in run.tasks("submit")] == ["success", "failed", "success"]
    assert states(run.tasks("land")) == {"success"}
    assert sorted(manifest["submission"]["prompt"] for manifest in stage.manifests()) == ["blue", "red"]


def test_workers_killed_at_random_pay_at_most_once_each(stage: Stage, deferrable: bool) -> None:
    seed = int(os.environ.get("SEEDREAM_KILL_SEED", time.time_ns() % 1_000_000))
    print(f"SEEDREAM_KILL_SEED={seed}")
    # some kills shall fall between a POST and its record
    stage.emulator.inject("stall-after-accept", seconds=1.0)
    run = stage.start(WHOLE, deferrable=deferrable, retries=3)
    killer = Killer(run, random.Random(seed), mean_seconds=1.0, kills_per_task=1)

    def ended() -> bool:
        killer.strike()
        return run.state in ("success", "failed")

    stage.cluster.wait("the run has ended", ended, timeout_seconds=2000)
    print(f"{killer.kills} kills")
    assert killer.kills > 10
    stage.assert_paid_at_most_once(run, generations=KILLED, num_images=NUM_IMAGES)
