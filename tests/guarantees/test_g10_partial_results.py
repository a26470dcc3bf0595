"""G10: fewer images than asked for is said, never hidden; those that came are landed, and nothing is
bought anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, Chain, images, records
from tests.guarantees.whole import read_files, the_manifest

FEWER = {"three results for four": "[partial:3]", "one null for ever": "[one-null]"}
SETTLING_SECONDS = 0.2


@pytest.fixture(params=["one task", "two tasks"])
def landing_task(request: pytest.FixtureRequest) -> str:
    """Which of the two tasks lands: the submitting one with `wait=True`, or the sensor."""
    return "submit" if request.param == "one task" else "land"


def chain_of(build: Build, words: str, landing_task: str, **options: Any) -> Chain:
    landing = {"settling_seconds": SETTLING_SECONDS, "retries": 3, **options}
    if landing_task == "submit":
        return build(prompt=f"a watch {words}", num_images=4, name="hero", submit={"wait": True, **landing})
    return build(prompt=f"a watch {words}", num_images=4, name="hero", land=landing)


def run(runner: Runner, chain: Chain, landing_task: str) -> Outcome:
    """Both tasks, or the one that does it all."""
    if landing_task == "land" and runner.instance(chain.submit).state is None:
        assert runner.run(chain.submit).state == "success"
    return runner.run(getattr(chain, landing_task))


class TestAnImageThatComesAfterAll:
    def test_an_image_that_comes_after_all_is_landed_when_the_task_is_cleared(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        runner, chain = Runner(), chain_of(build, "", "land", deferrable=deferrable)
        seedream_task_id = runner.run(chain.submit).value["seedream_task_id"]
        emulator.inject("partial", seedream_task_id=seedream_task_id, count=3)
        assert runner.run(chain.land).state == "failed"
        emulator.inject("partial", seedream_task_id=seedream_task_id, count=4)
        runner.clear(chain.land)
        outcome = runner.run(chain.land)
        assert (outcome.state, len(outcome.value["images"])) == ("success", 4)
        assert the_manifest(read_files(folder))["images_landed"] == 4
        assert records(folder)[0]["outcome"] == "landed"
        assert emulator.books.posts == 1


@pytest.mark.parametrize("words", FEWER.values(), ids=list(FEWER))
class TestFewerImagesThanAsked:
    def test_fewer_images_than_asked_fail_the_task_once_with_those_that_came_landed(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, landing_task: str, words: str
    ) -> None:
        runner, chain = Runner(), chain_of(build, words, landing_task, deferrable=deferrable)
        outcome = run(runner, chain, landing_task)
        assert (outcome.state, outcome.tries) == ("failed", 1)
        assert type(outcome.error).__name__ == "SeedreamPartialResultError"
        assert "3 of 4 images came" in str(outcome.error)
        assert "hero.json" in str(outcome.error)

        assert images(folder) == ["hero_1.png", "hero_2.png", "hero_3.png"]
        manifest = the_manifest(read_files(folder))
        assert (manifest["images_landed"], manifest["images_requested"], manifest["credits"]) == (3, 4, 40)
        assert records(folder)[0]["outcome"] == "partial"
        assert (emulator.books.posts, emulator.books.credits_charged) == (1, 40)

    def test_fewer_images_than_asked_are_a_success_where_they_are_accepted(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, landing_task: str, words: str
    ) -> None:
        runner, chain = (
            Runner(),
            chain_of(build, words, landing_task, deferrable=deferrable, on_partial="accept"),
        )
        outcome = run(runner, chain, landing_task)
        assert (outcome.state, outcome.tries, len(outcome.value["images"])) == ("success", 1, 3)
        manifest = the_manifest(read_files(folder))
        assert (manifest["images_landed"], manifest["images_requested"]) == (3, 4)
        assert (emulator.books.posts, emulator.books.credits_charged) == (1, 40)

    def test_a_clear_finds_the_same_images_and_buys_nothing(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, landing_task: str, words: str
    ) -> None:
        runner, chain = Runner(), chain_of(build, words, landing_task, deferrable=deferrable)
        run(runner, chain, landing_task)
        downloads, files = emulator.books.downloads, read_files(folder)
        task = getattr(chain, landing_task)
        runner.clear(task)
        again = runner.run(task)
        assert (again.state, type(again.error).__name__) == ("failed", "SeedreamPartialResultError")
        task.on_partial = "accept"  # as an edited DAG file would say
        runner.clear(task)
        assert runner.run(task).state == "success"
        assert (emulator.books.downloads, read_files(folder), emulator.books.posts) == (downloads, files, 1)


def test_the_images_keep_their_numbers_when_one_in_the_middle_is_missing(
    emulator: Emulator, build: Build, folder: Path, deferrable: bool
) -> None:
    emulator.inject("one-null", image_index=1)
    runner, chain = Runner(), chain_of(build, "", "land", deferrable=deferrable)
    outcome = run(runner, chain, "land")
    assert type(outcome.error).__name__ == "SeedreamPartialResultError"
    assert images(folder) == ["hero_1.png", "hero_3.png", "hero_4.png"]
    assert [image["number"] for image in the_manifest(read_files(folder))["images"]] == [1, 3, 4]
