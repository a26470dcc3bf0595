"""One poll of the wallet: enough, or the same wait as for a generation that is not ready."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.generations import Wallet
from airflow_provider_seedream.polling.decision import Step, decide
from airflow_provider_seedream.polling.policy import FailedPoll, PollState, Trouble
from airflow_provider_seedream.polling.wallet import check_min_credits
from tests.unit.values import NOW, policy_of

ENOUGH = Decimal(100)


def wallet(balance: str) -> Wallet:
    return Wallet(balance=balance, rate_limit=3)


def failed(trouble: Trouble, **more: Any) -> FailedPoll:
    return FailedPoll(trouble=trouble, detail="why", **more)


def judged(answer: Wallet | FailedPoll, *, state: PollState | None = None, late: bool = False) -> Step:
    limits = policy_of(
        min_credits=ENOUGH, poke_interval_seconds=60.0, deadline_epoch=NOW - 1 if late else NOW + 3600
    )
    return decide(answer, state or PollState(), limits, now_epoch=NOW, jitter=0.5)


class TestABalance:
    @pytest.mark.parametrize("balance", ["100", "100.00", " 100.000001 ", "1e3", "1000"])
    def test_a_balance_that_is_enough_is_said(self, balance: str) -> None:
        outcome, _ = judged(wallet(balance))
        assert outcome.verdict == "done"
        assert Decimal(outcome.detail) == Decimal(balance)

    def test_a_balance_that_is_enough_at_the_last_moment_is_enough(self) -> None:
        assert judged(wallet("100"), late=True)[0].verdict == "done"

    @pytest.mark.parametrize("balance", ["99.99", "0", "-5", "0.00"])
    def test_a_balance_that_is_too_little_is_waited_for_until_the_deadline(self, balance: str) -> None:
        outcome, _ = judged(wallet(balance))
        assert (outcome.verdict, outcome.wait_seconds) == ("wait", 60.0)
        assert judged(wallet(balance), late=True)[0].verdict == "late"

    @pytest.mark.parametrize("balance", ["", "NaN", "Infinity", "1,000.00", "plenty"])
    def test_a_balance_that_is_no_number_is_an_outage(self, balance: str) -> None:
        outcome, state = judged(wallet(balance))
        assert (outcome.verdict, state.outage_epoch) == ("wait", NOW)
        assert "not a number" in str(outcome.note)


class TestAPollThatFailed:
    @pytest.mark.parametrize(
        ("trouble", "verdict"), [("refused", "refused"), ("missing", "missing"), ("transient", "wait")]
    )
    def test_a_poll_that_failed_means_what_it_means_for_a_generation(
        self, trouble: Trouble, verdict: str
    ) -> None:
        assert judged(failed(trouble))[0].verdict == verdict

    def test_a_429_is_waited_out(self) -> None:
        outcome, state = judged(failed("throttled", retry_after_seconds=300.0))
        assert (outcome.verdict, outcome.wait_seconds, state.outage_epoch) == ("wait", 300.0, None)

    def test_an_outage_has_an_end(self) -> None:
        since = PollState(outage_epoch=NOW - 1800, silent_epoch=NOW - 1800)
        assert judged(failed("transient"), state=since)[0].verdict == "lost"
        outcome, state = judged(wallet("1"), state=since)
        assert (outcome.note, state.outage_epoch) == ("The API answers again after 1800 s.", None)


class TestTheParameter:
    @pytest.mark.parametrize(
        ("value", "number"), [(100, "100"), ("150.50", "150.50"), (0, "0"), (10.5, "10.5"), (" 7 ", "7")]
    )
    def test_a_number_is_taken(self, value: Any, number: str) -> None:
        assert check_min_credits(value) == Decimal(number)

    @pytest.mark.parametrize(
        "value", [-1, "-0.01", "many", "", None, True, "nan", "inf", float("inf"), [100]]
    )
    def test_anything_else_is_refused(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="min_credits must be a number"):
            check_min_credits(value)
