"""The claim: the one record that a try creates, exclusively, before it may POST.

Of several racing tries exactly one gets it. A claim that may be out of date stops its own POST before the
first byte. Never sends anything to the API.
"""

import uuid
from dataclasses import dataclass

from airflow_provider_seedream.exceptions import SeedreamInputError, SeedreamLedgerError
from airflow_provider_seedream.hooks.resending import PostWithheld
from airflow_provider_seedream.hooks.seedream import FIRST_BYTE_SECONDS, SeedreamHook
from airflow_provider_seedream.ledger.admission import Admission, Booking
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.keeping import Keeper
from airflow_provider_seedream.ledger.prices import Prices
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.ledger.request import Request
from airflow_provider_seedream.ledger.spending import Spending
from airflow_provider_seedream.model.clock import Clock, to_iso

# an older balance is not written: `reconcile` and `--by-wallet` read it as the balance at `intent_at`
LOOK_SECONDS = 10.0
# an older claim is read again before the first byte; the claim's PUT and a connection take less
READ_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The record that this try has claimed, and the moment just before, by two clocks::

        Claim(record=intent, began_steady=81.2, began_epoch=1795816800.0)

    The steady clock may have stood still while the machine slept, and the wall clock may have been set: the
    larger age counts.

    :param booking: its admission under caps; None without caps.
    """

    record: Record
    began_steady: float
    began_epoch: float
    booking: Booking | None = None

    def age_seconds(self, clock: Clock) -> float:
        """Seconds since the moment before the claim was sent, by the clock that shows more."""
        return max(clock.steady_seconds() - self.began_steady, clock.now_epoch() - self.began_epoch)


class Claims:
    """Makes, checks and deletes the claims of one task. Its methods may run in several threads.

    ::

        claim = claims.make(request, before=None)  # None: another try was faster
        claims.check(claim)  # raises PostWithheld if it may be out of date
        claims.free(claim.record)  # the POST was certainly not paid

    :param budget: admits the price of each claim, or refuses it.
    :param admission: admits it under the caps of the connection, or refuses it.
    :param keeper: deletes claims also if the storage fails for some seconds.
    """

    def __init__(
        self,
        hook: SeedreamHook,
        ledger: Ledger,
        budget: Budget,
        admission: Admission,
        *,
        prices: Prices,
        keeper: Keeper,
        clock: Clock,
    ) -> None:
        self._hook = hook
        self._ledger = ledger
        self._budget = budget
        self._admission = admission
        self._prices = prices
        self._keeper = keeper
        self._clock = clock

    def make(self, request: Request, before: Record | None) -> Claim | None:
        """Claim the next attempt; None if another try was faster.

        The order matters: the budget's note first, then the name, then the record. A kill in between leaves a
        budget that counts too much, or a reserved name that the next try of this request finds again; it
        never leaves a payment without a record.

        :param before: the last attempt, which was refunded or given up; None for the first one.
        :raises SeedreamBudgetError: the price exceeds a budget or a cap.
        :raises SeedreamInputError: the name belongs to another request.
        :raises SeedreamLedgerError: the storage does not answer, or cannot create a file exclusively.
        """
        # first, as it raises if the connection is wrong
        longest_seconds = self._hook.submission_seconds(request.submission)
        self._ledger.check_store()
        spending = Spending(
            made_by=request.made_by,
            key=request.key,
            attempt=before.attempt + 1 if before else 1,
            credits=self._prices.quote(request.submission.num_images),
            claim=uuid.uuid4().hex,
        )
        spending = self._budget.admit(spending)
        with self._budget.holding(spending), self._admission.admitted(spending) as booking:
            if request.stem and not self._ledger.reserve_name(request.stem, request.key):
                raise SeedreamInputError(
                    f"name {request.stem!r} in {request.destination} belongs to another request. "
                    "Make it unique, e.g. with {{ dag_run.run_after | ts_nodash }} or {{ ti.map_index }}."
                )
            record = self._intent(request, spending, longest_seconds, booking)
            # Taken before the claim is sent: the store may have created it at any moment from now on.
            began_steady, began_epoch = self._clock.steady_seconds(), self._clock.now_epoch()
            claim = Claim(record=record, began_steady=began_steady, began_epoch=began_epoch, booking=booking)
            if self._is_created(record):
                return claim
        self._ledger.withdraw_spending(spending)
        self._admission.withdraw(booking)
        return None

    def check(self, claim: Claim) -> None:
        """Check, just before the first byte of the POST, that the claim still stands.

        A process that was stopped after its claim may wake up when another try has already settled the
        record. Its POST would then be paid a second time. So a claim that is older than
        ``READ_AGAIN_SECONDS`` by either clock is read again.

        A younger claim is not read again: the exclusive create has proved it less than a second ago, as a
        read would. No other try settles a claim of that age, as it waits at least ``FIRST_BYTE_SECONDS`` by
        the store's dates. One gap is left: a machine on which both clocks stand still in just this second. A
        read leaves such a gap as well, from the store's answer to the first byte.

        :raises PostWithheld: the record is no longer the claim as it was written, or the claim is so old that
            other tries may soon treat its POST as ended.
        """
        self._check_booking(claim)
        if claim.age_seconds(self._clock) <= READ_AGAIN_SECONDS:
            return
        try:
            attempts = self._ledger.attempts(claim.record.key)
        except SeedreamLedgerError as error:
            raise PostWithheld(f"its claim cannot be read ({error.message})") from None
        if attempts[-1:] != [claim.record] or any(one.is_paid for one in attempts):
            raise PostWithheld("its claim was settled, given back or followed by another meanwhile")
        waited = claim.age_seconds(self._clock)  # again, as the read may have taken long
        if waited > FIRST_BYTE_SECONDS:
            raise PostWithheld(
                f"{waited:.0f} s have passed since its claim, which holds for {FIRST_BYTE_SECONDS:.0f} s"
            )

    def _check_booking(self, claim: Claim) -> None:
        """As for a claim: an admission that is older than ``READ_AGAIN_SECONDS`` may have been settled as
        that of a dead process.

        Its record exists by now, and a process that settles reads it after it has put the entry in doubt. So
        either that process sees the record, or this one sees the doubt.

        :raises PostWithheld: the books do not count this request any more, or cannot be read.
        """
        booking = claim.booking
        if booking is None or booking.age_seconds(self._clock) <= READ_AGAIN_SECONDS:
            return
        try:
            is_held = self._admission.is_held(booking)
        except SeedreamLedgerError as error:
            raise PostWithheld(f"the books of its caps cannot be read ({error.message})") from None
        if not is_held:
            raise PostWithheld("its admission under the caps was settled meanwhile")

    def free(self, record: Record) -> None:
        """Delete the claim of a POST that was certainly not paid, and stop counting its price. If the storage
        fails, the price stays counted.
        """
        if self._keeper.free(record):
            self._budget.forget(record.spending)

    def _is_created(self, record: Record) -> bool:
        """Create the record. True: this try holds the claim; False: another try does."""
        try:
            return self._ledger.claim(record)
        except BaseException:
            # the claim may be written all the same, and the next try would take it for a sent POST
            self.free(record)
            raise

    def _intent(
        self, request: Request, spending: Spending, longest_seconds: float, booking: Booking | None
    ) -> Record:
        """The record of an attempt before its POST. The wallet is read before the claim, so that the claim
        is young at its POST.
        """
        began_steady, began_epoch = self._clock.steady_seconds(), self._clock.now_epoch()
        balance, now = self._prices.balance_before(spending.claim), self._clock.now_epoch()
        if max(self._clock.steady_seconds() - began_steady, now - began_epoch) > LOOK_SECONDS:
            balance = None  # the process was stopped meanwhile: this is not the balance at `intent_at`
        return Record(
            key=spending.key,
            attempt=spending.attempt,
            outcome="intent",
            claim=spending.claim,
            destination=request.destination,
            name=request.name,
            submission=request.submission.describe(),
            fingerprint=request.submission.fingerprint,
            credits=spending.credits,
            made_by=request.made_by,
            wallet_balance=balance,
            intent_at=to_iso(now),
            settles_at=to_iso(now + longest_seconds),
            embed_metadata=request.embed_metadata,
            max_image_bytes=request.max_image_bytes,
            labels=dict(request.labels) if request.labels else None,
            books=booking.books if booking else None,
            booked_at=booking.at if booking else None,
        )
