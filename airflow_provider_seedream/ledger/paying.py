"""One claim, one POST, and its id into the record. The only module where the ledger and the POST meet.

The claim stands in the ledger before the POST, so a kill at any moment leaves a trace that keeps the next try
from paying again.
"""

import logging
import threading
from contextlib import suppress
from dataclasses import replace

from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamError,
    SeedreamLedgerError,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.resending import PostWithheld
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.admission import Admission
from airflow_provider_seedream.ledger.attaching import Attacher
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.claims import Claim, Claims
from airflow_provider_seedream.ledger.keeping import CLEAR_SECONDS, KEEP_SECONDS, Keeper
from airflow_provider_seedream.ledger.prices import Prices
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.ledger.request import Request, Submitted
from airflow_provider_seedream.model.clock import Clock, to_iso
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.observability import metrics

_log = logging.getLogger(__name__)


class Payer:
    """POSTs claimed requests. Its methods may run in several threads, each with a claim of its own.

    ::

        if claim := claims.make(request, before=None):
            payer.pay(request, claim)  # Submitted(generation=..., is_new=True)

    :param budget: learns the billed price, if it is larger than the quoted one.
    :param admission: learns it too, for the caps.
    :param prices: measures a POST that ran alone.
    :param claims: checks the claim just before the first byte, and deletes it if the POST was certainly not
        paid.
    :param keeper: writes the id into the record, also if the storage fails for minutes.
    :param attacher: for a POST without an answer whose record a person has settled in the meantime.
    """

    def __init__(
        self,
        hook: SeedreamHook,
        ledger: Ledger,
        budget: Budget,
        admission: Admission,
        *,
        prices: Prices,
        claims: Claims,
        keeper: Keeper,
        attacher: Attacher,
        clock: Clock,
    ) -> None:
        self._hook = hook
        self._ledger = ledger
        self._budget = budget
        self._admission = admission
        self._prices = prices
        self._claims = claims
        self._keeper = keeper
        self._attacher = attacher
        self._clock = clock
        # a count of the whole process would mix the rows that several threads submit
        self._here = threading.local()

    @property
    def posts(self) -> int:
        """The requests that this thread has given to the hook: a batch submits in several threads."""
        return getattr(self._here, "posts", 0)

    @property
    def sent_epoch(self) -> float | None:
        """When this thread last sent the first byte of a request, in epoch seconds; None if it has sent
        none.
        """
        return getattr(self._here, "sent_epoch", None)

    def pay(self, request: Request, claim: Claim) -> Submitted:
        """Send the request, once. The end of the POST decides what is paid:

        - an answer with an id: paid, and the id goes into the record;
        - withheld, refused, or never sent: not paid, so the claim is deleted and the next try may send it;
        - anything else: unknown. The record says so, and no try sends it again by itself.

        :raises PostWithheld: before the first byte, as the claim may be out of date.
        :raises SeedreamAmbiguousSubmissionError: the outcome is unknown.
        :raises SeedreamError: as :meth:`SeedreamHook.submit`: not paid.
        """
        record = claim.record
        is_leaving = False  # True once a byte of the body may have left

        def check() -> None:
            nonlocal is_leaving
            self._claims.check(claim)
            is_leaving, self._here.sent_epoch = True, self._clock.now_epoch()

        self._here.posts = self.posts + 1
        try:
            span = metrics.span("seedream.submit", kind=request.submission.kind, credits=record.credits)
            with span, self._prices.posting(record.claim):
                accepted = self._hook.submit(request.submission, before_first_byte=check)
        except PostWithheld:
            self._here.posts -= 1
            self._claims.free(record)
            raise
        except SeedreamAmbiguousSubmissionError as error:
            metrics.lost_sight(record.credits, record.made_by)
            return self._lost(request, record, error)
        except SeedreamError:
            self._claims.free(record)
            raise
        except BaseException:  # execution_timeout, or a person: while it connects, nothing is sent yet
            if not is_leaving:
                self._claims.free(record)
            raise
        submitted = replace(
            record,
            outcome="submitted",
            seedream_task_id=accepted.seedream_task_id,
            created_at=accepted.created_at or self._now(),
            updated_at=self._now(),
        )
        _log.info(
            "%sSubmitted seedream task %s for %s.",
            request.label,
            submitted.seedream_task_id,
            counted(submitted.credits, "credit"),
        )
        metrics.submitted(record.credits, record.made_by, record.labels)
        return Submitted(generation=self._kept(record, submitted), is_new=True)

    def _kept(self, claimed: Record, submitted: Record) -> Generation:
        """Write the id into the record and return the generation. If the record belongs to another POST by
        now, log an error.

        Two POSTs were paid then. That takes two things: this process was stopped for minutes during its POST,
        and meanwhile a person or ``on_unknown_submit="resubmit"`` opened its request for another one. The id
        of this POST is in ``_seedream/late``.
        """
        if self._keeper.keep(claimed, submitted, patience_seconds=KEEP_SECONDS):
            return self._ledger.generation(self._measured(submitted))
        generation = self._ledger.generation(submitted)
        uri = self._ledger.folder.uri(submitted.late_file)
        _log.error(
            "This try was stopped during its POST for so long that its record now belongs to another POST, "
            "and stays as it is. This POST was paid too: seedream task id %s, written to %s.",
            submitted.seedream_task_id,
            uri,
        )
        return replace(generation, name=generation.seedream_task_id, record=uri)

    def _measured(self, submitted: Record) -> Record:
        """The record with the billed credits, if the wallet could tell them for this POST.

        The id is already in the record, so a failing storage loses only this number.
        """
        billed = self._prices.billed(submitted)
        if billed is None:
            return submitted
        metrics.measured(quoted=submitted.credits, billed=billed, by=submitted.made_by)
        measured = replace(submitted, billed_credits=billed)
        self._budget.learn(measured.spending)
        try:
            self._admission.billed(measured)  # before the record: a kill in between counts the larger price
            self._ledger.advance(submitted, measured, attempts=1)
            if measured.cost_credits > submitted.cost_credits:
                # The larger note first: a kill in between counts the attempt once, at its larger price.
                self._ledger.note_spending(measured.spending)
                self._ledger.withdraw_spending(submitted.spending)
        except SeedreamLedgerError as error:
            _log.warning("%s The record lacks the billed credits: %d.", error.message, billed)
            return submitted  # the record as a later try will read it
        return measured

    def _lost(self, request: Request, record: Record, error: SeedreamAmbiguousSubmissionError) -> Submitted:
        """A POST without an answer: write the outcome ``unknown``, unless a person has already settled the
        record.

        :raises SeedreamAmbiguousSubmissionError: it names the record, the credits at risk, and how to settle
            it.
        """
        # If this write fails as well, the record stays an intent: the next try takes it for unknown once its
        # POST must have ended.
        unknown = replace(record, outcome="unknown", detail=error.detail, updated_at=self._now())
        self._keeper.keep(record, unknown, patience_seconds=CLEAR_SECONDS)
        with suppress(SeedreamLedgerError):
            there = self._ledger.read(record.file)
            if there and there.claim == record.claim and there.seedream_task_id:
                _log.warning(
                    "%s A person has settled its record in the meantime: this try attaches to it.",
                    error.message,
                )
                return self._attacher.attach(request, there)
        raise self._attacher.unknown_error(error.message, record, error.cause) from None

    def _now(self) -> str:
        return to_iso(self._clock.now_epoch())
