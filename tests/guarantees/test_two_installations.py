"""G1, G16: two Airflow installations write into one bucket, with the same DAG, run and task ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Connect, records

ROWS = [{"prompt": f"watch {number}"} for number in range(3)]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a task in the installation of a name or of an address; each has a database of its own."""

    def at(task: Any, *, name: str = "", address: str = "", runner: Runner | None = None) -> Outcome:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__INSTALLATION", name)
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", address)
        return (runner or Runner()).run(task)

    return at


@pytest.fixture
def submit(emulator: Emulator, destination: str) -> Any:
    def submit(**options: Any) -> Any:
        with DAG("guarantees", schedule=None):
            return SeedreamGenerateOperator(
                task_id="submit", **{"prompt": "a watch", "destination": destination, **options}
            )

    return submit


@pytest.fixture
def batch(emulator: Emulator, connect: Connect, destination: str) -> Any:
    connect(emulator, requests_per_minute=100_000)

    def batch(**options: Any) -> Any:
        with DAG("guarantees", schedule=None):
            given = {"destination": destination, "deferrable": False, "poke_interval": 0.05, **options}
            return SeedreamBatchOperator(task_id="batch", requests=ROWS, **given)

    return batch


class TestTwoThatHaveNoNames:
    def test_two_installations_without_names_share_a_generation_that_one_of_them_counts_as_paid(
        self, at: Any, batch: Any, emulator: Emulator, folder: Path
    ) -> None:
        east = at(batch(), address="https://east.example.com")
        west = at(batch(), address="https://west.example.com/")
        assert [east.value["credits"], west.value["credits"]] == [30, 0]
        assert emulator.books.credits_charged == 30
        assert {record["made_by"]["airflow"] for record in records(folder)} == {"https://east.example.com"}
        assert "Another Airflow (https://east.example.com) has paid for this request" in west.log_text

    def test_two_installations_without_names_hold_one_budget_between_them(
        self, at: Any, batch: Any, emulator: Emulator
    ) -> None:
        at(batch(max_credits=20, on_error="continue"), address="https://east.example.com")
        at(
            batch(max_credits=20, on_error="continue", take=2, results="more"),
            address="https://west.example.com",
        )
        assert emulator.books.credits_charged == 20

    def test_a_retry_of_one_whose_address_is_its_own_machine_counts_as_before(
        self, at: Any, batch: Any
    ) -> None:
        runner, task = Runner(), batch()
        paid = at(task, address="http://localhost:8080", runner=runner)
        runner.clear(task)
        assert (
            at(task, address="http://localhost:8080", runner=runner).value["credits"]
            == paid.value["credits"]
            == 30
        )


class TestTwoThatHaveNames:
    def test_two_installations_with_names_make_two_requests(
        self, at: Any, submit: Any, emulator: Emulator, folder: Path
    ) -> None:
        east, west = at(submit(), name="east"), at(submit(), name="west")
        assert east.value["seedream_task_id"] != west.value["seedream_task_id"]
        assert (emulator.books.posts, len(records(folder))) == (2, 2)

    def test_two_installations_with_names_have_a_budget_each(
        self, at: Any, submit: Any, emulator: Emulator
    ) -> None:
        for name in ("east", "west"):
            assert at(submit(max_credits=10), name=name).state == "success"
            assert at(submit(max_credits=10, take=2), name=name).state == "failed"
        assert emulator.books.credits_charged == 20

    def test_two_installations_with_names_cannot_have_one_name_or_one_table_of_results(
        self, at: Any, submit: Any, batch: Any
    ) -> None:
        assert at(submit(name="hero"), name="east").state == "success"
        assert isinstance(at(submit(name="hero"), name="west").error, SeedreamInputError)
        assert at(batch(), name="east").state == "success"
        assert isinstance(at(batch(), name="west").error, SeedreamInputError)

    def test_two_installations_with_names_share_what_is_paid_once_ever_by_its_content(
        self, at: Any, submit: Any, emulator: Emulator
    ) -> None:
        values = [at(submit(reuse="content"), name=name).value for name in ("east", "west")]
        assert values[0] == values[1]
        assert emulator.books.posts == 1


class TestAnInstallationThatGetsAName:
    def test_an_installation_that_gets_a_name_finds_what_it_paid_before_and_counts_it(
        self, at: Any, submit: Any, emulator: Emulator, folder: Path
    ) -> None:
        """As 0.2.0 wrote it: without a name and without an address."""
        paid = at(submit())
        [record] = records(folder)
        assert set(record["made_by"]) == {"dag_id", "run_id", "task_id", "map_index", "try_number"}
        assert at(submit(), name="prod-eu", address="https://airflow.example.com").value == paid.value
        assert emulator.books.posts == 1
        assert at(submit(take=2, max_credits=10), name="prod-eu").state == "failed"
        assert json.loads(next(folder.glob("_seedream/ledger/*.json")).read_text()) == record

    def test_an_installation_that_gets_a_name_goes_on_with_the_results_of_a_batch_that_it_began(
        self, at: Any, batch: Any, emulator: Emulator
    ) -> None:
        assert at(batch()).value["credits"] == at(batch(), name="prod-eu").value["credits"] == 30
        assert emulator.books.posts == 3

    @pytest.mark.parametrize("name", ["two\nlines", "x" * 101])
    def test_an_installation_that_gets_a_name_has_a_plain_one(
        self, name: str, at: Any, submit: Any, emulator: Emulator
    ) -> None:
        outcome = at(submit(), name=name)
        assert isinstance(outcome.error, SeedreamInputError)
        assert "[seedream] installation" in str(outcome.error)
        assert emulator.books.posts_received == 0
