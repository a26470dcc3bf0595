"""G14: errors are classified once, and retries are not wasted on what a retry cannot change."""

from __future__ import annotations

import base64
import io
import random
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import airflow.sdk
import pytest
from airflow.sdk import DAG
from PIL import Image

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.emulator.settings import ErrorShape
from airflow_provider_seedream.exceptions import SeedreamAPIError, SeedreamInsufficientCreditsError
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, images, records

SHAPES = get_args(ErrorShape)
SHAPES_WITH_CODE = ("sentence", "error_code", "code_detail", "error_message", "nested")
SHAPES_WITH_MESSAGE = tuple(shape for shape in SHAPES if shape not in ("html", "empty"))
# What a POST is answered -> the class of the error, and the code the emulator names beside it.
REFUSED: dict[int, tuple[str, str]] = {
    400: ("SeedreamBadRequestError", "validation_failed"),
    401: ("SeedreamAuthenticationError", "invalid_api_key"),
    402: ("SeedreamInsufficientCreditsError", "insufficient_credits"),
    403: ("SeedreamAuthenticationError", "forbidden"),
    404: ("SeedreamNotFoundError", "not_found"),
    409: ("SeedreamBadRequestError", "server_error"),
    413: ("SeedreamBadRequestError", "request_too_large"),
    422: ("SeedreamBadRequestError", "validation_failed"),
}
MAY_HAVE_PAID = (408, 500, 502, 503, 504, 599)
ENDS_A_WAIT: dict[int, str] = {
    400: "SeedreamNotFoundError",
    401: "SeedreamAuthenticationError",
    403: "SeedreamAuthenticationError",
    404: "SeedreamNotFoundError",
    422: "SeedreamNotFoundError",
}
IS_WAITED_OUT = (301, 402, 408, 429, 500, 502, 503, 504, 599)


@pytest.fixture
def tls() -> bool:
    """Users speak https, so this guarantee is shown over it."""
    return True


@pytest.fixture(autouse=True)
def quick_jobs(emulator: Emulator) -> None:
    """Nothing here is about the job itself."""
    emulator.configure(seconds_per_image=0.1, late_assets_seconds=0.05)


def end_of(outcome: Outcome) -> tuple[str, int, str]:
    return outcome.state, outcome.tries, type(outcome.error).__name__


def seconds_between_posts(emulator: Emulator) -> float:
    first, second = [request.at for request in emulator.books.requests if request.method == "POST"]
    return second - first


class TestARefusalBeforeTheBodyIsRead:
    """Over TLS the failed upload is noticed before the answer is read; both ways the answer counts."""

    @pytest.fixture
    def large_edit(self, destination: str) -> Any:
        noise = Image.frombytes("RGB", (1200, 1200), random.Random(7).randbytes(3 * 1200 * 1200))
        target = io.BytesIO()
        noise.save(target, "PNG", compress_level=0)
        source = f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"
        with DAG("edits", schedule=None):
            return SeedreamEditOperator(
                task_id="edit",
                prompt="bluer",
                images=[source] * 2,
                destination=destination,
                retries=3,
                deferrable=False,
            )

    @pytest.mark.parametrize("status", [401, 402, 413])
    def test_a_refusal_before_the_body_is_read_is_read_and_fails_in_the_first_try(
        self, emulator: Emulator, large_edit: Any, folder: Path, status: int
    ) -> None:
        emulator.inject("early-answer", status=status)
        outcome = Runner().run(large_edit)
        assert end_of(outcome) == ("failed", 1, REFUSED[status][0])
        assert "Paid: no." in str(outcome.error)
        assert (emulator.books.posts_received, emulator.books.posts, records(folder)) == (1, 0, [])

    def test_a_429_is_waited_out_and_paid_once(self, emulator: Emulator, large_edit: Any) -> None:
        emulator.inject("early-answer", status=429, retry_after_seconds=0, times=1)
        assert Runner().run(large_edit).state == "success"
        assert (emulator.books.posts_received, emulator.books.posts) == (2, 1)

    def test_a_503_stays_unknown(self, emulator: Emulator, large_edit: Any, folder: Path) -> None:
        emulator.inject("early-answer", status=503)
        assert end_of(Runner().run(large_edit)) == ("failed", 1, "SeedreamAmbiguousSubmissionError")
        assert [record["outcome"] for record in records(folder)] == ["unknown"]


