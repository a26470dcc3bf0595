"""The morning's money: prices in the records, and the statement of ``airflow seedream reconcile``, against
the books of the API.
"""

from __future__ import annotations

from decimal import Decimal

from airflow_provider_seedream.accounts.statement import Statement
from airflow_provider_seedream.accounts.statement_making import SAME_SECONDS, make_statement
from airflow_provider_seedream.accounts.wallet_flow import MARGIN_SECONDS
from airflow_provider_seedream.ledger.prices import MAX_SECONDS
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model import threads
from airflow_provider_seedream.model.clock import Clock, running, to_epoch
from airflow_provider_seedream.reconciliation import read_all
from tests.simulation.api import SimHook
from tests.simulation.checks import Charge, Checks
from tests.simulation.night import InlinePool, Violation

SAME_CLOCK_SECONDS = 10.0  # `ledger/prices.py` leaves 15 s between the clocks of workers


class Accounts:
    """What the provider says of credits in the morning. Only clocks that agree tell which POST a balance was
    read before.

    :param skew_seconds: the most by which a worker's clock is wrong.
    """

    def __init__(self, checks: Checks, destination: str, *, skew_seconds: float) -> None:
        self._checks = checks
        self._destination = destination
        self._skew_seconds = skew_seconds
        self.text = ""  # the statement in words

    def check(self) -> None:
        checks = self._checks
        known = {record.seedream_task_id: record for record in checks._records() if record.seedream_task_id}
        if self._skew_seconds > SAME_CLOCK_SECONDS or checks.night.weather.lag_seconds:
            # where clocks differ, or listings hide the POSTs of others, a price may be measured wrongly
            return
        for charge in checks.charges:
            self._check_billed(charge, known.get(charge.id))
        if self._skew_seconds <= SAME_SECONDS:
            for record in checks._records():
                self._check_look(record)
        if (
            self._skew_seconds <= SAME_SECONDS
            and checks.charges
            and all(charge.id in known for charge in checks.charges)
        ):
            self._check_statement({charge.id: charge for charge in checks.charges})

    def _check_billed(self, charge: Charge, record: Record | None) -> None:
        """A measured price is the true one: a wrong one would fill budgets and caps."""
        # The quoted price is believed without asking what others have paid, so what they paid may make it up.
        if (
            record
            and record.billed_credits not in (None, record.credits, charge.generation.credits)
            and not self._has_refund_beside(charge)
        ):
            told = f"{record.billed_credits} credits, and it was charged {charge.generation.credits}"
            raise Violation(f"price: the record of {charge.id[:8]} says that the wallet lost {told}")

    def _check_look(self, record: Record) -> None:
        """The balance in a record is that of its ``intent_at``: `--by-wallet` proves by it that a POST was
        not charged.
        """
        at = to_epoch(record.intent_at) or 0.0
        looks = [when for when, balance in self._checks.api.looks if balance == record.wallet_balance]
        if record.wallet_balance and not any(abs(when - at) <= MARGIN_SECONDS for when in looks):
            raise Violation(
                f"look: the record {record.key[:8]} says that the wallet held {record.wallet_balance} at "
                f"{record.intent_at}"
            )

    def _has_refund_beside(self, charge: Charge) -> bool:
        """Another generation failed while this one was measured. Its note may be gone already, so nothing
        tells of its refund.
        """
        at = charge.generation.created_at
        others = [one.generation for one in self._checks.charges if one is not charge]
        return any(
            one.course.outcome == "failed" and abs(one.finishes_at - at) < MAX_SECONDS for one in others
        )

    def _check_statement(self, charges: dict[str, Charge]) -> None:
        """Every credit that the wallet has lost since the first look stands in the statement, or in its
        unexplained number.
        """
        statement = self._statement()
        self.text = statement.text
        same = [
            entry
            for entry in statement.entries
            if entry.first_epoch <= (statement.start_at or 0.0) + SAME_SECONDS
        ]
        if statement.start is None or statement.earlier or any(entry.balance is None for entry in same):
            return  # without a look before the first request there is a candidate, and no proof
        now = self._checks.night.now
        # The API forgets a failure with the results, after 24 h: whoever looks later takes its refund for a
        # top-up.
        expired = [
            charges[entry.seedream_task_id]
            for entry in statement.entries
            if entry.ending == "expired" and entry.seedream_task_id
        ]
        if any(charge.generation.failed(now) for charge in expired):
            return
        paid = [
            charges[entry.seedream_task_id].generation
            for entry in statement.entries
            if entry.seedream_task_id
        ]
        real = sum(generation.credits for generation in paid if not generation.failed(now))
        difference = real - (statement.charged - statement.refunded)
        # Where the price is another, a look in between may show more or less than the statement counts, as if
        # credits had come.
        outside = sum((change.credits for change in statement.top_ups), Decimal(0))
        if (
            statement.start - real != statement.end
            or statement.unexplained is None
            or statement.unexplained - outside != difference
        ):
            raise Violation(
                f"statement: of {statement.start} credits {statement.end} are left; it says "
                f"{statement.charged} charged, {statement.refunded} refunded, {outside} topped up, "
                f"{statement.unexplained} unexplained; the API has kept {real}"
            )
        connection, api = self._checks.api.connection, self._checks.api.world.settings
        if (difference or outside) and connection.credits_per_image == api.credits_per_image:
            raise Violation(f"statement: {difference} credits are unexplained although every price is known")

    def _statement(self) -> Statement:
        night, ledger = self._checks.night, Ledger(self._destination)
        clock = Clock(
            now_epoch=lambda: night.now, steady_seconds=lambda: night.now, sleep=lambda seconds: None
        )
        with running(clock), threads.running(InlinePool):
            reading = read_all(SimHook("sim"), [ledger])
        return make_statement(
            reading.entries, end=reading.balance, end_at=reading.at_epoch, unreadable=reading.unreadable
        )
