"""What a request is reckoned to cost, and when a difference in the wallet is taken for its price."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from airflow_provider_seedream.ledger.prices import MAX_OTHERS, Prices, Traffic
from airflow_provider_seedream.ledger.records import Ledger, Outcome, Record
from airflow_provider_seedream.ledger.spending import Spending
from airflow_provider_seedream.model.clock import Clock, to_iso
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.unit.values import TASK_ID

NOW = 1_772_020_800.0
ME = TaskRef(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)


@dataclass
class Wallet:
    """Stands where the hook does: says what it holds, or nothing."""

    seedream_conn_id: str = "seedream_default"
    credits_per_image: int = 10
    balances: list[str | None] = field(default_factory=list)
    looks: int = 0

    @property
    def settings(self) -> Wallet:
        return self

    def peek_balance(self) -> str | None:
        self.looks += 1
        return self.balances.pop(0) if self.balances else None


@dataclass
class Stage:
    wallet: Wallet
    ledger: Ledger
    traffic: Traffic = field(default_factory=Traffic)
    now: float = NOW

    def prices(self) -> Prices:
        clock = Clock(now_epoch=lambda: self.now)
        return Prices(self.wallet, self.ledger, clock, self.traffic)  # type: ignore[arg-type]

    def spend(
        self,
        key: str,
        *,
        at: float = NOW,
        outcome: Outcome = "submitted",
        claimed: bool = True,
        refunded: bool = False,
        **made_by: Any,
    ) -> None:
        """Something that another task of the same DAG run has sent, or is about to."""
        other = record(
            key=key * 64,
            claim=f"of-{key}",
            made_by=replace(ME, **{"task_id": "other", **made_by}),
            intent_at=to_iso(at),
            outcome=outcome,
            refunded=refunded,
        )
        self.ledger.note_spending(other.spending)
        if claimed:
            assert self.ledger.claim(other)


def record(num_images: int = 2, **fields: Any) -> Record:
    values: dict[str, Any] = {
        "key": "a" * 64,
        "attempt": 1,
        "outcome": "submitted",
        "claim": "c",
        "destination": "file:///x",
        "name": None,
        "submission": {"kind": "generate", "num_images": num_images, "image_size": "square", "take": 1},
        "fingerprint": "f",
        "credits": 10 * num_images,
        "made_by": ME,
        "intent_at": to_iso(NOW),
        "settles_at": to_iso(NOW + 80),
        "seedream_task_id": TASK_ID,
    }
    return Record(**{**values, **fields})


@pytest.fixture
def stage(tmp_path: Any) -> Callable[..., Stage]:
    return lambda *balances, **how: Stage(
        Wallet(balances=list(balances), **how), Ledger(f"file://{tmp_path}")
    )


Staged = Callable[..., Stage]


def measure(
    stage: Stage,
    prices: Prices | None = None,
    between: Callable[[], None] = lambda: None,
    is_listed: bool = True,
    **how: Any,
) -> int | None:
    prices, mine = prices or stage.prices(), record(**how)
    if is_listed:
        stage.ledger.note_spending(mine.spending)
    prices.balance_before("c")
    with prices.posting("c"):
        between()
    return prices.billed(mine)


class TestTheQuote:
    def test_the_quote_is_the_connections_price(self, stage: Staged) -> None:
        assert [stage().prices().quote(number) for number in (1, 6)] == [10, 60]
        assert stage(credits_per_image=7).prices().quote(3) == 21

    def test_the_quote_is_the_measured_price_where_that_is_more(self, stage: Staged) -> None:
        here = stage("100", "40")
        prices = here.prices()
        assert (measure(here, prices), prices.quote(2), prices.quote(1)) == (60, 60, 30)

    def test_the_quote_never_falls_below_the_connections(self, stage: Staged) -> None:
        here = stage("100", "90")
        prices = here.prices()
        assert (measure(here, prices), prices.quote(2)) == (10, 20)

    def test_a_later_and_smaller_measurement_corrects_it(self, stage: Staged) -> None:
        """Something else may have spent from the wallet at that moment."""
        here = stage("100", "40", "40", "20")
        prices = here.prices()
        measure(here, prices)
        here.now += 61
        assert (measure(here, prices), prices.quote(2)) == (20, 20)

    def test_the_quote_rises_with_the_price(self, stage: Staged) -> None:
        here = stage("100", "80", "80", "20")
        prices = here.prices()
        measure(here, prices)
        here.now += 601
        assert (measure(here, prices), prices.quote(2)) == (60, 60)


class TestWhatTheWalletLost:
    @pytest.mark.parametrize(
        ("before", "after", "billed"), [("150.00", "130.00", 20), ("150", "90.00", 60), ("20.5", "0.25", 21)]
    )
    def test_what_the_wallet_lost_is_what_was_billed(
        self, stage: Staged, before: str, after: str, billed: int
    ) -> None:
        assert measure(stage(before, after)) == billed

    @pytest.mark.parametrize(("outcome", "refunded"), [("submitted", False), ("failed", True)])
    def test_less_than_was_quoted_says_nothing_while_another_request_may_be_refunded(
        self, stage: Staged, outcome: Outcome, refunded: bool
    ) -> None:
        here = stage("100", "90")
        here.spend("b", at=NOW - 300, outcome=outcome, refunded=refunded)
        assert measure(here) is None

    def test_what_the_wallet_lost_says_nothing_where_the_storage_does_not_list_what_was_noted(
        self, stage: Staged
    ) -> None:
        assert measure(stage("100", "40"), is_listed=False) is None

    @pytest.mark.parametrize(
        ("before", "after"),
        [(None, "10"), ("10", None), ("10", "10"), ("10", "30"), ("many", "10"), ("10", "NaN")],
    )
    def test_what_the_wallet_lost_says_nothing_where_it_cannot(
        self, stage: Staged, before: str | None, after: str | None
    ) -> None:
        here = stage(before, after)
        prices = here.prices()
        assert (measure(here, prices), prices.quote(1)) == (None, 10)

    def test_what_the_wallet_lost_is_asked_once_a_minute(self, stage: Staged) -> None:
        here = stage("100", "40", "80", "20")
        prices = here.prices()
        assert [measure(here, prices) for _ in range(3)] == [60, None, None]
        assert here.wallet.looks == 2
        here.now += 60
        assert measure(here, prices) == 60

    def test_what_the_wallet_lost_is_asked_every_ten_minutes_once_the_expected_price_was_seen(
        self, stage: Staged
    ) -> None:
        """Between, a look a minute goes into the record of a POST, as before: it helps to judge an unknown
        outcome.
        """
        here = stage("100", "80", *["80"] * 9, "80", "60")
        prices = here.prices()
        billed = []
        for _ in range(11):
            billed.append(measure(here, prices))
            here.now += 60
        assert billed == [20, *[None] * 9, 20]
        assert here.wallet.looks == 2 + 9 + 2

    def test_what_the_wallet_lost_is_no_price_when_the_post_took_minutes(self, stage: Staged) -> None:
        here = stage("100", "40")
        assert measure(here, between=lambda: setattr(here, "now", NOW + 61)) is None

    def test_what_the_wallet_lost_is_not_looked_at_again_after_a_post_that_failed(
        self, stage: Staged
    ) -> None:
        here = stage("100", "40")
        prices = here.prices()
        prices.balance_before("c")
        with pytest.raises(OSError), prices.posting("c"):
            raise OSError
        assert (prices.billed(record()), here.wallet.looks) == (None, 1)


class TestOtherPosts:
    def test_other_posts_of_this_process_before_meanwhile_or_after_leave_no_price(
        self, stage: Staged
    ) -> None:
        here = stage("100", "40", "100", "40", "100", "40")
        with here.traffic.post():
            assert measure(here) is None

        def another() -> None:
            with here.traffic.post():
                pass

        assert measure(here, between=another) is None
        prices = here.prices()
        prices.balance_before("c")
        with prices.posting("c"):
            pass
        with here.traffic.post():
            assert prices.billed(record()) is None

    @pytest.mark.parametrize(
        "other",
        [
            {},
            {"at": NOW - 10},
            {"at": NOW - 100, "outcome": "intent"},
            {"claimed": False},
            {"task_id": "t", "map_index": 1},
        ],
        ids=["now", "just before", "in its post", "about to be claimed", "a sibling"],
    )
    def test_other_posts_of_the_dag_run_leave_a_difference_unexplained(
        self, stage: Staged, other: dict[str, Any]
    ) -> None:
        here = stage("100", "40", "100", "80")
        if other.get("outcome") == "intent":
            other = {**other, "at": NOW}
        here.spend("b", **other)
        made_by = replace(ME, map_index=0) if other.get("task_id") == "t" else ME
        assert measure(here, made_by=made_by) is None
        assert measure(here, made_by=made_by) == 20  # what was expected needs no explanation

    def test_other_posts_of_long_ago_explain_nothing(self, stage: Staged) -> None:
        here = stage("100", "40")
        here.spend("b", at=NOW - 100)
        assert measure(here) == 60

    def test_other_posts_of_a_batchs_own_rows_are_over(self, stage: Staged) -> None:
        """They are sent one after the other, and all of them are this process's."""
        here = stage("100", "40")
        here.spend("b", task_id="t")
        prices = here.prices()
        with prices.posting("of-b"):
            pass
        assert measure(here, prices) == 60

    def test_other_posts_of_another_live_try_of_the_same_task_leave_a_difference_unexplained(
        self, stage: Staged
    ) -> None:
        """Two batches of one task took each other's rows for a price of 20, and spent half of their
        budget.
        """
        here = stage("100", "40", "100", "80")
        here.spend("b", task_id="t")
        assert measure(here) is None

    def test_other_posts_are_not_all_read(self, stage: Staged) -> None:
        here = stage("100", "40")
        for number in range(MAX_OTHERS + 1):
            here.ledger.note_spending(
                Spending(
                    made_by=replace(ME, task_id="other"),
                    key=f"{number:064x}",
                    attempt=1,
                    credits=10,
                    claim="x",
                )
            )
        assert measure(here) is None


class TestTheWarning:
    def test_the_warning_is_one_and_has_both_numbers(
        self, stage: Staged, caplog: pytest.LogCaptureFixture
    ) -> None:
        here = stage("1000", "940", "940", "880")
        prices = here.prices()
        with caplog.at_level(logging.WARNING):
            measure(here, prices)
            here.now += 61
            measure(here, prices)
        [told] = [one.getMessage() for one in caplog.records]
        assert f"seedream task {TASK_ID} should cost 20 credits (2 images at 10" in told
        assert "the wallet lost 60" in told
        assert "credits_per_image in connection seedream_default" in told

    def test_the_warning_does_not_come_for_the_expected_price(
        self, stage: Staged, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            assert measure(stage("1000", "940", credits_per_image=30)) == 60
        assert not caplog.records
