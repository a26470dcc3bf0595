"""Paying once, seen from the request: read its record, then attach, pay, or wait for another try.

A POST follows only if the record rules out an earlier payment, or ``on_unknown_submit="resubmit"`` accepts
that risk. The claim is in ``claims``, the POST in ``paying``.
"""

import logging

from airflow_provider_seedream.exceptions import (
    SeedreamBudgetError,
    SeedreamConnectionError,
    SeedreamLedgerError,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.resending import PostWithheld
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.admission import Admission
from airflow_provider_seedream.ledger.attaching import Attacher
from airflow_provider_seedream.ledger.attaching import OnUnknownSubmit as OnUnknownSubmit
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.claims import Claim, Claims
from airflow_provider_seedream.ledger.keeping import NO_MEMORY, Keeper, Memory
from airflow_provider_seedream.ledger.paying import Payer
from airflow_provider_seedream.ledger.prices import Prices
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.ledger.request import Request as Request
from airflow_provider_seedream.ledger.request import Submitted as Submitted
from airflow_provider_seedream.ledger.request import unread
from airflow_provider_seedream.ledger.settling import Settling
from airflow_provider_seedream.model.clock import CLOCK, Clock, to_iso
from airflow_provider_seedream.model.task_ref import NOBODY

# POSTs of one request that a try may hold back in a row: then the worker is too slow or is stopped too often
MAX_WITHHELD = 3
_log = logging.getLogger(__name__)


class Submitter:
    """Submits requests of one destination through one connection, each paid at most once.

    Two racing tries of one request both call this; one gets the claim and pays, the other waits and
    attaches::

        submitter = Submitter(
            SeedreamHook("seedream_default"), Ledger("s3://my_conn@bucket/campaign"), "fail"
        )
        generation = submitter.submit(request)  # again: the same generation, no new charge

    :param on_unknown: an earlier POST with an unknown outcome: ``fail`` (a person settles it) or ``resubmit``
        (may pay twice).
    :param budget: the credits that the requests may cost. Without one each spending is noted too, for tasks
        with a budget.
    :param admission: under the caps of the connection; by default without labels.
    :param memory: keeps the id of a POST outside the storage, in case the storage fails right after the POST.
    :param clock: the time; an argument so that tests can set it.

    The methods may run in several threads.
    """

    def __init__(
        self,
        hook: SeedreamHook,
        ledger: Ledger,
        on_unknown: OnUnknownSubmit,
        budget: Budget | None = None,
        *,
        admission: Admission | None = None,
        memory: Memory = NO_MEMORY,
        clock: Clock = CLOCK,
    ) -> None:
        self._ledger = self.ledger = ledger
        self._on_unknown = on_unknown
        self._memory = memory
        self._clock = clock
        self._settling = Settling(ledger, clock)
        self._keeper = Keeper(ledger, memory, clock)
        self.prices = Prices(hook, ledger, clock)
        counted = budget or Budget(ledger, NOBODY)
        self._attacher = Attacher(hook, ledger, counted, on_unknown)
        admission = admission or Admission(hook, ledger.folder.base, clock=clock)
        self._claims = Claims(
            hook, ledger, counted, admission, prices=self.prices, keeper=self._keeper, clock=clock
        )
        self._payer = Payer(
            hook,
            ledger,
            counted,
            admission,
            prices=self.prices,
            claims=self._claims,
            keeper=self._keeper,
            attacher=self._attacher,
            clock=clock,
        )

    @property
    def posts(self) -> int:
        """The requests that this thread has given to the hook: a batch submits in several threads."""
        return self._payer.posts

    @property
    def sent_epoch(self) -> float | None:
        """When the last of these was sent (epoch seconds), after turn and claim; None before the first."""
        return self._payer.sent_epoch

    def submit(self, request: Request) -> Generation:
        """As :meth:`submit_row`, but return only the generation."""
        return self.submit_row(request).generation

    def submit_row(self, request: Request) -> Submitted:
        """The generation of a request: an already paid one if the ledger knows it, else a new one.

        :raises SeedreamBudgetError: a new generation would exceed the budget; the request was not sent.
        :raises SeedreamAmbiguousSubmissionError: a POST may have been accepted and paid; it is not sent
            again.
        :raises SeedreamLedgerError: the record cannot be read or written; this try did not send the request.
        :raises SeedreamError: as :meth:`SeedreamHook.submit`: the request was not paid, and its claim is
            deleted.
        """
        is_unseen, withheld = self._is_unseen(request), 0
        request = request if is_unseen else self._as_recorded(request)
        while True:
            try:
                submitted = self._pay_unseen(request) if is_unseen else self._go_on(request)
                if submitted:
                    return submitted
                is_unseen = False
            except PostWithheld as error:
                is_unseen = False
                withheld += 1
                _log.warning(
                    "This try did not send the POST, so it has not paid: %s. Reading the record again.", error
                )
                if withheld == MAX_WITHHELD:
                    raise SeedreamConnectionError(
                        f"The POST was not sent: {error}, {withheld} times in a row."
                    ) from None

    def find(self, request: Request) -> Submitted | None:
        """The generation if it is already paid; None if it takes a POST, or if another try is sending it now.

        A new request has no record, so the ledger is not read; if it has one all the same, :meth:`submit_row`
        finds it. Sends nothing and writes nothing.

        :raises SeedreamLedgerError: the record cannot be read.
        """
        if self._is_unseen(request):
            return None
        request = self._as_recorded(request)
        latest = self._latest(request)
        if isinstance(latest, Submitted):
            return latest
        # A refunded attempt is not paid, and an unknown one may not be: both are left to `submit_row`.
        is_paid = latest and not latest.is_open_for_next and latest.outcome not in ("intent", "unknown")
        return self._attacher.attach(request, latest) if latest and is_paid else None

    def _is_unseen(self, request: Request) -> bool:
        """True if a request is claimed without reading its record first. That saves one GET for each new
        request.

        The claim guards against both faults that the read would find:

        - The request has a record all the same. Then the exclusive create fails, and the record is read after
          it.
        - The storage fails, and would lose the id of a paid POST. The PUT of the claim fails first, before
          anything is paid.

        The record is read on other stores, before the first claim of this process, and where 0.2.0 may have
        paid under another key: the claim of the new key would not meet that record.
        """
        return request.is_new and self._ledger.folder.replaces_unread and not request.as_of_0_2()

    def _pay_unseen(self, request: Request) -> Submitted | None:
        """Claim and pay. None: read the record, as it exists, or as the budget refuses a request that may
        be paid already.
        """
        try:
            return self._pay(request, None)
        except SeedreamBudgetError:
            return None

    def _as_recorded(self, request: Request) -> Request:
        """The request under the key of its existing record: 0.2.0 gave some requests another key.

        Most need no extra read: only a text that Unicode composes, and an installation that has a name, have
        an old key.
        """
        for old in request.as_of_0_2():
            latest = self._latest(old)
            # Another installation's record is not this request's own.
            if isinstance(latest, Submitted) or (
                latest is not None and latest.made_by.is_same_airflow(old.made_by)
            ):
                return old
        return request

    def _go_on(self, request: Request) -> Submitted | None:
        """One step: attach to a paid generation, pay, or wait for another try. None: the record has changed,
        read it again.

        The order is the safety: the record is read first, and a POST follows only if there is no record, or a
        refunded one, or an unknown one with ``on_unknown_submit="resubmit"``.
        """
        latest = self._latest(request)
        if isinstance(latest, Submitted):
            return latest
        if latest is None or latest.is_open_for_next:
            return self._pay(request, latest)
        if latest.outcome not in ("intent", "unknown"):  # paid, also if the generation failed or expired
            return self._attacher.attach(request, latest)
        # From here on the record alone does not tell whether the POST was paid.
        if known := self._remembered(request, latest):
            return known
        if latest.outcome == "intent" and self._settling.seconds_left(latest) > 0:
            self._settling.wait(latest)
            return None
        # The POST has ended without an answer in the record: only a person or ``on_unknown_submit`` may
        # decide to pay again.
        if self._on_unknown == "fail":
            sent = "An earlier try sent this request, and no answer is recorded."
            raise self._attacher.unknown_error(sent, latest, latest.detail)
        # An earlier attempt may have got its id meanwhile: then it is paid, and this try attaches to it.
        if paid := next((one for one in self._ledger.attempts(request.key) if one.is_paid), None):
            return self._attacher.attach(request, paid)
        return self._pay(request, latest)

    def _latest(self, request: Request) -> Record | Submitted | None:
        """The latest record. If the storage does not answer but Airflow remembers the id of the POST: that
        generation.
        """
        try:
            return self._ledger.latest(request.key)
        except SeedreamLedgerError as error:
            fact = self._memory.recall(request.key)
            if fact and fact.seedream_task_id:
                _log.warning(
                    "%s Its seedream task id is known all the same: %s.", error.message, fact.seedream_task_id
                )
                quoted = self.prices.quote(request.submission.num_images)
                return self._attacher.attach_to_fact(request, fact, quoted_credits=quoted)
            raise unread(error, request.made_by) from None

    def _remembered(self, request: Request, latest: Record) -> Submitted | None:
        """The result of a POST whose record lacks it, because the storage failed right after the POST.

        The memory (or a file beside the record) holds it. If it says "paid", the record gets the id and this
        try attaches. If it says "refused", the claim is deleted and the request may be sent.
        """
        fact = self._memory.recall(request.key) or self._keeper.late_news(latest)
        if fact is None or fact.claim != latest.claim:
            return None
        if fact.seedream_task_id is None:
            return self._after_refusal(request, latest)
        submitted = fact.written_into(latest, at=to_iso(self._clock.now_epoch()))
        self._keeper.keep(latest, submitted, patience_seconds=0)
        return self._attacher.attach(request, submitted)

    def _after_refusal(self, request: Request, refused: Record) -> Submitted | None:
        """Pay after an earlier try that was refused, and whose claim still stands. None: read the record
        again.

        With ``on_unknown_submit="resubmit"`` a racing try takes this claim for an unknown outcome and opens
        the next attempt behind it. If the claim were deleted then, the next attempt would not be found, and
        the first one would be paid again. So it stays.
        """
        _log.info("An earlier try was refused, which costs nothing, but could not delete its claim.")
        if self._on_unknown == "resubmit":
            self._ledger.release(refused)
            self._memory.forget(request.key)
            return self._pay(request, refused)
        self._ledger.free(refused)
        self._memory.forget(request.key)
        return None if self._ledger.read(refused.file) == refused else self._go_on(request)

    def _pay(self, request: Request, before: Record | None) -> Submitted | None:
        """Claim the attempt after ``before``, and POST. None: another try has the claim, so its record has
        to be read.
        """
        claim = self._claims.make(request, before)
        if claim is None or (before and not self._is_still(before, claim)):
            return None
        return self._payer.pay(request, claim)

    def _is_still(self, before: Record, claim: Claim) -> bool:
        """False, and the claim is deleted, if the attempt before it has changed since it was read: it may be
        paid by now.

        This process may have been stopped in between, for hours. A later change of that attempt is the news
        of its own POST, which was taken for ended or was settled by a person.

        :raises SeedreamLedgerError: the storage does not answer; the claim is deleted.
        """
        is_still = False
        try:
            attempts = self._ledger.attempts(claim.record.key)
            is_still = attempts[-2:] == [before, claim.record] and not any(one.is_paid for one in attempts)
        finally:
            if not is_still:
                self._claims.free(claim.record)
        return is_still