class TestAnUnusualStatusAnswer:
    @pytest.mark.parametrize("word", ["long-header", "long-header:60000", "x-gzip"])
    def test_an_unusual_status_answer_is_read_by_the_triggerer_as_by_a_worker(
        self, emulator: Emulator, build: Build, deferrable: bool, word: str
    ) -> None:
        runner, chain = (
            Runner(),
            build(prompt=f"a watch [{word}]", name="hero", land={"deferrable": deferrable, "retries": 0}),
        )
        outcomes = [runner.run(task) for task in (chain.submit, chain.land)]
        assert [outcome.state for outcome in outcomes] == ["success", "success"]
        assert "The API is unavailable" not in outcomes[1].log_text


class TestAnAnswerBehindInterimOnes:
    def test_an_answer_behind_interim_ones_of_every_call_is_read(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        for endpoint in ("submit", "status", "wallet", "download", "thumbnail"):
            emulator.inject("interim", endpoint=endpoint, count=2)
        runner, chain = Runner(), build(name="hero", land={"deferrable": deferrable})
        assert [runner.run(task).state for task in (chain.submit, chain.land)] == ["success", "success"]
        assert (emulator.books.posts, images(folder)) == (1, ["hero_1.png"])


class TestARefusedPostFailsInTheFirstTry:
    # Each status with each shape, without a socket: tests/unit/hooks/test_answers.py.
    @pytest.mark.parametrize(
        ("status", "shape"),
        [*((400, shape) for shape in SHAPES), *((status, SHAPES[0]) for status in REFUSED if status != 400)],
    )
    def test_a_refused_post_fails_in_the_first_try_whatever_shape_its_body_has(
        self, emulator: Emulator, build: Build, folder: Path, status: int, shape: ErrorShape
    ) -> None:
        emulator.inject("refuse", status=status, shape=shape, message="Because of a reason.")
        outcome = Runner().run(build(submit={"retries": 3}).submit)
        cls, code = REFUSED[status]
        assert end_of(outcome) == ("failed", 1, cls)
        error = outcome.error
        assert isinstance(error, SeedreamAPIError)
        assert (error.status_code, error.code) == (status, code if shape in SHAPES_WITH_CODE else None)
        assert ("Because of a reason" in str(error)) == (shape in SHAPES_WITH_MESSAGE)
        assert "<" not in str(error)
        assert (emulator.books.posts_received, emulator.books.posts, records(folder)) == (1, 0, [])

    @pytest.mark.parametrize("status", REFUSED)
    def test_its_claim_is_free_again_so_a_clear_pays_once(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, status: int
    ) -> None:
        emulator.inject("refuse", status=status, times=1)
        task = build(name="hero", submit={"retries": 3, "wait": True, "deferrable": deferrable}).submit
        runner = Runner()
        assert runner.run(task).state == "failed"
        runner.clear(task)
        assert runner.run(task).state == "success"
        assert (emulator.books.posts_received, emulator.books.posts, len(records(folder))) == (2, 1, 1)

    @pytest.mark.parametrize("key", ["expired_key", "revoked_key", "nonsense"])
    def test_an_expired_revoked_or_unknown_key_is_told_apart_by_its_code(
        self, emulator: Emulator, build: Build, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        value = getattr(emulator.settings, key, "no-such-key")
        connection = emulator.airflow_connection_json().replace(emulator.key, value)
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection)
        outcome = Runner().run(build(submit={"retries": 3}).submit)
        assert end_of(outcome) == ("failed", 1, "SeedreamAuthenticationError")
        code = {
            "expired_key": "api_key_expired",
            "revoked_key": "api_key_revoked",
            "nonsense": "invalid_api_key",
        }[key]
        assert outcome.error.code == code  # type: ignore[union-attr]
        assert value not in outcome.log_text + str(outcome.error)

    def test_a_body_too_large_is_refused_once(self, emulator: Emulator, build: Build) -> None:
        emulator.configure(max_body_bytes=100)
        outcome = Runner().run(build(prompt="a very long prompt " * 20, submit={"retries": 3}).submit)
        assert end_of(outcome) == ("failed", 1, "SeedreamBadRequestError")
        assert (emulator.books.posts_received, emulator.books.posts) == (1, 0)

    def test_moderation_at_submit_is_its_own_class(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        outcome = Runner().run(build(prompt="a watch [moderation]", submit={"retries": 3}).submit)
        assert end_of(outcome) == ("failed", 1, "SeedreamModerationError")
        assert "Paid: no." in str(outcome.error)
        assert (emulator.books.posts, records(folder)) == (0, [])

    @pytest.mark.parametrize("status", MAY_HAVE_PAID)
    def test_an_answer_after_which_it_may_be_paid_is_no_refusal(
        self, emulator: Emulator, build: Build, folder: Path, status: int
    ) -> None:
        emulator.inject("refuse", status=status)
        outcome = Runner().run(build(submit={"retries": 3}).submit)
        assert end_of(outcome) == ("failed", 1, "SeedreamAmbiguousSubmissionError")
        assert (emulator.books.posts_received, records(folder)[0]["outcome"]) == (1, "unknown")


class TestAnEmptyWallet:
    def test_an_empty_wallet_ends_the_task_at_once_without_a_retry_policy(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        emulator.configure(balance_credits=5)
        outcome = Runner().run(build(submit={"retries": 3}).submit)
        assert end_of(outcome) == ("failed", 1, "SeedreamInsufficientCreditsError")
        assert (emulator.books.posts, records(folder)) == (0, [])

    @pytest.mark.skipif(
        not hasattr(airflow.sdk, "ExceptionRetryPolicy"), reason="retry policies came with Airflow 3.3"
    )
    def test_an_empty_wallet_is_timed_by_a_retry_policy_where_there_is_one(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        emulator.configure(balance_credits=5)
        rule = airflow.sdk.RetryRule(
            exception=SeedreamInsufficientCreditsError, retry_delay=timedelta(minutes=30)
        )
        policy = airflow.sdk.ExceptionRetryPolicy(rules=[rule])
        task = build(
            submit={"retries": 3, "retry_policy": policy, "wait": True, "deferrable": deferrable}
        ).submit
        runner = Runner()
        first = runner.run(task, until="up_for_retry")
        assert end_of(first) == ("up_for_retry", 1, "SeedreamInsufficientCreditsError")
        assert first.steps[-1].report["retry_delay_seconds"] == 1800
        assert records(folder) == []

        emulator.configure(balance_credits=100)
        outcome = runner.run(task)
        assert (outcome.state, outcome.tries, emulator.books.posts, emulator.balance_credits) == (
            "success",
            2,
            1,
            90,
        )


class TestA429OnAPostIsWaitedOut:
    @pytest.mark.parametrize("form", ["seconds", "date", "none"])
    def test_a_429_on_a_post_is_waited_out_for_at_least_what_was_asked_then_one_post_is_accepted(
        self, emulator: Emulator, build: Build, connect: Any, folder: Path, form: Any
    ) -> None:
        # without a Retry-After one request's share of the minute: one second
        connect(emulator, requests_per_minute=60)
        emulator.inject("rate-limited", seconds=1, retry_after_form=form, times=1)
        outcome = Runner().run(build(submit={"deferrable": False, "retries": 3}).submit)
        assert (outcome.state, outcome.tries, outcome.deferrals) == ("success", 1, [])
        assert 1.0 <= seconds_between_posts(emulator) < 30.0
        assert (emulator.books.posts_received, emulator.books.posts, len(records(folder))) == (2, 1, 1)
        assert records(folder)[0]["wallet_balance"], (
            "the balance of the refused POST is in no record: it is read again"
        )

    def test_a_429_on_a_post_is_waited_out_in_the_triggerer_where_tasks_may_defer(
        self, emulator: Emulator, build: Build, connect: Any, folder: Path
    ) -> None:
        connect(emulator, requests_per_minute=600)
        # a task waits 5 s in place: well above it on a busy machine too
        emulator.inject("rate-limited", seconds=12, times=1)
        task = build(submit={"deferrable": True, "retries": 3, "wait": True}).submit
        outcome = Runner().run(task)
        assert (outcome.state, outcome.tries, len(outcome.deferrals)) == ("success", 1, 2)
        assert outcome.deferrals[0].classpath.endswith("SeedreamTurnTrigger")
        assert 12.0 <= seconds_between_posts(emulator) < 42.0
        assert (emulator.books.posts_received, emulator.books.posts, len(records(folder))) == (2, 1, 1)

    @pytest.mark.parametrize(("form", "asked"), [("seconds", 120), ("date", 120), ("none", 120)])
    def test_the_triggerer_hears_what_was_asked(
        self, emulator: Emulator, build: Build, connect: Any, folder: Path, form: Any, asked: float
    ) -> None:
        connect(emulator, requests_per_minute=0.5)  # two minutes a request
        emulator.inject("rate-limited", seconds=120, retry_after_form=form)
        runner = Runner()
        task = build(submit={"deferrable": True, "timeout": 300}).submit
        assert runner.run(task, until="deferred").state == "deferred"
        kwargs = runner.deferral(task).kwargs
        # without a header, from the text
        assert kwargs["retry_after_seconds"] == pytest.approx(asked, abs=20)
        assert kwargs["requests_per_minute"] == 0.5
        assert (emulator.books.posts_received, records(folder)) == (1, [])  # the claim is free while it waits

    def test_a_429_longer_than_the_timeout_is_left_to_a_retry(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        emulator.inject("rate-limited", seconds=100, times=1)
        task = build(submit={"deferrable": deferrable, "retries": 3, "timeout": 5}).submit
        runner = Runner()
        first = runner.run(task, until="up_for_retry")
        assert end_of(first) == ("up_for_retry", 1, "SeedreamRateLimitError")
        assert first.error.retry_after_seconds == 100  # type: ignore[union-attr]
        assert (runner.run(task).state, emulator.books.posts) == ("success", 1)

    @pytest.mark.parametrize(
        "status_counts", [True, False], ids=["status calls count", "status calls are free"]
    )
    def test_a_429_on_a_post_is_waited_out_by_the_limit_itself_too(
        self, emulator: Emulator, build: Build, connect: Any, deferrable: bool, status_counts: bool
    ) -> None:
        emulator.configure(rate_limit_per_minute=1, status_counts=status_counts)
        connect(emulator, requests_per_minute=60)
        runner = Runner()
        assert runner.run(build(prompt="the first").submit).state == "success"
        emulator.clock.advance(59)  # the window of the first is over in a second
        second = Runner(run_id="manual__second").run(
            build(prompt="the second", submit={"deferrable": deferrable}).submit
        )
        assert (second.state, second.tries, emulator.books.posts) == ("success", 1, 2)
        assert all(
            request.status in (200, 429) for request in emulator.books.requests if request.method == "POST"
        )


class TestStatusCalls:
    @pytest.mark.parametrize("status", ENDS_A_WAIT)
    def test_a_refusal_fails_in_the_first_try(
        self, emulator: Emulator, build: Build, deferrable: bool, status: int
    ) -> None:
        chain = build(land={"deferrable": deferrable, "retries": 3})
        runner = Runner()
        runner.run(chain.submit)
        emulator.inject("refuse", endpoint="status", status=status)
        outcome = runner.run(chain.land)
        assert end_of(outcome) == ("failed", 1, ENDS_A_WAIT[status])
        assert "Paid: yes." in str(outcome.error)
        assert emulator.books.status_calls == 1

    @pytest.mark.parametrize(
        ("status", "shape"), [*((404, shape) for shape in SHAPES), (503, SHAPES[0]), (503, "html")]
    )
    def test_the_shape_of_the_body_changes_nothing(
        self, emulator: Emulator, build: Build, status: int, shape: ErrorShape
    ) -> None:
        chain = build(land={"deferrable": True, "retries": 3})
        runner = Runner()
        runner.run(chain.submit)
        emulator.inject("refuse", endpoint="status", status=status, shape=shape, times=2)
        outcome = runner.run(chain.land)
        expected = ENDS_A_WAIT.get(status, "NoneType")
        assert end_of(outcome) == ("success" if expected == "NoneType" else "failed", 1, expected)

    @pytest.mark.parametrize("status", IS_WAITED_OUT)
    def test_trouble_that_passes_is_waited_out(
        self, emulator: Emulator, build: Build, deferrable: bool, status: int
    ) -> None:
        chain = build(land={"deferrable": deferrable, "retries": 3})
        runner = Runner()
        runner.run(chain.submit)
        emulator.inject("refuse", endpoint="status", status=status, times=4)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries, emulator.books.posts) == ("success", 1, 1)
        assert [request.status for request in emulator.books.requests if request.area == "status"][:4] == [
            status
        ] * 4

    @pytest.mark.parametrize("kind", ["html", "bad-json", "empty", "drop", "reset"])
    def test_an_answer_that_is_none_is_waited_out(
        self, emulator: Emulator, build: Build, deferrable: bool, kind: str
    ) -> None:
        chain = build(land={"deferrable": deferrable, "retries": 3})
        runner = Runner()
        runner.run(chain.submit)
        emulator.inject(kind, endpoint="status", times=4)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries, emulator.books.posts) == ("success", 1, 1)

    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_a_429_is_asked_again_no_sooner_than_it_says(
        self, emulator: Emulator, build: Build, deferrable: bool, form: Any
    ) -> None:
        chain = build(land={"deferrable": deferrable})
        runner = Runner()
        runner.run(chain.submit)
        emulator.inject("rate-limited", endpoint="status", seconds=1, retry_after_form=form, times=1)
        assert runner.run(chain.land).state == "success"
        calls = [request for request in emulator.books.requests if request.area == "status"]
        refused = next(number for number, call in enumerate(calls) if call.status == 429)
        assert calls[refused + 1].at - calls[refused].at >= 1.0
