"""A page of the books: admits up to each cap, counts an attempt once, and gives back what was not paid.
Values only.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_seedream.ledger.cap_rules import Refusal, admit
from airflow_provider_seedream.ledger.pages import MAX_LABELS, MAX_SPENDERS, Entry, Page, Sums, month_of
from airflow_provider_seedream.model.caps import Cap

NOON = 1_795_953_600  # 2026-11-29 12:00 UTC
DAY = "2026-11-29"
EMPTY = Page(month="2026-11", way="lock")
PER_DAY, PER_MONTH = Cap(period="day", credits=50), Cap(period="month", credits=70)
SHOP = Cap(period="day", credits=20, label="team=shop")


def entry(
    number: int = 1, *, claim: str = "a", credits: int = 10, at: int = NOON, attempt: int = 1, **more: Any
) -> Entry:
    made = {"destination": "file:///out", "by": f"dag/{number % 3}", "labels": (), **more}
    return Entry(key=f"{number:064x}", attempt=attempt, claims=(claim,), credits=credits, at=at, **made)


def admitted(page: Page, asked: Entry, *caps: Cap, warn_at: float = 1.0) -> Page:
    page, answer = admit(page, asked, caps or (PER_DAY,), warn_at=warn_at)
    assert not isinstance(answer, Refusal)
    return page


def refused(page: Page, asked: Entry, *caps: Cap) -> Refusal:
    after, answer = admit(page, asked, caps or (PER_DAY,), warn_at=1.0)
    assert isinstance(answer, Refusal)
    assert after is page
    return answer


def test_the_month_is_that_of_utc() -> None:
    assert (month_of(NOON), month_of(NOON + 2 * 86_400)) == ("2026-11", "2026-12")


class TestAdmission:
    def test_a_cap_is_spent_to_the_last_credit_and_no_further(self) -> None:
        page = EMPTY
        for number in range(5):
            page = admitted(page, entry(number))
        refusal = refused(page, entry(5))
        assert (refusal.cap, refusal.spent_credits, refusal.price, refusal.is_for_ever) == (
            PER_DAY,
            50,
            10,
            False,
        )
        assert refusal.spenders == (("dag/0", 20), ("dag/1", 20), ("dag/2", 10))

    def test_a_cap_of_a_label_counts_what_has_the_label(self) -> None:
        page = EMPTY
        for number in range(2):
            page = admitted(page, entry(number, labels=("team=shop",)), PER_DAY, SHOP)
        assert refused(page, entry(2, labels=("team=shop",)), PER_DAY, SHOP).cap == SHOP
        assert admitted(page, entry(2, labels=("team=lab",)), PER_DAY, SHOP).spent(PER_DAY, DAY) == 30

    def test_the_next_day_has_room_again_and_the_month_has_not(self) -> None:
        page = admitted(EMPTY, entry(1, credits=50), PER_DAY, PER_MONTH)
        assert refused(page, entry(2), PER_DAY, PER_MONTH).cap == PER_DAY
        # 00:00 of the next day
        page = admitted(page, entry(2, credits=20, at=NOON + 43_200), PER_DAY, PER_MONTH)
        assert refused(page, entry(3, at=NOON + 43_200), PER_DAY, PER_MONTH).cap == PER_MONTH

    def test_of_two_full_caps_the_one_is_named_that_has_room_last(self) -> None:
        page = admitted(EMPTY, entry(1, credits=70), replace(PER_DAY, credits=70), PER_MONTH)
        assert refused(page, entry(2), PER_DAY, PER_MONTH).cap == PER_MONTH

    def test_a_price_beyond_the_cap_has_no_room_for_ever(self) -> None:
        assert refused(EMPTY, entry(credits=60)).is_for_ever

    def test_two_tries_of_one_attempt_count_once_at_the_larger_price(self) -> None:
        page = admitted(EMPTY, entry(1, claim="dead", credits=50))
        page = admitted(page, entry(1, claim="alive", credits=10))
        assert page.spent(PER_DAY, DAY) == 50
        assert page.withdrawn(entry(1).id, "dead").spent(PER_DAY, DAY) == 50  # the other one still counts
        assert page.withdrawn(entry(1).id, "dead").withdrawn(entry(1).id, "alive").spent(PER_DAY, DAY) == 0


class TestTheEndOfAnAttempt:
    def test_an_attempt_that_ended_counts_once_however_often_it_is_told(self) -> None:
        page = admitted(EMPTY, entry(1, labels=("team=shop",)), PER_DAY, SHOP)
        ended = page.ended_with(entry(1).id, 10)
        assert ended.ended_with(entry(1).id, 10) is ended
        assert ended.withdrawn(entry(1).id, "a") is ended
        assert ended.without(entry(1).id) is ended
        assert (
            ended.spent(PER_DAY, DAY),
            ended.spent(PER_MONTH, DAY),
            ended.spent(SHOP, DAY),
            ended.open,
        ) == (10, 10, 10, {})

    def test_a_larger_bill_counts(self) -> None:
        page = admitted(EMPTY, entry(1))
        assert page.billed(entry(1).id, 30).spent(PER_DAY, DAY) == 30
        assert page.billed(entry(1).id, 5) is page
        assert page.ended_with(entry(1).id, 30).spent(PER_DAY, DAY) == 30

    def test_it_counts_in_the_day_of_its_admission(self) -> None:
        page = admitted(EMPTY, entry(1)).ended_with(entry(1).id, 10)
        page = admitted(page, entry(2, at=NOON + 86_400))
        assert (page.spent(PER_DAY, DAY), page.spent(PER_DAY, "2026-11-30"), page.spent(PER_MONTH, DAY)) == (
            10,
            10,
            20,
        )


class TestDoubt:
    def test_a_claim_in_doubt_counts_and_may_not_post(self) -> None:
        page = admitted(EMPTY, entry(1))
        doubted = page.doubting({entry(1).id: ["a"]})
        assert (page.holds(entry(1).id, "a"), doubted.holds(entry(1).id, "a")) == (True, False)
        assert doubted.spent(PER_DAY, DAY) == 10
        assert doubted.doubting({entry(1).id: ["a"]}, is_in_doubt=False).holds(entry(1).id, "a")

    def test_another_try_of_the_attempt_is_not_in_doubt(self) -> None:
        page = admitted(EMPTY, entry(1, claim="dead")).doubting({entry(1).id: ["dead"]})
        page = admitted(page, entry(1, claim="alive"))
        assert (page.holds(entry(1).id, "dead"), page.holds(entry(1).id, "alive")) == (False, True)


class TestWarnings:
    def test_each_cap_warns_once_a_day(self) -> None:
        told, page = [], EMPTY
        for number in range(7):
            at = NOON if number < 5 else NOON + 86_400
            page, answer = admit(page, entry(number, at=at), (PER_DAY, PER_MONTH), warn_at=0.6)
            assert not isinstance(answer, Refusal)
            told += [(number, one.cap.period, one.spent_credits) for one in answer]
        assert told == [(2, "day", 30), (4, "month", 50), (5, "month", 60)]


class TestTheFile:
    def test_a_page_survives_json_and_no_two_files_are_equal(self) -> None:
        page = admitted(EMPTY, entry(1, labels=("team=shop", "a=b")), PER_DAY, SHOP, warn_at=0.1)
        page = admitted(page, entry(2, claim="x")).doubting({entry(2).id: ["x"]}).ended_with(entry(1).id, 10)
        page = admitted(page, entry(3, labels=("team=shop",)), SHOP)
        assert Page.from_json(page.to_json()) == page
        assert page.to_json() != page.to_json()

    @pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b'{"schema_version": 2}', b"\xff"])
    def test_other_bytes_are_no_page(self, data: bytes) -> None:
        with pytest.raises(ValueError, match=r"."):
            Page.from_json(data)

    def test_it_stays_small(self) -> None:
        """A month of a thousand requests a day, of different tasks with labels of their own."""
        page, cap = EMPTY, Cap(period="month", credits=10**9)
        for day in range(30):
            for number in range(40):
                one = entry(
                    day * 40 + number,
                    at=NOON - 28 * 86_400 + day * 86_400,
                    by=f"d/{number}",
                    labels=(f"run={day}.{number}",),
                )
                page = admitted(page, one, cap).ended_with(one.id, 10)
        assert page.spent(cap, DAY) == 12_000
        assert len(page.ended.spenders) <= MAX_SPENDERS + 1  # and the others
        assert len(page.ended.labels) == MAX_LABELS
        assert sum(page.ended.spenders.values()) == 12_000
        assert len(page.to_json()) < 10_000
        assert len(admitted(page, entry(1), cap).to_json()) - len(page.to_json()) < 250


class Told:
    """What the acts on a page must come to: of each attempt its open claims and its price, or what it has
    cost.
    """

    CAP = Cap(period="month", credits=200)

    def __init__(self) -> None:
        self.page = EMPTY
        self.open: dict[str, tuple[frozenset[str], int]] = {}
        self.ended: dict[str, int] = {}

    def admit(self, asked: Entry) -> None:
        if asked.id in self.ended:  # its record exists: no try is admitted for it any more
            return
        claims, price = self.open.get(asked.id, (frozenset(), 0))
        others = self.cost - price
        price = max(price, asked.credits)
        before = self.page
        self.page, answer = admit(before, asked, (self.CAP,), warn_at=1.0)
        assert isinstance(answer, Refusal) == (others + price > self.CAP.credits)
        if isinstance(answer, Refusal):
            assert self.page is before
        else:
            self.open[asked.id] = (claims | set(asked.claims), price)

    def withdraw(self, asked: Entry) -> None:
        self.page = self.page.withdrawn(asked.id, asked.claims[0])
        claims, price = self.open.pop(asked.id, (frozenset(), 0))
        if rest := claims - set(asked.claims):
            self.open[asked.id] = (rest, price)

    def refund(self, asked: Entry) -> None:
        self.page = self.page.without(asked.id)
        self.open.pop(asked.id, None)

    def end(self, asked: Entry) -> None:
        self.page = self.page.ended_with(asked.id, asked.credits)
        if known := self.open.pop(asked.id, None):
            self.ended[asked.id] = max(known[1], asked.credits)

    def bill(self, asked: Entry) -> None:
        self.page = self.page.billed(asked.id, asked.credits)
        if known := self.open.get(asked.id):
            self.open[asked.id] = (known[0], max(known[1], asked.credits))

    @property
    def cost(self) -> int:
        return sum(price for _, price in self.open.values()) + sum(self.ended.values())


@pytest.mark.parametrize("seed", range(20))
def test_after_any_acts_the_page_counts_what_the_attempts_cost(seed: int) -> None:
    """Tries of some attempts are admitted, withdrawn, billed, refunded and ended in any order, and many
    acts are repeated.
    """
    chance, told = random.Random(seed), Told()
    for _ in range(300):
        asked = entry(chance.randrange(30), claim=chance.choice("abc"), credits=chance.choice((10, 20)))
        chance.choice((told.admit, told.admit, told.withdraw, told.refund, told.end, told.bill))(asked)
        told.page = Page.from_json(told.page.to_json())
        assert told.page.spent(told.CAP, DAY) == told.cost
        assert told.page.ended.credits == told.page.days.get(DAY, Sums()).credits == sum(told.ended.values())
