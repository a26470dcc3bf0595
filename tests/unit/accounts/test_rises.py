"""A rise of the balance is called a top-up only if no refund may be behind it that the period's sums do
not hold.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from airflow_provider_seedream.accounts.entries import Entry
from airflow_provider_seedream.accounts.statement import Statement
from airflow_provider_seedream.accounts.statement_making import make_statement
from airflow_provider_seedream.model import clock
from tests.unit.accounts.test_by_wallet import DAY, entry, refunded
from tests.unit.values import NOW

HOUR = 3600
TWO_IMAGES: dict[str, Any] = {"images": 2, "billed_credits": 20}


def statement(*others: Entry) -> Statement:
    """Two requests of 10 credits each, two hours apart: the looks before them show 990 and 1000 credits,
    so 20 have come.
    """
    return _statement(
        *others,
        entry(HOUR, balance=990, billed_credits=10),
        entry(3 * HOUR, balance=1000, billed_credits=10),
        end=990,
    )


def _statement(*entries: Entry, end: int) -> Statement:
    return make_statement(entries, end=Decimal(end), end_at=NOW + DAY / 2, since_epoch=NOW + HOUR / 2)


class TestARiseOfTheBalance:
    def test_is_a_top_up_if_no_record_speaks_of_a_refund(self) -> None:
        said = statement()
        assert [(int(one.credits), one.may_be) for one in said.top_ups] == [(20, None)]
        assert "topped up between" in said.text

    def test_may_be_the_refund_of_a_request_from_before_the_start(self) -> None:
        said = statement(refunded(0, 2 * HOUR, **TWO_IMAGES))
        assert (said.adds_up, said.earlier, said.refunded) == (True, 1, 0)
        assert "topped up or refunded between" in said.text
        at = clock.to_iso(NOW + 3 * HOUR)
        assert (
            f"The 20 credits that came by {at} may be no top-up: 1 request from before the start was "
            "refunded." in said.text
        )
        assert said.to_dict()["top_ups"][0]["may_be"] == "1 request from before the start was refunded"

    def test_may_be_a_failure_that_the_api_has_forgotten(self) -> None:
        """20 credits are charged after the first look, and come back after the second one. No record says
        so.
        """
        forgotten = entry(HOUR + 120, "expired", **TWO_IMAGES)
        looks = [
            entry(at * HOUR, balance=balance, billed_credits=10)
            for at, balance in ((1, 990), (2, 960), (3, 970))
        ]
        said = _statement(forgotten, *looks, end=960)
        assert (said.charged, said.refunded, said.unexplained) == (50, 0, 0)
        assert [(int(one.credits), one.may_be) for one in said.top_ups] == [
            (20, "1 request expired unseen and may have failed")
        ]

    def test_is_a_top_up_if_the_refund_had_come_before_the_start(self) -> None:
        assert [one.may_be for one in statement(refunded(0, HOUR / 2, **TWO_IMAGES)).top_ups] == [None]

    def test_is_a_top_up_if_the_refunds_make_another_number(self) -> None:
        assert [one.may_be for one in statement(refunded(0, 2 * HOUR, billed_credits=10)).top_ups] == [None]
