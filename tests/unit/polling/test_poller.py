"""The poller of a wait and its two loops: they hear the same answers at the same times, so they end alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import pytest

from airflow_provider_seedream.generations import Wallet
from airflow_provider_seedream.polling.decision import Answer
from airflow_provider_seedream.polling.loops import wait, wait_async
from airflow_provider_seedream.polling.policy import FailedPoll, PollPolicy, PollState
from airflow_provider_seedream.polling.poller import Poller
from airflow_provider_seedream.polling.schedule import PollSchedule
from tests.unit.values import NOW, policy_of, status

LINK = "https://a/1"
RUNNING = status("IN_PROGRESS")
DONE = status("FINISHED", LINK)
SILENT = FailedPoll(trouble="transient", detail="503")
ENDS = {
    "done": [RUNNING, DONE],
    "failed": [RUNNING, status("FAILED")],
    "done after an outage": [SILENT, SILENT, DONE],
    "unsettled": [status("FINISHED", None)] * 3,
    "refused": [FailedPoll(trouble="refused", detail="401")],
    "missing": [FailedPoll(trouble="throttled", detail="429"), FailedPoll(trouble="missing", detail="404")],
    "late": [RUNNING] * 50,
}


def poller(**changes: object) -> Poller:
    return Poller(policy_of(**changes), schedule=PollSchedule(), jitter=lambda: 0.5)


def quick(now: float, *, patience_seconds: float) -> PollPolicy:
    """A wait that polls every few milliseconds."""
    deadline = now + patience_seconds
    return policy_of(
        poke_interval_seconds=0.005, deadline_epoch=deadline, settling_seconds=0.006, created_epoch=None
    )


class TestThePoller:
    def test_the_next_poll_is_due_an_interval_after_the_answer(self) -> None:
        waiting = poller(poke_interval_seconds=10.0)
        waiting.heard(RUNNING, now_epoch=NOW)
        assert (waiting.due_epoch, waiting.has_ended) == (NOW + 10, False)

    def test_a_wait_has_ended_after_every_verdict_but_wait(self) -> None:
        waiting = poller()
        assert not waiting.has_ended
        waiting.heard(DONE, now_epoch=NOW)
        assert waiting.has_ended

    def test_it_goes_on_with_the_state_of_an_earlier_process(self) -> None:
        waiting = Poller(policy_of(), PollState(finished_epoch=NOW - 120))
        assert waiting.heard(status("FINISHED", None), now_epoch=NOW).verdict == "unsettled"

    def test_a_note_is_told_once(self) -> None:
        notes: list[str] = []
        waiting = Poller(policy_of(), on_note=notes.append)
        for second, answer in enumerate((SILENT, SILENT, RUNNING)):
            waiting.heard(answer, now_epoch=NOW + second)
        assert notes == ["The API is unavailable (503); waiting for it.", "The API answers again after 2 s."]

    def test_the_duration_of_its_job_is_noted_in_the_schedule(self) -> None:
        schedule, policy = PollSchedule(), policy_of(created_epoch=NOW, image_size="auto_2K", kind="generate")
        before = schedule.plan(policy.job)
        Poller(policy, schedule=schedule).heard(DONE, now_epoch=NOW + 12)
        assert schedule.plan(policy.job) != before

    def test_the_wallet_is_waited_for_by_the_same_poller(self) -> None:
        waiting = Poller(
            PollPolicy(deadline_epoch=NOW + 3600, poke_interval_seconds=60.0, min_credits=Decimal(100))
        )
        assert waiting.heard(Wallet(balance="99", rate_limit=3), now_epoch=NOW).verdict == "wait"
        assert waiting.heard(Wallet(balance="100", rate_limit=3), now_epoch=NOW + 60).verdict == "done"


class TestTheLoops:
    @pytest.mark.parametrize("answers", ENDS.values(), ids=list(ENDS))
    def test_both_loops_end_a_wait_alike(self, answers: list[Answer], request: pytest.FixtureRequest) -> None:
        import time

        expected = request.node.callspec.id.partition(" ")[0]
        patience = 0.2 if expected == "late" else 60.0
        told: Iterator[Answer] = iter(answers)
        held = wait(Poller(quick(time.time(), patience_seconds=patience)), lambda: next(told), time.sleep)

        async def freed() -> str:
            again: Iterator[Answer] = iter(answers)

            async def poll() -> Answer:
                return next(again)

            return (await wait_async(Poller(quick(time.time(), patience_seconds=patience)), poll)).verdict

        assert held.verdict == asyncio.run(freed()) == expected

    def test_nothing_is_polled_before_it_is_due(self) -> None:
        pauses: list[float] = []
        waiting = poller(deadline_epoch=float("inf"))
        waiting.due_epoch = float("inf")

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            raise TimeoutError

        with pytest.raises(TimeoutError):
            wait(waiting, lambda: pytest.fail("polled before it was due"), pause)
        assert pauses == [float("inf")]
