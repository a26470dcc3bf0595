"""G16: budgets hold before the money is spent; an unknown outcome counts as spent, a refund gives it back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamBudgetError,
    SeedreamInputError,
    SeedreamLedgerError,
    SeedreamRateLimitError,
)
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.batch_child import start_batch
from tests.guarantees.child import start_child, submit_task
from tests.guarantees.conftest import POKE_SECONDS, Build, records
from tests.guarantees.faulty_storage import ERRORS, FOLDER, faulty_storage

LOST = "a watch [drop-after-accept]"
PROMPTS = ("watch 1", "watch 2", LOST, *(f"watch {number}" for number in range(4, 11)))
Mapped = Callable[..., Any]


@pytest.fixture
def mapped(destination: str) -> Mapped:
    """A submitting task, mapped over prompts: `mapped(["a", "b"], max_credits=20)`."""

    def mapped(prompts: list[str], *, task_id: str = "submit", **options: Any) -> Any:
        with DAG("guarantees", schedule=None):
            return SeedreamGenerateOperator.partial(
                task_id=task_id, destination=destination, **options
            ).expand(prompt=prompts)

    return mapped


def noted(folder: Path) -> int:
    """The credits of all that is noted as spent."""
    return sum(int(file.name.split(".")[2]) for file in folder.glob("_seedream/spent/*/*/*"))


def refused(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if isinstance(outcome.error, SeedreamBudgetError)]


class TestTenRowsOfTwoImagesWithinAHundredCredits:
    @pytest.mark.parametrize("limit", ["max_credits", "max_credits_per_run"])
    def test_five_are_sent_the_unknown_one_counts_and_the_rest_are_refused(
        self, limit: str, mapped: Mapped, emulator: Emulator, folder: Path, price: int
    ) -> None:
        outcomes = Runner().run_mapped(mapped(list(PROMPTS), num_images=2, retries=2, **{limit: 10 * price}))
        books = emulator.books
        assert (books.posts, books.posts_received, books.credits_charged) == (5, 5, 10 * price)
        assert [outcome.state for outcome in outcomes[:5]] == [
            "success",
            "success",
            "failed",
            "success",
            "success",
        ]
        assert isinstance(outcomes[2].error, SeedreamAmbiguousSubmissionError)
        assert len(refused(outcomes[5:])) == 5
        assert {(outcome.state, outcome.tries) for outcome in outcomes[5:]} == {("failed", 1)}
        assert (len(records(folder)), noted(folder)) == (5, 10 * price)

    def test_the_error_says_the_budget_what_is_spent_and_the_price(
        self, mapped: Mapped, emulator: Emulator
    ) -> None:
        error = refused(Runner().run_mapped(mapped(["a", "b"], num_images=2, max_credits="{{ 30 }}")))[
            0
        ].error
        assert isinstance(error, AirflowFailException)
        assert (
            "max_credits=30: 20 credits are spent by this task in this DAG run, and this request costs 20."
            in str(error)
        )
        assert "Paid: no." in str(error)

    def test_a_clear_of_all_pays_nothing_more(self, mapped: Mapped, emulator: Emulator, price: int) -> None:
        runner, task = Runner(), mapped(list(PROMPTS), num_images=2, max_credits=10 * price)
        runner.run_mapped(task)
        for index in range(10):
            runner.clear(task, map_index=index)
        again = runner.run_mapped(task)
        assert [outcome.state for outcome in again].count("success") == 4
        assert len(refused(again)) == 5
        assert emulator.books.posts_received == 5

    def test_a_raised_budget_and_a_clear_send_the_rest(
        self, mapped: Mapped, emulator: Emulator, price: int
    ) -> None:
        runner, prompts = Runner(), ["a", "b", "c"]
        runner.run_mapped(mapped(prompts, max_credits=price))
        for index in range(3):
            runner.clear(mapped(prompts), map_index=index)
        assert {outcome.state for outcome in runner.run_mapped(mapped(prompts, max_credits=3 * price))} == {
            "success"
        }
        assert emulator.books.posts_received == 3

    def test_another_run_has_a_budget_of_its_own(self, mapped: Mapped, emulator: Emulator) -> None:
        for run_id in ("a", "b"):
            Runner(run_id=run_id).run_mapped(mapped(["one", "two"], max_credits=10))
        assert emulator.books.posts_received == 2


class TestTheBudgetOfARun:
    def test_the_budget_of_a_run_holds_for_all_its_tasks_those_without_one_included(
        self, mapped: Mapped, emulator: Emulator, price: int
    ) -> None:
        runner = Runner()
        runner.run_mapped(mapped(["a", "b"], task_id="first"))
        outcomes = runner.run_mapped(mapped(["c", "d"], task_id="second", max_credits_per_run=3 * price))
        assert [outcome.state for outcome in outcomes] == ["success", "failed"]
        assert emulator.books.posts_received == 3

    def test_a_row_another_run_has_paid_for_costs_nothing(
        self, mapped: Mapped, emulator: Emulator, folder: Path
    ) -> None:
        for run_id in ("a", "b"):
            outcomes = Runner(run_id=run_id).run_mapped(
                mapped(["one", "two"], reuse="content", max_credits_per_run=20)
            )
            assert {outcome.state for outcome in outcomes} == {"success"}
        assert (emulator.books.posts_received, noted(folder)) == (2, 20)


class TestWhatBoughtNothing:
    @pytest.mark.parametrize(
        ("prompt", "options"),
        [
            ("a [moderation]", {}),
            ("a [refuse:402]", {}),
            ("a [refuse:429]", {"timeout": 0}),
            ("a [refuse:400]", {}),
        ],
    )
    def test_what_bought_nothing_is_not_spent(
        self, prompt: str, options: dict[str, Any], mapped: Mapped, emulator: Emulator, folder: Path
    ) -> None:
        outcomes = Runner().run_mapped(mapped([prompt, "b", "c"], max_credits=20, **options))
        assert [outcome.state for outcome in outcomes] == ["failed", "success", "success"]
        assert (emulator.books.posts, noted(folder)) == (2, 20)

    def test_a_429_that_is_waited_out_is_spent_once(
        self, build: Build, hasty: Emulator, folder: Path
    ) -> None:
        hasty.inject("refuse", status=429, endpoint="generate", times=2, retry_after_seconds=1)
        outcome = Runner().run(build(max_credits=10, retries=0).submit)
        assert not any(isinstance(error, SeedreamRateLimitError) for error in outcome.errors)
        assert (outcome.state, hasty.books.posts, noted(folder)) == ("success", 1, 10)

    def test_a_name_that_is_taken_is_not_spent(
        self, mapped: Mapped, emulator: Emulator, folder: Path, price: int
    ) -> None:
        outcomes = Runner().run_mapped(mapped(["a", "b"], name="hero", max_credits=2 * price))
        assert isinstance(outcomes[1].error, SeedreamInputError)
        assert noted(folder) == price

    def test_a_refund_gives_the_budget_back(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, price: int
    ) -> None:
        """And a retry that pays again finds room for it."""
        emulator.inject("fail", times=1)
        options = {"wait": True, "deferrable": deferrable, "poke_interval": POKE_SECONDS, "retries": 1}
        outcome = Runner().run(build(num_images=2, max_credits=2 * price, **options).submit)
        assert (outcome.state, outcome.tries) == ("success", 2)
        assert (emulator.books.posts, emulator.books.credits_refunded, noted(folder)) == (
            2,
            2 * price,
            2 * price,
        )

    @pytest.mark.parametrize(
        ("operation", "containing"), [("list", "spent"), ("write", "names"), ("write", "ledger")]
    )
    def test_what_a_storage_that_stumbled_kept_from_being_sent_is_not_spent(
        self, operation: Any, containing: str, emulator: Emulator, build: Build
    ) -> None:
        """Not even after a refund, which gives back the note of what was sent alone."""
        storage = faulty_storage()
        storage.fail(operation, f"_seedream/{containing}", ERRORS["500"], times=1)
        emulator.inject("fail", times=1)
        options = {"wait": True, "deferrable": False, "name": "hero", "retries": 2}
        outcome = Runner().run(build(destination=FOLDER, max_credits_per_run=10, **options).submit)
        assert (outcome.state, outcome.tries, type(outcome.errors[0])) == ("success", 3, SeedreamLedgerError)
        assert (emulator.books.posts, emulator.books.credits_refunded) == (2, 10)
        assert len(storage.files("_seedream/spent")) == 1

    def test_a_resubmission_of_an_unknown_outcome_needs_room_for_both(
        self, emulator: Emulator, build: Build
    ) -> None:
        paying = {"on_unknown_submit": "resubmit", "retries": 1}
        outcome = Runner().run(build(prompt=f"{LOST[:-1]}*1]", max_credits=10, **paying).submit)
        assert (outcome.state, type(outcome.error)) == ("failed", SeedreamBudgetError)
        assert emulator.books.posts_received == 1


class TestABudgetThatIsInvalid:
    @pytest.mark.parametrize("value", [-1, "ten", 1.5, True])
    def test_a_budget_that_is_invalid_is_refused_when_the_dag_is_parsed(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="max_credits must be an integer"):
            SeedreamGenerateOperator(task_id="submit", prompt="a watch", max_credits=value)

    def test_a_budget_of_zero_sends_nothing(self, emulator: Emulator, build: Build, folder: Path) -> None:
        outcome = Runner().run(build(max_credits=0).submit)
        assert isinstance(outcome.error, SeedreamBudgetError)
        assert (emulator.books.posts_received, noted(folder)) == (0, 0)


class TestProcesses:
    def test_processes_that_race_never_overspend(self, emulator: Emulator, destination: str) -> None:
        """Three workers, each with a request of its own, and room for two."""
        options = {"destination": destination, "max_credits": 20, "max_credits_per_run": 20}
        children = [start_child(prompt=f"watch {number}", **options) for number in range(3)]
        assert sorted(child.wait() for child in children) == [0, 0, 1]
        assert (emulator.books.posts_received, emulator.books.credits_charged) == (2, 20)

    def test_one_that_is_killed_in_its_post_has_spent(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        options: dict[str, Any] = {"destination": destination, "max_credits": 10}
        child = start_child(prompt="a watch [stall-after-accept:30*1]", **options)
        try:
            assert emulator.books.wait_until(lambda books: books.posts == 1, timeout_seconds=60)
        finally:
            os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert isinstance(
            Runner().run(submit_task(prompt="another watch", **options)).error, SeedreamBudgetError
        )
        assert (emulator.books.posts_received, noted(folder)) == (1, 10)

    @pytest.mark.adds_up_not("it deletes the record of a paid request")
    def test_one_that_was_killed_before_its_claim_counts_until_its_retry_and_then_once(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        options: dict[str, Any] = {"prompt": "a watch", "destination": destination, "max_credits": 10}
        assert Runner().run(submit_task(**options)).state == "success"
        [record] = folder.glob("_seedream/ledger/*.json")
        [note] = folder.glob("_seedream/spent/*/*/*")
        note.rename(note.with_name(note.name.rsplit(".", 1)[0] + ".of-a-dead-process"))
        record.unlink()
        assert Runner().run(submit_task(**options)).state == "success"
        assert emulator.books.posts == 2
        assert json.loads(record.read_text())["outcome"] == "submitted"


class TestTwoLiveBatchesOfOneTask:
    """A worker that Airflow gave up beside its retry, or two installations with one bucket: two processes,
    from opposite ends.
    """

    def test_two_live_batches_of_one_task_never_overspend_together(
        self, emulator: Emulator, tmp_path: Path, destination: str
    ) -> None:
        rows = [{"prompt": f"watch {number}"} for number in range(12)]
        connection = json.loads(emulator.airflow_connection_json()) | {
            "extra": {"requests_per_minute": 100_000}
        }
        emulator.configure(latency_seconds=0.05)
        options = {
            "destination": destination,
            "max_credits": 60,
            "on_error": "continue",
            "poke_interval": 0.05,
        }
        workers = [
            start_batch(tmp_path, json.dumps(connection), requests=table, **options)
            for table in (rows, list(reversed(rows)))
        ]
        ended = [worker.wait() for worker in workers]
        assert [worker.state for worker in ended] == ["success", "success"]
        assert 50 <= emulator.books.credits_charged <= 60
