"""G6 and G10: whatever ends a wait lands the images that are ready: they are paid for, and the API deletes
them after 24 h.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout
from airflow.sdk import DAG
from airflow.triggers.base import TriggerEvent

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.emulator.books import Books
from airflow_provider_seedream.exceptions import (
    SeedreamBatchError,
    SeedreamGenerationTimeoutError,
    SeedreamPartialResultError,
    SeedreamPollingError,
)
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.polling.policy import PollOutcome
from airflow_provider_seedream.triggers.seedream import event_from
from tests.airflow.deferral import resume_with
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import POKE_SECONDS, Build, Chain, images, records
from tests.guarantees.whole import read_files, the_manifest

TWO = ["hero_1.png", "hero_2.png"]
LIMIT_SECONDS = 0.5
PROMPT = "a watch [takes:0] [one-null]"  # FINISHED at once with two of three images; the third never comes
SETTLES_LATER = {"settling_seconds": 60}


@pytest.fixture(autouse=True)
def prompt_links(emulator: Emulator) -> None:
    """All links that ever come are there with FINISHED."""
    emulator.configure(late_assets_seconds=(0.0, 0.0))


@pytest.fixture(params=["sensor", "wait=True"])
def landing_task(request: pytest.FixtureRequest) -> str:
    return "land" if request.param == "sensor" else "submit"


def chain_of(build: Build, landing_task: str, **options: Any) -> Chain:
    more = {"submit": {"wait": True}} if landing_task == "submit" else {}
    how = {**more.get("submit", {}), **SETTLES_LATER, **options}
    return build(prompt=PROMPT, num_images=3, name="hero", **{landing_task: how})


def run(runner: Runner, chain: Chain, landing_task: str) -> Outcome:
    if landing_task == "land" and runner.instance(chain.submit).state is None:
        assert runner.run(chain.submit).state == "success"
    return runner.run(getattr(chain, landing_task))


def assert_two_of_three(folder: Path, emulator: Emulator) -> None:
    assert images(folder) == TWO
    manifest = the_manifest(
        {name: data for name, data in read_files(folder).items() if not name.endswith(".jsonl")}
    )
    assert (manifest["images_landed"], manifest["images_requested"]) == (2, 3)
    assert records(folder)[0]["outcome"] == "partial"
    assert (emulator.books.posts, emulator.books.credits_charged) == (1, 30)


def polls(books: Books) -> int:
    return sum(request.area == "status" and request.status == 200 for request in books.requests)


def polls_are(emulator: Emulator, number: int) -> Callable[[], bool]:
    """Waits until so many status calls were answered."""
    return lambda: emulator.books.wait_until(lambda books: polls(books) >= number, timeout_seconds=60)


@contextmanager
def once(condition: Callable[[], bool], emulator: Emulator, kind: str, **details: Any) -> Iterator[None]:
    """Inject a fault in the middle of what the block does."""
    waiting = threading.Thread(target=lambda: condition() and emulator.inject(kind, **details))
    waiting.start()
    yield
    waiting.join()


class TestTheTimeout:
    def test_the_timeout_lands_what_is_ready_and_fails_as_late(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, landing_task: str
    ) -> None:
        runner = Runner()
        chain = chain_of(build, landing_task, deferrable=deferrable, timeout=LIMIT_SECONDS, retries=3)
        outcome = run(runner, chain, landing_task)
        assert (outcome.state, outcome.tries, type(outcome.error)) == (
            "failed",
            1,
            SeedreamGenerationTimeoutError,
        )
        assert f"2 of 3 images were ready; they are landed. Manifest: file://{folder}/hero.json" in str(
            outcome.error
        )
        assert_two_of_three(folder, emulator)

    def test_the_timeout_is_a_success_where_fewer_images_are_accepted(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, landing_task: str
    ) -> None:
        options = {"deferrable": deferrable, "timeout": LIMIT_SECONDS, "on_partial": "accept"}
        outcome = run(Runner(), chain_of(build, landing_task, **options), landing_task)
        assert (outcome.state, len(outcome.value["images"])) == ("success", 2)
        assert_two_of_three(folder, emulator)

    def test_a_sensor_that_skips_lands_them_too(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = chain_of(build, "land", deferrable=deferrable, timeout=LIMIT_SECONDS, soft_fail=True)
        assert run(Runner(), chain, "land").state == "skipped"
        assert_two_of_three(folder, emulator)

    def test_a_clear_waits_for_the_image_that_was_missing(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        """It is still missing when the next try begins, and comes while that try waits."""
        land = {"deferrable": deferrable, "timeout": LIMIT_SECONDS, **SETTLES_LATER}
        runner, chain = Runner(), build(num_images=3, name="hero", land=land)
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        emulator.inject("partial", seedream_task_id=task_id, count=2)
        assert runner.run(chain.land).state == "failed"
        chain.land.timeout = 60
        runner.clear(chain.land)
        with once(
            polls_are(emulator, polls(emulator.books) + 3),
            emulator,
            "partial",
            seedream_task_id=task_id,
            count=3,
        ):
            assert runner.run(chain.land).state == "success"
        assert images(folder) == [*TWO, "hero_3.png"]
        assert "settled" not in json.loads((folder / "hero.json").read_text())
        assert (emulator.books.posts, records(folder)[0]["outcome"]) == (1, "landed")

    def test_a_clear_that_finds_no_more_settles_and_says_so(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, landing_task: str
    ) -> None:
        runner, chain = Runner(), chain_of(build, landing_task, deferrable=deferrable, timeout=LIMIT_SECONDS)
        assert run(runner, chain, landing_task).state == "failed"
        task = getattr(chain, landing_task)
        task.settling_seconds = 0.2
        for _ in range(2):
            runner.clear(task)
            assert type(runner.run(task).error) is SeedreamPartialResultError
        assert "settled" not in json.loads((folder / "hero.json").read_text())
        assert_two_of_three(folder, emulator)


class TestTheExecutionTimeout:
    def test_the_execution_timeout_lands_what_is_ready_and_is_airflows_own(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = chain_of(
            build, "land", deferrable=deferrable, execution_timeout=timedelta(seconds=5), retries=0
        )
        outcome = run(Runner(), chain, "land")
        assert (outcome.state, type(outcome.error)) == ("failed", AirflowTaskTimeout)
        assert_two_of_three(folder, emulator)


class TestALostApi:
    def test_images_that_were_ready_are_landed_by_the_links_that_are_known(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        """The API is away when the time is over; the store of the results is another host."""
        runner, chain = Runner(), chain_of(build, "land", deferrable=False, timeout=8)
        runner.run(chain.submit)
        with once(polls_are(emulator, 1), emulator, "refuse", endpoint="status", status=503):
            outcome = runner.run(chain.land)
        assert type(outcome.error) is SeedreamGenerationTimeoutError
        assert "The API is unavailable" in outcome.log_text
        assert_two_of_three(folder, emulator)

    def test_a_worker_that_reaches_the_api_lands_what_a_triggerer_could_not_see(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        runner, chain = Runner(), chain_of(build, "land", deferrable=True, timeout=20, retries=0)
        runner.run(chain.submit)
        runner.run(chain.land, until="deferred")
        lost = event_from(
            records(folder)[0]["seedream_task_id"],
            PollOutcome(verdict="lost", detail="The API was unavailable."),
        )
        stored, instance = runner.deferral(chain.land), runner.instance(chain.land)
        _, instance.next_method, instance.next_kwargs = resume_with(stored, lambda: TriggerEvent(lost))
        instance.state = "queued"
        outcome = runner.run(chain.land)
        assert type(outcome.error) is SeedreamPollingError
        assert_two_of_three(folder, emulator)


class TestABatch:
    def batch(self, destination: str, deferrable: bool, **options: Any) -> SeedreamBatchOperator:
        rows = [{"prompt": PROMPT, "name": "hero", "num_images": 3}]
        given = {
            "destination": destination,
            "deferrable": deferrable,
            "poke_interval": POKE_SECONDS,
            **SETTLES_LATER,
            **options,
        }
        with DAG("guarantees", schedule=None):
            return SeedreamBatchOperator(task_id="batch", requests=rows, **given)

    def test_a_batch_lands_what_is_ready_when_a_row_is_late(
        self, emulator: Emulator, destination: str, folder: Path, deferrable: bool
    ) -> None:
        outcome = Runner().run(self.batch(destination, deferrable, timeout=LIMIT_SECONDS))
        assert isinstance(outcome.error, SeedreamBatchError)
        [line] = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        assert (line["status"], len(line["images"]), line["paid"], line["credits"]) == (
            "partial",
            2,
            "yes",
            30,
        )
        assert_two_of_three(folder, emulator)

    def test_a_batch_lands_what_is_ready_when_its_execution_timeout_is_over(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        limit = timedelta(seconds=6)
        outcome = Runner().run(self.batch(destination, False, timeout=60, execution_timeout=limit))
        assert type(outcome.error) is AirflowTaskTimeout
        assert_two_of_three(folder, emulator)
