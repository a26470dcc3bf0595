"""What is retried and when, for every error there is; and that a real task keeps to it."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

import airflow.sdk
import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.sdk import DAG, BaseOperator

from airflow_provider_seedream import exceptions
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import (
    SeedreamError,
    SeedreamInputError,
    SeedreamRateLimitError,
    final,
)
from airflow_provider_seedream.model.retry_decision import Delays, decide
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build
from tests.test_docs import ERRORS, rows, section
from tests.unit.test_import_cost import HEAVY, imported_by, within

HAS_POLICIES = hasattr(airflow.sdk, "RetryPolicy")
RESCHEDULES = HAS_POLICIES and hasattr(airflow.sdk.RetryDecision, "reschedule")
uses_retries = pytest.mark.skipif(RESCHEDULES, reason="from Airflow 3.4 on a 402 or 429 uses up no retry")
needs_policies = pytest.mark.skipif(not HAS_POLICIES, reason="retry policies came with Airflow 3.3")
DELAYS = Delays(top_up_seconds=1000, first_seconds=10, longest_seconds=60)
FAIL, TOP_UP, DOUBLING = ("fail", None), ("retry", 1000.0), ("retry", 10.0)
# Every class there is, as it is raised when nothing else is said.
EXPECTED: dict[str, tuple[str, float | None]] = {
    "SeedreamError": DOUBLING,
    "SeedreamInputError": FAIL,
    "SeedreamBudgetError": FAIL,
    "SeedreamCapError": FAIL,
    "SeedreamAPIError": DOUBLING,
    "SeedreamBadRequestError": FAIL,
    "SeedreamAuthenticationError": FAIL,
    "SeedreamInsufficientCreditsError": TOP_UP,
    "SeedreamNotFoundError": FAIL,
    "SeedreamRateLimitError": DOUBLING,
    "SeedreamServerError": DOUBLING,
    "SeedreamConnectionError": DOUBLING,
    # not final: somebody asked for it with on_unknown_submit="resubmit"
    "SeedreamAmbiguousSubmissionError": DOUBLING,
    "SeedreamResponseError": DOUBLING,
    "SeedreamGenerationFailedError": DOUBLING,
    "SeedreamModerationError": FAIL,
    "SeedreamResultsExpiredError": FAIL,
    "SeedreamGenerationTimeoutError": FAIL,
    "SeedreamTopUpTimeoutError": FAIL,
    "SeedreamPollingError": DOUBLING,
    "SeedreamLandingError": DOUBLING,
    "SeedreamPartialResultError": FAIL,
    "SeedreamBatchError": DOUBLING,
    "SeedreamLedgerError": DOUBLING,
}


def decided(error: BaseException, try_number: int = 1, jitter: float = 0.0) -> tuple[str, float | None]:
    decision = decide(error, try_number, DELAYS, jitter=jitter)
    return decision.action, decision.delay_seconds


class TestTheDecision:
    def test_the_decision_covers_every_error_there_is(self) -> None:
        assert list(EXPECTED) == list(ERRORS)

    @pytest.mark.parametrize("name", EXPECTED)
    def test_the_decision_is_the_errors_own(self, name: str) -> None:
        assert decided(ERRORS[name]("It happened.")) == EXPECTED[name]

    @pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if expected != FAIL])
    def test_the_decision_is_to_fail_where_whoever_raised_it_made_it_final(self, name: str) -> None:
        assert decided(final(ERRORS[name]("It happened."))) == FAIL

    @pytest.mark.parametrize("asked", [0.0, 3.5, 7200.0])
    def test_the_decision_after_a_429_is_what_the_api_asks_for(self, asked: float) -> None:
        assert decided(SeedreamRateLimitError("Slow down.", retry_after_seconds=asked), try_number=9) == (
            "retry",
            asked,
        )

    def test_the_decision_is_to_fail_when_a_failed_generation_was_not_refunded(self) -> None:
        assert decided(exceptions.SeedreamGenerationFailedError("It failed.", paid="unknown")) == FAIL

    @pytest.mark.parametrize(
        ("try_number", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 60), (5, 60), (9999, 60), (0, 10)]
    )
    def test_the_decision_doubles_with_each_try_up_to_the_longest_pause(
        self, try_number: int, seconds: float
    ) -> None:
        assert decided(SeedreamError("It happened."), try_number) == ("retry", seconds)

    def test_the_decision_adds_at_most_a_quarter_at_random(self) -> None:
        assert decided(SeedreamError("It happened."), jitter=1.0) == ("retry", 12.5)

    @pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), AirflowException("no")])
    def test_the_decision_leaves_the_errors_of_others_to_airflow(self, error: BaseException) -> None:
        assert decided(error) == ("default", None)


TABLE = {row[0].strip("`"): row[1:] for row in rows(section("retries.md", "What is decided"))}


class TestTheDocumentation:
    """The table of docs/retries.md against the same decision."""

    def test_the_documentation_has_every_error_in_its_order(self) -> None:
        assert list(TABLE) == list(ERRORS)

    @pytest.mark.parametrize("name", EXPECTED)
    def test_the_documentation_says_what_the_policy_does(self, name: str) -> None:
        said, action = TABLE[name][0], EXPECTED[name]
        first = {FAIL: r"fail$", TOP_UP: r"retry after 30 min$", DOUBLING: r".*doubling from 30 s"}[action]
        assert re.match(first, said)
        assert ("Retry-After" in said) == (name == "SeedreamRateLimitError")

    @pytest.mark.parametrize("name", EXPECTED)
    def test_the_documentation_says_what_happens_without_one(self, name: str) -> None:
        made_final_by_who_raises_it = {
            "SeedreamInsufficientCreditsError": "fail",
            "SeedreamAmbiguousSubmissionError": "fail; with",
        }
        usual = "fail" if EXPECTED[name] == FAIL else "retry"
        said = TABLE[name][1]
        assert said.startswith(
            made_final_by_who_raises_it.get(name, "the same" if "GenerationFailed" in name else usual)
        )


def policy(**delays: timedelta) -> Any:
    from airflow_provider_seedream.retry_policy import SeedreamRetryPolicy

    return SeedreamRetryPolicy(**delays)


def rescheduled(outcome: Outcome) -> float:
    """Seconds until the task runs again in the same try."""
    report = outcome.steps[-1].report
    return (
        datetime.fromisoformat(report["reschedule_date"]) - datetime.fromisoformat(report["end_date"])
    ).total_seconds()


def pause(outcome: Outcome) -> float:
    assert outcome.state == "up_for_retry"
    return float(outcome.steps[-1].report["retry_delay_seconds"])


@pytest.mark.skipif(not RESCHEDULES, reason="a policy can leave the retries alone from Airflow 3.4 on")
class TestWithoutRetries:
    """Airflow 3.4: the task runs again in its first try, after a pause."""

    def test_a_task_without_retries_waits_for_a_top_up_and_goes_on(
        self, emulator: Emulator, build: Build
    ) -> None:
        emulator.configure(balance_credits=5)
        task = build(submit={"retries": 0, "retry_policy": policy(top_up_delay=timedelta(seconds=2))}).submit
        runner = Runner()
        assert 2 <= rescheduled(runner.run(task, until="up_for_reschedule")) <= 2.5
        emulator.configure(balance_credits=100)
        outcome = runner.run(task)
        assert (outcome.state, outcome.tries, emulator.books.posts) == ("success", 1, 1)

    def test_a_task_without_retries_waits_as_long_as_the_api_asks(
        self, emulator: Emulator, build: Build
    ) -> None:
        emulator.inject("rate-limited", seconds=100, times=1)
        task = build(submit={"retries": 0, "timeout": 5, "retry_policy": policy()}).submit
        assert 100 <= rescheduled(Runner().run(task, until="up_for_reschedule")) <= 125

    def test_it_ends_when_it_has_waited_long_enough(self, emulator: Emulator, build: Build) -> None:
        emulator.configure(balance_credits=5)
        second = timedelta(seconds=1)
        task = build(
            submit={"retries": 0, "retry_policy": policy(top_up_delay=second, most_waiting=second)}
        ).submit
        assert (Runner().run(task).state, emulator.books.posts) == ("failed", 0)


@needs_policies
class TestAPolicyOnATask:
    @uses_retries
    def test_a_policy_on_a_task_waits_for_a_top_up_and_goes_on(
        self, emulator: Emulator, build: Build
    ) -> None:
        emulator.configure(balance_credits=5)
        task = build(submit={"retries": 3, "retry_policy": policy()}).submit
        runner = Runner()
        first = runner.run(task, until="up_for_retry")
        assert 1800 <= pause(first) <= 2250
        assert first.steps[-1].report["retry_reason"] == (
            "SeedreamInsufficientCreditsError: Top up the wallet at the vendor, then clear this task or wait "
            "for its next retry."
        )
        emulator.configure(balance_credits=100)
        assert (runner.run(task).state, emulator.books.posts) == ("success", 1)

    @uses_retries
    def test_a_policy_on_a_task_waits_as_long_as_the_api_asks(self, emulator: Emulator, build: Build) -> None:
        emulator.inject("rate-limited", seconds=100, times=1)
        task = build(submit={"retries": 3, "timeout": 5, "retry_policy": policy()}).submit
        assert 100 <= pause(Runner().run(task, until="up_for_retry")) <= 125

    def test_a_policy_on_a_task_doubles_its_pause_while_landing_fails(
        self, emulator: Emulator, build: Build
    ) -> None:
        short = policy(first_delay=timedelta(seconds=4), longest_delay=timedelta(seconds=10))
        chain = build(land={"retries": 3, "retry_policy": short})
        runner = Runner()
        runner.run(chain.submit)
        emulator.inject("truncated", endpoint="download")
        pauses = [pause(runner.run(chain.land, until="up_for_retry")) for _ in range(3)]
        for low, measured in zip([4, 8, 10], pauses, strict=True):
            assert low <= measured <= low * 1.25

    @uses_retries
    def test_a_policy_on_a_task_ends_with_the_retries(self, emulator: Emulator, build: Build) -> None:
        emulator.configure(balance_credits=5)
        outcome = Runner().run(build(submit={"retries": 1, "retry_policy": policy()}).submit)
        assert (outcome.state, outcome.tries) == ("failed", 2)

    def test_a_policy_on_a_task_leaves_what_is_final_final(self, emulator: Emulator, build: Build) -> None:
        emulator.inject("refuse", status=401)
        outcome = Runner().run(build(submit={"retries": 3, "retry_policy": policy()}).submit)
        assert (outcome.state, outcome.tries) == ("failed", 1)

    def test_a_policy_on_a_task_leaves_the_errors_of_others_to_airflow(self) -> None:
        class Broken(BaseOperator):
            def execute(self, context: Any) -> None:
                raise ValueError("no")

        with DAG("others", schedule=None):
            task = Broken(task_id="broken", retries=1, retry_policy=policy())
        outcome = Runner().run(task, until="up_for_retry")
        assert outcome.steps[-1].report.get("retry_delay_seconds") is None


@needs_policies
class TestThePolicy:
    def test_the_policy_survives_json(self) -> None:
        one = policy(
            top_up_delay=timedelta(hours=1),
            first_delay=timedelta(seconds=1),
            longest_delay=timedelta(minutes=1),
        )
        assert type(one).deserialize(json.loads(json.dumps(one.serialize()))).delays == one.delays

    @pytest.mark.parametrize("wrong", [timedelta(), timedelta(seconds=-1), 30, None])
    def test_the_policy_refuses_a_pause_that_is_none(self, wrong: Any) -> None:
        with pytest.raises(SeedreamInputError, match="first_delay"):
            policy(first_delay=wrong)


@pytest.mark.skipif(HAS_POLICIES, reason="for Airflow below 3.3")
class TestBelowAirflow33:
    def test_the_import_says_what_to_do_instead(self) -> None:
        with pytest.raises(ImportError, match="leave out `retry_policy`"):
            policy()


@needs_policies
def test_a_dag_file_that_imports_the_policy_pays_for_no_heavy_library() -> None:
    assert within(imported_by("airflow_provider_seedream.retry_policy"), HEAVY) == []
