"""Two looks at the wallet prove that a POST was not charged, or that it was, or nothing: never a guess."""

from __future__ import annotations

import random
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from airflow_provider_seedream.accounts.by_wallet import Sight, judge
from airflow_provider_seedream.accounts.entries import Entry, entry_of
from airflow_provider_seedream.model import clock
from tests.unit.values import NOW, TASK_ID, record, submission

DAY = 86_400
_keys = count(1)


def entry(
    at: float, outcome: str = "landed", *, balance: int | None = None, images: int = 1, **fields: Any
) -> Entry:
    """A request that was sent `at` seconds after the beginning. Its POST may take 40 s."""
    sent = NOW + at
    known: dict[str, Any] = (
        {"seedream_task_id": TASK_ID, "created_at": clock.to_iso(sent + 2)} if outcome != "unknown" else {}
    )
    return entry_of(
        record(
            key=f"{next(_keys):064x}",
            outcome=outcome,
            credits=10 * images,
            submission=submission(num_images=images).describe(),
            intent_at=clock.to_iso(sent),
            settles_at=clock.to_iso(sent + 40),
            wallet_balance=None if balance is None else f"{balance}.00",
            **{**known, **fields},
        ),
        f"file:///f/_seedream/ledger/{at}-{next(_keys)}.json",
        "file:///f",
        now_epoch=NOW + DAY / 2,
    )


def unknown(at: float = 0, balance: int | None = 1000, **fields: Any) -> Entry:
    return entry(at, "unknown", balance=balance, **fields)


def now(balance: int) -> Sight:
    return Sight(NOW + DAY / 2, Decimal(balance), None)


def refunded(at: float, until: float, **fields: Any) -> Entry:
    return entry(at, "failed", refunded=True, updated_at=clock.to_iso(NOW + until), **fields)


MEASURED = {"billed_credits": 10}
OTHER = unknown(at=600, balance=None)


@pytest.mark.parametrize(
    ("others", "balance", "verdict"),
    [
        ([], 1000, "not_charged"),
        ([], 990, "charged"),
        ([], 980, "unclear"),  # somebody else
        ([], 1500, "unclear"),  # a top-up
        ([], 1490, "unclear"),
        ([entry(600, **MEASURED)], 990, "not_charged"),
        ([entry(600, **MEASURED)], 980, "charged"),
        ([entry(600, **MEASURED)], 1000, "unclear"),  # it was charged for certain, so others have paid in
        ([entry(600)], 990, "unclear"),  # its price was never measured: two of 5 make 10, too
        ([entry(600), entry(-DAY, **MEASURED)], 990, "not_charged"),  # the price was measured elsewhere
        ([entry(600), entry(-DAY, billed_credits=30)], 990, "unclear"),
        ([refunded(600, 700, **MEASURED)], 1000, "not_charged"),
        ([refunded(600, 700, **MEASURED)], 990, "charged"),
        ([refunded(-600, 600, **MEASURED)], 1000, "unclear"),  # a refund of before may hide the charge
        ([entry(-600, "expired", **MEASURED)], 1000, "unclear"),  # and so may one that no record tells
        ([entry(-2 * DAY, "expired", **MEASURED)], 1000, "not_charged"),
        ([entry(600, "expired", **MEASURED)], 990, "unclear"),
        # the clocks do not tell on which side of the first look it lies
        ([entry(20, **MEASURED)], 990, "unclear"),
        ([entry(20, **MEASURED)], 1000, "not_charged"),  # but nobody was charged at all
        ([OTHER], 1000, "not_charged"),
        ([OTHER], 980, "charged"),
        ([OTHER], 990, "unclear"),  # one of the two
        # it may have been charged before, and refunded meanwhile
        ([unknown(at=-600, balance=None)], 1000, "unclear"),
    ],
)
def test_the_wallet_now_proves_it_if_all_other_requests_are_known_exactly(
    others: list[Entry], balance: int, verdict: str
) -> None:
    proof = judge(unknown(), others, now(balance))
    assert proof.verdict == verdict, proof.why


