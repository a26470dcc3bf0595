"""G6: a deferred wait that no triggerer speaks of (none runs, none serves the queue) ends all the same,
and lands what is ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowTaskTimeout
from airflow.sdk import DAG, task

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamGenerationTimeoutError, SeedreamRateLimitError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor
from airflow_provider_seedream.tasks.backstop import BACKSTOP_SECONDS
from tests.airflow.deferral import Deferral, read_deferral, resume_with
from tests.airflow.execution_api import Instance
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, Connect, images, records
from tests.unit.values import png

NEVER = {"timeout": 60, "deferrable": True}


class WithoutTriggerer(Runner):
    """No trigger ever runs: Airflow wakes the task when the timeout of its deferral is over, as its scheduler
    does.

    :ivar meanwhile: what happens in that time.
    """

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def _wait(self, instance: Instance) -> Deferral:
        stored = read_deferral(instance.report)
        self.meanwhile()
        ended, instance.next_method, instance.next_kwargs = resume_with(stored, _nobody)
        return ended


def _nobody() -> Any:
    raise TimeoutError


@pytest.fixture
def slow(emulator: Emulator) -> Emulator:
    """Jobs that take an hour."""
    emulator.configure(seconds_per_image=(3600.0, 3600.0))
    return emulator


class TestAGeneration:
    @pytest.mark.parametrize("waits", ["sensor", "operator"])
    def test_a_generation_that_got_ready_meanwhile_is_landed(
        self, waits: str, slow: Emulator, build: Build, folder: Path
    ) -> None:
        runner, chain = WithoutTriggerer(), build(submit={"wait": waits == "operator", **NEVER}, land=NEVER)
        runner.meanwhile = lambda: slow.clock.advance(4000)
        outcome = runner.run(chain.submit)
        if waits == "sensor":
            outcome = runner.run(chain.land)
        assert (outcome.state, len(images(folder)), slow.books.posts) == ("success", 1, 1)
        assert "Check that one runs" in outcome.log_text
        [deferral] = outcome.deferrals
        assert deferral.timeout is not None
        assert BACKSTOP_SECONDS + 50 < deferral.timeout.total_seconds() <= BACKSTOP_SECONDS + 60

    def test_a_generation_is_landed_though_the_source_of_its_edit_is_gone(
        self, slow: Emulator, folder: Path, destination: str, tmp_path: Path
    ) -> None:
        source = tmp_path / "source.png"
        source.write_bytes(png(64, 64))
        with DAG("guarantees", schedule=None):
            options = {"destination": destination, "wait": True, "name": "hero", **NEVER}
            edit = SeedreamEditOperator(task_id="edit", prompt="make it red", images=[str(source)], **options)

        def meanwhile() -> None:
            source.unlink()
            slow.clock.advance(4000)

        runner = WithoutTriggerer()
        runner.meanwhile = meanwhile
        assert runner.run(edit).state == "success"
        assert (images(folder), slow.books.posts) == (["hero_1.png"], 1)

    @pytest.mark.parametrize("waits", ["sensor", "operator"])
    def test_a_generation_that_is_not_ready_fails_as_not_in_time_and_keeps_its_id(
        self, waits: str, slow: Emulator, build: Build, folder: Path
    ) -> None:
        runner, chain = (
            WithoutTriggerer(),
            build(submit={"wait": waits == "operator", "retries": 0, **NEVER}, land=NEVER),
        )
        outcome = runner.run(chain.submit)
        if waits == "sensor":
            outcome = runner.run(chain.land)
        assert (outcome.state, slow.books.posts) == ("failed", 1)
        assert isinstance(outcome.error, SeedreamGenerationTimeoutError)
        [record] = records(folder)
        assert outcome.error.seedream_task_id == record["seedream_task_id"]
        assert "Check that one runs" in str(outcome.error)

    @pytest.mark.parametrize("skips", ["soft_fail", "never_fail"])
    def test_a_generation_is_skipped_where_lateness_is(
        self, skips: str, slow: Emulator, build: Build
    ) -> None:
        runner, chain = WithoutTriggerer(), build(land={**NEVER, skips: True})
        runner.run(chain.submit)
        assert runner.run(chain.land).state == "skipped"

    def test_a_generation_is_ended_by_execution_timeout_where_that_is_shorter(
        self, slow: Emulator, build: Build
    ) -> None:
        runner, chain = (
            WithoutTriggerer(),
            build(land={**NEVER, "execution_timeout": timedelta(seconds=30), "retries": 0}),
        )
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert isinstance(outcome.error, AirflowTaskTimeout)
        assert outcome.deferrals[0].timeout is not None
        assert outcome.deferrals[0].timeout.total_seconds() <= BACKSTOP_SECONDS + 30


class TestATurn:
    @pytest.mark.parametrize("execution_timeout", [None, timedelta(seconds=30)])
    def test_a_turn_that_never_comes_is_an_error_of_its_own(
        self, execution_timeout: timedelta | None, emulator: Emulator, build: Build
    ) -> None:
        emulator.inject("refuse", status=429, endpoint="generate")
        submit = build(
            submit={**NEVER, "execution_timeout": execution_timeout, "retries": 0, "wait": True}
        ).submit
        outcome = WithoutTriggerer().run(submit)
        assert isinstance(outcome.error, AirflowTaskTimeout if execution_timeout else SeedreamRateLimitError)
        assert "Check that one runs" in str(outcome.error)
        assert emulator.books.posts == 0


class TestATopUp:
    def credits(self, **options: Any) -> Any:
        with DAG("guarantees", schedule=None):
            return SeedreamCreditsSensor(
                task_id="credits", min_credits=500, **{**NEVER, "retries": 0, **options}
            )

    def test_a_top_up_that_came_meanwhile_is_seen(self, emulator: Emulator) -> None:
        emulator.configure(balance_credits=10)
        runner = WithoutTriggerer()
        runner.meanwhile = lambda: emulator.configure(balance_credits=1000)
        assert runner.run(self.credits()).value == {"balance": "1000.00"}

    def test_a_top_up_that_did_not_come_is_not_in_time(self, emulator: Emulator) -> None:
        emulator.configure(balance_credits=10)
        assert isinstance(WithoutTriggerer().run(self.credits()).error, AirflowSensorTimeout)
        assert WithoutTriggerer().run(self.credits(soft_fail=True)).state == "skipped"


class TestABatch:
    def test_a_batch_goes_on_from_the_ledger_and_lands_all_of_it(
        self, slow: Emulator, connect: Connect, destination: str, folder: Path
    ) -> None:
        connect(slow, requests_per_minute=100_000)
        with DAG("guarantees", schedule=None):
            rows = [{"prompt": f"watch {number}"} for number in range(3)]
            batch = SeedreamBatchOperator(
                task_id="batch", requests=rows, destination=destination, timeout=7200, deferrable=True
            )
        runner = WithoutTriggerer()
        runner.meanwhile = lambda: slow.clock.advance(4000)
        outcome = runner.run(batch)
        assert (outcome.state, outcome.value["count"]["landed"], outcome.value["credits"]) == (
            "success",
            3,
            30,
        )
        assert (slow.books.posts, len(images(folder)), outcome.tries) == (3, 3, 1)
        assert all(deferral.timeout is not None for deferral in outcome.deferrals)

    def test_a_batch_is_ended_by_its_execution_timeout(
        self, slow: Emulator, connect: Connect, destination: str, folder: Path
    ) -> None:
        connect(slow, requests_per_minute=100_000)
        with DAG("guarantees", schedule=None):
            batch = SeedreamBatchOperator(
                task_id="batch",
                requests=[{"prompt": "a watch"}],
                destination=destination,
                deferrable=True,
                execution_timeout=timedelta(seconds=3),
                retries=0,
            )
        runner = WithoutTriggerer()
        runner.meanwhile = lambda: time.sleep(3)  # Airflow's own clock, which no argument sets
        outcome = runner.run(batch)
        assert isinstance(outcome.error, AirflowTaskTimeout)
        assert [record["outcome"] for record in records(folder)] == ["submitted"]


class TestAFunction:
    """Its answer is not kept by such a wait, and it may answer otherwise when it is asked again."""

    @pytest.fixture
    def answers(self) -> list[str]:
        return ["a watch"]

    def test_a_function_that_says_the_same_again_gets_its_images(
        self, slow: Emulator, answers: list[str], destination: str, folder: Path
    ) -> None:
        outcome = self.run(slow, answers * 2, destination)
        assert (outcome.state, len(images(folder)), slow.books.posts) == ("success", 1, 1)
        assert records(folder)[0]["outcome"] == "landed"

    def test_a_function_that_says_something_else_gets_those_it_has_paid_for(
        self, slow: Emulator, answers: list[str], destination: str, folder: Path
    ) -> None:
        outcome = self.run(slow, [*answers, "another watch"], destination)
        assert (outcome.state, slow.books.posts) == ("success", 1)
        assert images(folder) == [f"{slow.books.submissions[0].seedream_task_id}_1.png"]

    def run(self, slow: Emulator, answers: list[str], destination: str) -> Outcome:
        said = iter(answers)
        with DAG("guarantees", schedule=None):

            @task.seedream(destination=destination, wait=True, **NEVER)
            def watch() -> str:
                return next(said)

            made = watch().operator
        runner = WithoutTriggerer()
        runner.meanwhile = lambda: slow.clock.advance(4000)
        return runner.run(made)
