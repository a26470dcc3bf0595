"""G20: whatever a person does to a task that has paid, the record holds id and credits, and the images can
be landed for free.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from tests.airflow.deferral import first_event
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, images, records


def mark_failed(runner: Runner, task: Any) -> None:
    runner.instance(task).state = "failed"


def mark_success(runner: Runner, task: Any) -> None:
    runner.instance(task).state = "success"


def clear(runner: Runner, task: Any) -> None:
    runner.clear(task)


def kill_while_deferred(runner: Runner, task: Any) -> None:
    """Its trigger runs for a moment and is gone without a word; the DAG is deleted before anything
    resumes.
    """

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first_event(runner.deferral(task).trigger()), 0.2)

    asyncio.run(run())
    runner.instance(task).state = "failed"


def let_it_end(emulator: Emulator) -> None:
    """The job goes on at the API whatever happens here; now it is done."""
    emulator.inject("takes", seconds=0, seedream_task_id=emulator.books.submissions[0].seedream_task_id)


ACTIONS = [mark_failed, mark_success, clear, kill_while_deferred]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
class TestAnActionOnATaskThatWaits:
    PROMPT = "a watch [never-ends]"

    def test_the_record_holds_id_and_credits_and_a_bare_id_lands_the_images(
        self, action: Any, emulator: Emulator, build: Build, folder: Path, destination: str, deferrable: bool
    ) -> None:
        runner, task = Runner(), build(prompt=self.PROMPT, num_images=2, wait=True, deferrable=True).submit
        runner.run(task, until="deferred")
        action(runner, task)
        let_it_end(emulator)
        [record] = records(folder)
        paid = emulator.books.submissions[0].seedream_task_id
        assert (record["outcome"], record["seedream_task_id"], record["credits"]) == ("submitted", paid, 20)
        rescue = build(
            land={
                "generation": record["seedream_task_id"],
                "destination": destination,
                "deferrable": deferrable,
            }
        ).land
        outcome = Runner(run_id="manual__later").run(rescue)
        assert (outcome.state, images(folder)) == ("success", [f"{paid}_1.png", f"{paid}_2.png"])
        assert (emulator.books.posts_received, emulator.books.credits_charged) == (1, 20)

    def test_the_task_itself_goes_on_for_free_when_it_is_run_again(
        self, action: Any, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        runner, task = Runner(), build(prompt=self.PROMPT, wait=True, deferrable=True).submit
        runner.run(task, until="deferred")
        action(runner, task)
        let_it_end(emulator)
        if action is not clear:
            runner.clear(task)
        assert runner.run(task).state == "success"
        assert (emulator.books.posts_received, len(images(folder)), records(folder)[0]["outcome"]) == (
            1,
            1,
            "landed",
        )

    def test_a_sensor_of_the_same_run_does_too(
        self, action: Any, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        runner, chain = Runner(), build(prompt=self.PROMPT, land={"deferrable": True})
        runner.run(chain.submit)
        runner.run(chain.land, until="deferred")
        action(runner, chain.land)
        let_it_end(emulator)
        if action is not clear:
            runner.clear(chain.land)
        assert runner.run(chain.land).state == "success"
        assert (emulator.books.posts_received, len(images(folder))) == (1, 1)


class TestTwoTasksAtOnce:
    def test_a_try_that_was_given_up_and_its_successor_land_the_same_images_once(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        """Airflow may fail a healthy deferred task while its trigger runs on: two triggers, two
        resumptions.
        """
        land = {"deferrable": True, "retries": 2}
        runner, chain = Runner(trigger_copies=2), build(prompt="a watch [takes:2]", num_images=2, land=land)
        runner.run(chain.submit)
        runner.run(chain.land, until="deferred")
        orphan = Runner()
        orphan.push(
            "submit",
            runner.api.xcoms_of(runner.instance(chain.submit).key)["return_value"],
            dag_id="guarantees",
        )
        orphan.run(chain.land, until="deferred")
        assert (runner.run(chain.land).state, orphan.run(chain.land).state) == ("success", "success")
        assert (emulator.books.posts_received, len(images(folder))) == (1, 2)


class TestARescueIntoAnotherFolder:
    def test_it_leaves_the_first_folder_as_it_was(
        self, emulator: Emulator, build: Build, folder: Path, tmp_path: Path, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(name="hero")
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        elsewhere = tmp_path / "elsewhere"
        bare = {
            "generation": task_id,
            "destination": f"file://{elsewhere}",
            "name": "rescued",
            "deferrable": deferrable,
        }
        assert Runner().run(build(land=bare).land).state == "success"
        assert (images(elsewhere), images(folder), records(elsewhere)) == (["rescued_1.png"], [], [])
        assert runner.run(chain.land).state == "success"
        assert (images(folder), emulator.books.posts_received) == (["hero_1.png"], 1)
