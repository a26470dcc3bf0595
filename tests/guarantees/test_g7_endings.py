"""G7: results that settle late are landed; never, or failed, is an error of its own that says what became
of the money.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import (
    SeedreamError,
    SeedreamGenerationFailedError,
    SeedreamModerationError,
    SeedreamPollingError,
)
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, images, records


def assert_failed_at_once(outcome: Outcome, error: type[SeedreamError], paid: str, task_id: str) -> None:
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert isinstance(outcome.error, error)
    assert isinstance(outcome.error, AirflowFailException)
    assert f"Paid: {paid}." in str(outcome.error)
    assert task_id in str(outcome.error)


class TestFinishedIsNotYetDone:
    @pytest.mark.parametrize("status_counts", [True, False], ids=["counted", "free"])
    def test_assets_that_stay_null_for_a_minute_are_waited_for(
        self, status_counts: bool, hasty: Emulator, build: Build, deferrable: bool
    ) -> None:
        """Sixty seconds of the server's time, over both answers to whether status calls count."""
        hasty.configure(rate_limit_per_minute=10, status_counts=status_counts, retry_after="none")
        runner = Runner()
        chain = build(
            prompt="a watch [late-assets:60]", num_images=2, land={"deferrable": deferrable, "retries": 0}
        )
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert (outcome.state, len(outcome.value["images"])) == ("success", 2)
        assert (hasty.books.posts_received, hasty.books.downloads) == (1, 2)

    def test_assets_that_stay_null_for_ever_are_an_error_that_keeps_the_id(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        runner = Runner()
        land = {"deferrable": deferrable, "settling_seconds": 0.5, "retries": 1}
        chain = build(prompt="a watch [null-assets] [takes:0]", land=land)
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        started = time.monotonic()
        outcome = runner.run(chain.land)
        assert time.monotonic() - started >= 1, "each try waits out the settling window"
        assert (outcome.state, outcome.tries, type(outcome.error)) == ("failed", 2, SeedreamPollingError)
        assert task_id in str(outcome.error)
        assert "Paid: yes." in str(outcome.error)
        assert (emulator.books.posts_received, images(folder), records(folder)[0]["outcome"]) == (
            1,
            [],
            "submitted",
        )

    def test_an_operator_that_waits_does_not_pay_again_for_links_that_never_came(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        prompt = "a watch [null-assets] [takes:0]"
        task = build(prompt=prompt, wait=True, deferrable=deferrable, settling_seconds=0.2, retries=2).submit
        outcome = Runner().run(task)
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 3, 1)


class TestAGenerationThatFails:
    @pytest.mark.parametrize(
        ("fault", "error", "paid", "refunded"),
        [
            ("fail", SeedreamGenerationFailedError, "refunded", 10),
            ("safety", SeedreamModerationError, "refunded", 10),
            ("finished-failed", SeedreamGenerationFailedError, "unknown", 0),
        ],
    )
    def test_a_sensor_fails_at_once_and_the_record_says_what_became_of_the_credits(
        self,
        fault: str,
        error: type[SeedreamError],
        paid: str,
        refunded: int,
        emulator: Emulator,
        build: Build,
        folder: Path,
        deferrable: bool,
    ) -> None:
        runner, chain = (
            Runner(),
            build(prompt=f"a watch [{fault}]", land={"deferrable": deferrable, "retries": 3}),
        )
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        outcome = runner.run(chain.land)
        assert_failed_at_once(outcome, error, paid, task_id)
        [record] = records(folder)
        assert (record["outcome"], record["refunded"], record["seedream_task_id"]) == (
            "failed",
            refunded > 0,
            task_id,
        )
        assert record["detail"] in str(outcome.error).replace("..", ".") + "."
        assert "The API keeps the images" not in str(outcome.error), "there are none"
        assert (emulator.books.posts_received, emulator.books.credits_refunded, images(folder)) == (
            1,
            refunded,
            [],
        )

    def test_a_refused_prompt_buys_nothing_and_leaves_no_record(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        outcome = Runner().run(build(prompt="a watch [moderation]", retries=3).submit)
        assert (outcome.state, outcome.tries, type(outcome.error)) == ("failed", 1, SeedreamModerationError)
        assert "Paid: no." in str(outcome.error)
        assert (emulator.books.posts, records(folder)) == (0, [])


class TestWhatIsSubmittedAgain:
    """FAILED is refunded, so that a try which can submit may do so; everything else is paid and never
    submitted again.
    """

    def test_a_retry_of_an_operator_that_waits_submits_a_refunded_request_again(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        task = build(
            prompt="a watch [fail*1]", name="hero", wait=True, deferrable=deferrable, retries=2
        ).submit
        outcome = Runner().run(task)
        assert (outcome.state, outcome.tries, images(folder)) == ("success", 2, ["hero_1.png"])
        assert (emulator.books.posts, emulator.books.credits_charged, emulator.books.credits_refunded) == (
            2,
            20,
            10,
        )
        assert sorted((record["attempt"], record["outcome"]) for record in records(folder)) == [
            (1, "failed"),
            (2, "landed"),
        ]

    def test_a_reason_that_no_file_can_hold_hides_no_refund(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        emulator.inject("fail", times=1, message="An emoji that was cut in two: \ud83d, and a NUL: \0")
        outcome = Runner().run(build(name="hero", wait=True, deferrable=deferrable, retries=1).submit)
        assert (outcome.state, outcome.tries, images(folder)) == ("success", 2, ["hero_1.png"]), (
            outcome.errors
        )
        assert (emulator.books.credits_charged, emulator.books.credits_refunded) == (20, 10)
        [reason] = [record["detail"] for record in records(folder) if record["outcome"] == "failed"]
        assert reason == "An emoji that was cut in two: ?, and a NUL: ?"

    @pytest.mark.parametrize("fault", ["safety", "finished-failed"])
    def test_what_would_fail_again_or_was_not_refunded_is_not_retried(
        self, fault: str, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        outcome = Runner().run(
            build(prompt=f"a watch [{fault}]", wait=True, deferrable=deferrable, retries=3).submit
        )
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 1, 1)

    def test_a_clear_of_both_tasks_buys_a_refunded_request_again(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        runner, chain = (
            Runner(),
            build(prompt="a watch [fail*1]", name="hero", land={"deferrable": deferrable}),
        )
        first = runner.run(chain.submit).value
        assert runner.run(chain.land).state == "failed"
        for task in (chain.submit, chain.land):
            runner.clear(task)
        assert runner.run(chain.submit).value["seedream_task_id"] != first["seedream_task_id"]
        assert (runner.run(chain.land).state, images(folder)) == ("success", ["hero_1.png"])
        assert (emulator.books.posts, emulator.books.credits_charged - emulator.books.credits_refunded) == (
            2,
            10,
        )

    def test_a_clear_of_what_may_not_be_refunded_attaches_and_fails_again(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(prompt="a watch [finished-failed]", land={"deferrable": deferrable})
        first = runner.run(chain.submit).value
        runner.run(chain.land)
        for task in (chain.submit, chain.land):
            runner.clear(task)
        assert runner.run(chain.submit).value == first
        assert isinstance(runner.run(chain.land).error, SeedreamGenerationFailedError)
        assert emulator.books.posts_received == 1

    def test_a_retry_submits_as_often_as_it_is_refunded_and_each_attempt_has_its_record(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        outcome = Runner().run(
            build(prompt="a watch [fail]", wait=True, deferrable=deferrable, retries=2).submit
        )
        assert (outcome.state, outcome.tries, len(records(folder))) == ("failed", 3, 3)
        assert (emulator.books.posts, emulator.books.credits_charged, emulator.books.credits_refunded) == (
            3,
            30,
            30,
        )