class TestNearerLooks:
    def test_a_look_of_a_later_request_counts_before_what_others_spent_after_it(self) -> None:
        later = entry(300, balance=1000, **MEASURED)
        assert judge(unknown(), [later], now(500)).verdict == "not_charged"
        assert judge(unknown(), [entry(300, balance=990, **MEASURED)], now(500)).verdict == "charged"

    def test_a_look_whose_clock_leaves_a_doubt_does_not_count(self) -> None:
        """The POST may be charged until 40 s, and the other clock may be a minute ahead."""
        assert judge(unknown(), [entry(99, balance=1000)], None).verdict == "unclear"
        assert judge(unknown(), [entry(101, balance=1000)], None).verdict == "not_charged"

    def test_without_a_look_of_its_own_the_last_sure_one_before_it_counts(self) -> None:
        before = entry(-100, balance=1010, **MEASURED)
        assert judge(unknown(balance=None), [before], now(1000)).verdict == "not_charged"
        assert judge(unknown(balance=None), [before], now(990)).verdict == "charged"
        assert (
            judge(unknown(balance=None), [entry(-50, balance=1010, **MEASURED)], now(1000)).verdict
            == "unclear"
        )

    def test_several_lost_answers_in_one_minute_are_proved_by_a_wallet_that_stood_still_around_them(
        self,
    ) -> None:
        bad = [unknown(at=1000 + second, balance=None) for second in range(0, 50, 10)]
        around = [entry(0, balance=1010, **MEASURED), entry(2000, balance=1000, **MEASURED)]
        before = entry(600, balance=1000, **MEASURED)
        for one in bad:
            assert judge(one, [*bad, *around], None).verdict == "not_charged"
            assert judge(one, [*bad, around[0], before], now(980)).verdict == "unclear"


def test_no_night_proves_what_is_not_so() -> None:
    """Random nights: charges, refunds, lost answers, a price that is another one, and clocks that differ
    by up to 30 s.
    """
    proved = 0
    for seed in range(1500):
        entries, truth, balance = _night(random.Random(seed))
        for one in [one for one in entries if one.at_risk]:
            proof = judge(one, entries, now(balance))
            proved += proof.verdict != "unclear"
            assert proof.verdict == "unclear" or proof.verdict in truth[one.record], (seed, proof.why)
    assert proved > 300


def _night(chance: random.Random) -> tuple[list[Entry], dict[str, set[str]], int]:
    """Entries as their workers note them, the true verdicts of those with an unknown outcome, and the
    balance at the end.
    """
    price, at = chance.choice([10, 10, 10, 5, 30]), 0.0
    events: list[tuple[float, int]] = []
    requests: list[tuple[float, float, str, set[str]]] = []
    for _ in range(chance.randint(1, 6)):
        at += chance.choice([3.0, 20.0, 130.0, 400.0])
        ends, kind = (
            at + chance.uniform(10, 200),
            chance.choice(["landed", "landed", "failed", "unknown", "unknown"]),
        )
        true = {"charged"} if kind != "unknown" or chance.random() < 0.5 else {"not_charged"}
        if "charged" in true:
            events.append((at + chance.uniform(0.1, 1.5), -price))
        if kind == "failed" or ("charged" in true and kind == "unknown" and chance.random() < 0.2):
            events.append((ends, price))
            true |= {"not_charged"}  # it came back: both are true, of different moments
        requests.append((at, ends, kind, true))
    entries, truth = [], {}
    for sent, ends, kind, true in requests:
        skew, is_looked, is_measured = chance.uniform(-30, 30), chance.random() < 0.7, chance.random() < 0.4
        how: dict[str, Any] = {"billed_credits": price} if kind != "unknown" and is_measured else {}
        how["balance"] = 1000 + sum(moved for when, moved in events if when < sent) if is_looked else None
        failed = kind == "failed"
        made = refunded(sent + skew, ends + skew + 5, **how) if failed else entry(sent + skew, kind, **how)
        entries.append(made)
        truth[made.record] = true
    return entries, truth, 1000 + sum(moved for _, moved in events)
