"""G5: an outage while polling does not lose a paid job: it is waited out, and logged once with its length.
No 429 fails a task.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamPollingError
from airflow_provider_seedream.generations import GenerationStatus
from airflow_provider_seedream.polling.decision import decide
from airflow_provider_seedream.polling.policy import FailedPoll, PollOutcome, PollPolicy, PollState
from tests.airflow.deferral import first_event
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, Connect, images

OUTAGES: dict[str, dict[str, Any]] = {
    "500": {"kind": "refuse", "status": 500},
    "502 in HTML": {"kind": "refuse", "status": 502, "shape": "html"},
    "503 that says when": {"kind": "refuse", "status": 503, "retry_after_seconds": 1, "times": 1},
    "timeout": {"kind": "stall", "seconds": 30, "times": 1},
    "closed": {"kind": "drop"},
    "reset": {"kind": "reset"},
    "HTML": {"kind": "html"},
    "bad JSON": {"kind": "bad-json"},
    "nothing": {"kind": "empty"},
}


def inject(emulator: Emulator, *, times: int, kind: str, **details: Any) -> None:
    emulator.inject(kind, endpoint="status", times=times, **details)


class TestAnOutageWhilePolling:
    @pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
    def test_it_is_waited_out_in_the_first_try_and_logged_once_with_its_length(
        self, outage: dict[str, Any], emulator: Emulator, connect: Connect, build: Build, deferrable: bool
    ) -> None:
        runner, chain = (
            Runner(),
            build(prompt="a watch [takes:0.5]", land={"deferrable": deferrable, "retries": 0}),
        )
        runner.run(chain.submit)
        connect(emulator, request_timeout_seconds=2)
        inject(emulator, **{"times": 3, **outage})
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries) == ("success", 1)
        assert (emulator.books.posts_received, emulator.books.downloads) == (1, 1)
        assert outcome.log_text.count("The API is unavailable") == 1
        assert outcome.log_text.count("The API answers again after") == 1

    def test_troubles_of_every_kind_in_a_row_are_one_outage(
        self, emulator: Emulator, connect: Connect, build: Build, deferrable: bool
    ) -> None:
        runner, chain = (
            Runner(),
            build(prompt="a watch [takes:0.5]", land={"deferrable": deferrable, "retries": 0}),
        )
        runner.run(chain.submit)
        connect(emulator, request_timeout_seconds=2)
        for outage in OUTAGES.values():
            inject(emulator, **{"times": 2, **outage})
        outcome = runner.run(chain.land)
        assert outcome.state == "success"
        assert (
            outcome.log_text.count("The API is unavailable")
            == outcome.log_text.count("The API answers again")
            == 1
        )

    def test_one_that_begins_when_the_images_are_ready_costs_a_retry_at_most(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        """The worker's own status call, for links, is repeated within seconds; beyond that it is the
        retry's.
        """
        runner, chain = Runner(), build(land={"deferrable": True, "retries": 1})
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        runner.run(chain.land, until="deferred")
        event = runner.deferral(chain.land)
        emulator.clock.advance(60)
        assert asyncio.run(first_event(event.trigger())).payload["outcome"] == "done"
        inject(emulator, times=2, kind="refuse", status=500)
        outcome = runner.run(chain.land)
        assert (outcome.state, images(folder)) == ("success", [f"{task_id}_1.png"])

    def test_a_key_that_is_refused_while_polling_fails_at_once_and_says_that_it_is_paid(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(land={"deferrable": deferrable, "retries": 3})
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        inject(emulator, times=1, kind="refuse", status=401)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries, type(outcome.error).__name__) == (
            "failed",
            1,
            "SeedreamAuthenticationError",
        )
        assert task_id in str(outcome.error)
        assert "Paid: yes." in str(outcome.error)


class TestARateLimitThatStatusCallsCountAgainst:
    """Three requests a minute, and whether status calls count is contested: a minute here takes a second."""

    @pytest.mark.parametrize("status_counts", [True, False], ids=["counted", "free"])
    def test_a_429_on_a_status_call_never_fails_a_task(
        self, status_counts: bool, hasty: Emulator, build: Build, deferrable: bool
    ) -> None:
        hasty.configure(rate_limit_per_minute=3, status_counts=status_counts, retry_after="none")
        runner, chain = (
            Runner(),
            build(prompt="a watch [takes:30]", land={"deferrable": deferrable, "retries": 0}),
        )
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries) == ("success", 1)
        assert "The API is unavailable" not in outcome.log_text
        assert any(request.status == 429 for request in hasty.books.requests) == status_counts

    @pytest.mark.parametrize(
        ("form", "message", "asks"),
        [
            ("seconds", "Too many requests.", True),
            ("none", None, True),
            ("none", "Too many requests.", False),
        ],
        ids=["by its header", "by its sentence", "not at all"],
    )
    def test_a_429_is_waited_out_as_long_as_it_asks(
        self, form: Any, message: str | None, asks: bool, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, chain = (
            Runner(),
            build(prompt="a watch [takes:0.5]", land={"deferrable": deferrable, "retries": 0}),
        )
        runner.run(chain.submit)
        emulator.inject(
            "rate-limited", endpoint="status", seconds=1, times=1, retry_after_form=form, message=message
        )
        assert runner.run(chain.land).state == "success"
        first, second, *_ = (request.at for request in emulator.books.requests if request.area == "status")
        assert (second - first >= 1) == asks

    def test_a_429_between_the_last_poll_and_the_links_is_waited_out(
        self, hasty: Emulator, build: Build, deferrable: bool
    ) -> None:
        """One call a minute: the poll that says FINISHED takes it, and the worker's call for links must
        wait for the next.
        """
        hasty.configure(rate_limit_per_minute=1, status_counts=True, retry_after="none")
        runner, chain = (
            Runner(),
            build(prompt="a watch [takes:1]", land={"deferrable": deferrable, "retries": 0}),
        )
        runner.run(chain.submit)
        assert runner.run(chain.land).state == "success"


class TestTimeScale:
    """The decision core alone, over the hours that no test should wait."""

    RULES = PollPolicy(deadline_epoch=100_000, poke_interval_seconds=10, num_images=1)
    RUNNING = GenerationStatus(status="IN_PROGRESS", progress=0, failure_reason=None, results=())

    def outage(self, trouble: Any, seconds: int) -> tuple[list[PollOutcome], PollState]:
        state, verdicts = PollState(), []
        for now in range(0, seconds + 1, 10):
            answer = FailedPoll(trouble=trouble, detail="503")
            outcome, state = decide(answer, state, self.RULES, now_epoch=1000 + now, jitter=0.5)
            verdicts.append(outcome)
        return verdicts, state

    def test_five_minutes_without_an_answer_are_two_lines_of_log(self) -> None:
        verdicts, state = self.outage("transient", 300)
        assert {outcome.verdict for outcome in verdicts} == {"wait"}
        over, state = decide(self.RUNNING, state, self.RULES, now_epoch=1310, jitter=0.5)
        notes = [outcome.note for outcome in [*verdicts, over] if outcome.note]
        assert notes == [
            "The API is unavailable (503); waiting for it.",
            "The API answers again after 310 s.",
        ]

    def test_half_an_hour_without_an_answer_is_an_error_that_a_retry_gets_over_for_free(self) -> None:
        verdicts, _ = self.outage("transient", 1800)
        assert [outcome.verdict for outcome in verdicts[-2:]] == ["wait", "lost"]
        assert "a retry goes on waiting for free" in SeedreamPollingError.on_retry.lower()

    def test_hours_of_429s_are_no_outage(self) -> None:
        verdicts, _ = self.outage("throttled", 4 * 3600)
        assert {outcome.verdict for outcome in verdicts} == {"wait"}
        assert not any(outcome.note for outcome in verdicts)
