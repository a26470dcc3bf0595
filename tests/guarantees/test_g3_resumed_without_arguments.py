"""G3: `dag.test()` and `airflow tasks test` drop the arguments of a deferral; every wait of ours goes on and
pays nothing twice.

The jobs here end after the first poll, so that each wait really defers. `tests/airflow/test_dag_test.py` runs
Airflow's own machinery.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.finish import generation_of
from airflow_provider_seedream.operators.seedream import (
    SeedreamBatchOperator,
    SeedreamEditOperator,
    SeedreamGenerateOperator,
)
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor, SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner
from tests.faces.test_taskflow import saved
from tests.guarantees.conftest import Connect
from tests.guarantees.woken import Woken
from tests.unit.values import submission

SECRET = "a watch that nobody has seen"  # a prompt, which no event may hold
WAITING: dict[str, Any] = {"deferrable": True, "poke_interval": 0.1}
# the next poll is so far away that a batch defers
FAR: dict[str, Any] = {"deferrable": True, "poke_interval": 30}


@pytest.fixture(autouse=True)
def slow(emulator: Emulator, connect: Connect) -> None:
    connect(emulator, requests_per_minute=100_000)
    emulator.configure(seconds_per_image=(0.4, 0.4))


def run(task_or_arg: Any, runner: Runner | None = None) -> Outcome:
    """Run it to its success; it must have deferred, by events that are small and hold no prompt."""
    outcome = (runner or Runner(keeps_kwargs=False)).run(getattr(task_or_arg, "operator", task_or_arg))
    assert outcome.state == "success", outcome.log_text
    assert outcome.deferrals
    for deferral in outcome.deferrals:
        assert len(str(deferral.event)) < 1024
        assert "watch" not in str(deferral.event).replace("watches", "")
    return outcome


class TestAWaitThatGoesOnWithoutItsArguments:
    @pytest.mark.parametrize("name", [None, "hero"])
    def test_a_wait_that_goes_on_without_its_arguments_lands_what_it_has_paid_for(
        self, emulator: Emulator, destination: str, folder: Path, name: str | None
    ) -> None:
        with DAG("watches", schedule=None):
            draw = SeedreamGenerateOperator(
                task_id="draw",
                prompt=SECRET,
                name=name,
                take=2,
                destination=destination,
                wait=True,
                **WAITING,
            )
        landed = run(draw).value
        assert (emulator.books.posts, emulator.books.violations) == (1, ())
        assert Path(landed["images"][0]["uri"]).name == (
            "hero_take2_1.png" if name else f"{landed['seedream_task_id']}_1.png"
        )
        [record] = (folder / "_seedream" / "ledger").iterdir()
        assert json.loads(record.read_text())["outcome"] == "landed"

    def test_a_wait_that_goes_on_without_its_arguments_lands_an_edit_without_reading_its_sources_again(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        picture = Path(saved(folder.parent, "source.png"))
        with DAG("watches", schedule=None):
            edit = SeedreamEditOperator(
                task_id="edit",
                prompt=SECRET,
                images=[str(picture)],
                destination=destination,
                wait=True,
                **WAITING,
            )
        runner = Runner(keeps_kwargs=False)
        runner.run(edit, until="deferred")
        picture.unlink()
        assert run(edit, runner).value["credits"] == 10
        assert emulator.books.posts == 1

    @pytest.mark.parametrize("bare", [False, True], ids=["generation", "bare id"])
    def test_a_wait_that_goes_on_without_its_arguments_lands_what_a_sensor_was_given(
        self, emulator: Emulator, destination: str, bare: bool
    ) -> None:
        with DAG("watches", schedule=None):
            draw = SeedreamGenerateOperator(task_id="draw", prompt=SECRET, destination=destination)
            given = SeedreamHook().submit(submission(prompt=SECRET)).seedream_task_id if bare else draw.output
            land = SeedreamGenerationSensor(
                task_id="land", generation=given, destination=destination, **WAITING
            )
        runner = Runner(keeps_kwargs=False)
        if not bare:
            runner.run(draw)
        assert len(run(land, runner).value["images"]) == 1
        assert emulator.books.posts == 1

    def test_a_wait_that_goes_on_without_its_arguments_works_off_a_batch_in_waves(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        rows = [{"prompt": f"{SECRET} {number}", "name": f"w-{number}"} for number in range(3)]
        with DAG("watches", schedule=None):
            batch = SeedreamBatchOperator(
                task_id="batch", requests=rows, max_in_flight=1, destination=destination, **FAR
            )
        outcome = run(batch, Woken(keeps_kwargs=False))
        assert (outcome.value["count"]["landed"], emulator.books.posts, emulator.books.credits_charged) == (
            3,
            3,
            30,
        )
        assert len(outcome.deferrals) >= 2

    def test_a_wait_that_goes_on_without_its_arguments_has_its_turn_and_its_place_in_the_queue(
        self, emulator: Emulator, destination: str, connect: Connect
    ) -> None:
        emulator.inject("rate-limited", times=1, retry_after_seconds=1)
        connect(emulator, requests_per_minute=600)
        with DAG("watches", schedule=None):
            draw = SeedreamGenerateOperator(
                task_id="draw", prompt=SECRET, destination=destination, deferrable=True
            )
        outcome = run(draw)
        event = outcome.deferrals[0].payload
        assert event["started_epoch"] <= event["asked_epoch"] < event["granted_epoch"]
        assert (emulator.books.posts, emulator.books.posts_received) == (1, 2)

    def test_a_wait_that_goes_on_without_its_arguments_sees_the_top_up(self, emulator: Emulator) -> None:
        emulator.configure(balance_credits=5)
        with DAG("watches", schedule=None):
            top_up = SeedreamCreditsSensor(task_id="top_up", min_credits=10, **WAITING)
        runner = Runner(keeps_kwargs=False)
        assert runner.run(top_up, until="deferred").state == "deferred"
        emulator.configure(balance_credits=50)
        assert run(top_up, runner).value == {"balance": "50.00"}

    def test_a_wait_without_its_arguments_lands_what_a_function_asked_for_though_it_would_now_ask_for_something_else(
        self, emulator: Emulator, destination: str
    ) -> None:
        counted = itertools.count()
        with DAG("watches", schedule=None):
            draw = task.seedream(task_id="draw", destination=destination, wait=True, **WAITING)(
                lambda: {"prompt": f"{SECRET} {next(counted)}", "name": f"n-{next(counted)}"}
            )()
        landed = run(draw).value
        assert (emulator.books.posts, Path(landed["images"][0]["uri"]).name) == (1, "n-1_1.png")

    def test_a_wait_that_goes_on_without_its_arguments_works_off_what_a_function_returned(
        self, emulator: Emulator, destination: str
    ) -> None:
        rows = [{"prompt": f"{SECRET} {number}"} for number in range(2)]
        with DAG("watches", schedule=None):
            batch = task.seedream_batch(task_id="batch", destination=destination, max_in_flight=1, **FAR)(
                lambda: rows
            )()
        outcome = run(batch, Woken(keeps_kwargs=False))
        assert (outcome.value["count"]["landed"], emulator.books.posts) == (2, 2)


class TestARecordThatIsGone:
    @pytest.mark.parametrize(
        "event",
        [None, {}, {"record": "s3://b/x.json"}, {"record": f"file:///no/_seedream/ledger/{'0' * 64}.json"}],
    )
    def test_a_record_that_is_gone_is_an_error_that_is_retried_and_says_what_is_paid(
        self, event: Any
    ) -> None:
        with pytest.raises(SeedreamLedgerError, match=r"Paid: yes.*A retry attaches to the paid generation"):
            generation_of(event)
