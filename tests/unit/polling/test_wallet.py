"""One look at the wallet: enough, or the same wait as for a generation that is not ready."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.generations import Wallet
from airflow_provider_seedream.polling.decision import FailedLook, Trouble, Verdict, Watch
from airflow_provider_seedream.polling.wallet import check_min_credits, decide_balance
from tests.unit.values import NOW, rules

ENOUGH = Decimal(100)


def wallet(balance: str) -> Wallet:
    return Wallet(balance=balance, rate_limit=3)


def failed(trouble: Trouble, **more: Any) -> FailedLook:
    return FailedLook(trouble=trouble, detail="why", **more)


def judged(look: Wallet | FailedLook, *, watch: Watch | None = None, late: bool = False) -> tuple[Verdict, Watch]:
    limits = rules(num_images=None, poke_interval_seconds=60.0, deadline_epoch=NOW - 1 if late else NOW + 3600)
    return decide_balance(look, ENOUGH, watch or Watch(), limits, now_epoch=NOW, jitter=0.5)


class TestABalance:
    @pytest.mark.parametrize("balance", ["100", "100.00", " 100.000001 ", "1e3", "1000"])
    def test_a_balance_that_is_enough_is_said(self, balance: str) -> None:
        verdict, _ = judged(wallet(balance))
        assert verdict.outcome == "done"
        assert Decimal(verdict.detail) == Decimal(balance)

    def test_a_balance_that_is_enough_at_the_last_moment_is_enough(self) -> None:
        assert judged(wallet("100"), late=True)[0].outcome == "done"

    @pytest.mark.parametrize("balance", ["99.99", "0", "-5", "0.00"])
    def test_a_balance_that_is_too_little_is_waited_for_until_the_deadline(self, balance: str) -> None:
        verdict, _ = judged(wallet(balance))
        assert (verdict.outcome, verdict.wait_seconds) == ("wait", 60.0)
        assert judged(wallet(balance), late=True)[0].outcome == "late"

    @pytest.mark.parametrize("balance", ["", "NaN", "Infinity", "1,000.00", "plenty"])
    def test_a_balance_that_is_no_number_is_an_outage(self, balance: str) -> None:
        verdict, watch = judged(wallet(balance))
        assert (verdict.outcome, watch.outage_epoch) == ("wait", NOW)
        assert "not a number" in str(verdict.note)


class TestALookThatFailed:
    @pytest.mark.parametrize(("trouble", "outcome"), [("refused", "refused"), ("missing", "missing"), ("transient", "wait")])
    def test_a_look_that_failed_means_what_it_means_for_a_generation(self, trouble: Trouble, outcome: str) -> None:
        assert judged(failed(trouble))[0].outcome == outcome

    def test_a_429_is_waited_out(self) -> None:
        verdict, watch = judged(failed("throttled", retry_after_seconds=300.0))
        assert (verdict.outcome, verdict.wait_seconds, watch.outage_epoch) == ("wait", 300.0, None)

    def test_an_outage_has_an_end(self) -> None:
        since = Watch(outage_epoch=NOW - 1800, silent_epoch=NOW - 1800)
        assert judged(failed("transient"), watch=since)[0].outcome == "lost"
        verdict, watch = judged(wallet("1"), watch=since)
        assert (verdict.note, watch.outage_epoch) == ("The API answers again after 1800 s.", None)


class TestTheParameter:
    @pytest.mark.parametrize(("value", "number"), [(100, "100"), ("150.50", "150.50"), (0, "0"), (10.5, "10.5"), (" 7 ", "7")])
    def test_a_number_is_taken(self, value: Any, number: str) -> None:
        assert check_min_credits(value) == Decimal(number)

    @pytest.mark.parametrize("value", [-1, "-0.01", "many", "", None, True, "nan", "inf", float("inf"), [100]])
    def test_anything_else_is_refused(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="min_credits must be a number"):
            check_min_credits(value)
