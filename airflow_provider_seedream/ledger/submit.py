"""Paying once: read the record, write the intent, POST once, write the id; then everything else.

The only module where the ledger and the POST meet. The record is written before the POST, so a kill at any moment leaves a trace
that keeps the next try from paying again.
"""

import logging
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamBudgetError,
    SeedreamConnectionError,
    SeedreamError,
    SeedreamInputError,
    SeedreamLedgerError,
    final,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.resending import PostWithheld
from airflow_provider_seedream.hooks.seedream import FIRST_BYTE_SECONDS, SeedreamHook
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.keeping import CLEAR_SECONDS, KEEP_SECONDS, NO_MEMORY, Fact, Keeper, Memory
from airflow_provider_seedream.ledger.prices import Prices
from airflow_provider_seedream.ledger.records import Ledger, Record, record_file
from airflow_provider_seedream.ledger.request import Request as Request
from airflow_provider_seedream.ledger.request import Submitted as Submitted
from airflow_provider_seedream.ledger.request import unread
from airflow_provider_seedream.ledger.settling import Settling
from airflow_provider_seedream.ledger.spending import Spending
from airflow_provider_seedream.model.balances import what_follows
from airflow_provider_seedream.model.clock import CLOCK, Clock, to_iso
from airflow_provider_seedream.model.error_lines import short_record
from airflow_provider_seedream.model.task_ref import NOBODY
from airflow_provider_seedream.observability import metrics

OnUnknownSubmit = Literal["fail", "resubmit"]
LOOK_SECONDS = 1.0  # an older claim is read again before the first byte; the claim's PUT and a connection take less
MAX_WITHHELD = 3  # POSTs of one request that a try may hold back in a row: then the worker is too slow or is stopped too often
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """The record that this try has claimed, and the moment of the claim by two clocks.

    The steady clock may have stood still while the machine slept, and the wall clock may have been set: the larger age counts.
    """

    record: Record
    began_steady: float
    began_epoch: float


class Submitter:
    """Submits requests of one destination through one connection, each paid at most once.

    Two racing tries of one request both call this; one gets the claim and pays, the other waits and attaches::

        submitter = Submitter(SeedreamHook("seedream_default"), Ledger("s3://my_conn@bucket/campaign"), "fail")
        generation = submitter.submit(request)  # again: the same generation, no new charge

    :param on_unknown: an earlier POST with an unknown outcome: ``fail`` (a person settles it) or ``resubmit`` (may pay twice).
    :param budget: the credits that the requests may cost. Without one each spending is noted too, for tasks with a budget.
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
        memory: Memory = NO_MEMORY,
        clock: Clock = CLOCK,
    ) -> None:
        self._hook = hook
        self._ledger = self.ledger = ledger
        self._on_unknown = on_unknown
        self._budget = budget or Budget(ledger, NOBODY)
        self._memory = memory
        self._clock = clock
        self._settling = Settling(ledger, clock)
        self._keeper = Keeper(ledger, memory, clock)
        self.prices = Prices(hook, ledger, clock)
        self._here = threading.local()

    @property
    def posts(self) -> int:
        """The requests that this thread has given to the hook: a batch submits in several threads."""
        return getattr(self._here, "posts", 0)

    def submit(self, request: Request) -> Generation:
        """As :meth:`submit_row`, but return only the generation."""
        return self.submit_row(request).generation

    def submit_row(self, request: Request) -> Submitted:
        """The generation of a request: an already paid one if the ledger knows it, else a new one.

        :raises SeedreamBudgetError: a new generation would exceed the budget; the request was not sent.
        :raises SeedreamAmbiguousSubmissionError: a POST may have been accepted and paid; it is not sent again.
        :raises SeedreamLedgerError: the record cannot be read or written; this try did not send the request.
        :raises SeedreamError: as :meth:`SeedreamHook.submit`: the request was not paid, and its claim is deleted.
        """
        is_unseen, withheld = self._is_unseen(request), 0
        request = request if is_unseen else self._as_recorded(request)
        while True:
            try:
                if done := self._pay_unseen(request) if is_unseen else self._go_on(request):
                    return done
                is_unseen = False
            except PostWithheld as error:
                is_unseen = False
                withheld += 1
                _log.warning("The POST was not sent, so it is not paid: %s. Reading its record again.", error)
                if withheld == MAX_WITHHELD:
                    raise SeedreamConnectionError(f"The POST was not sent: {error}, {withheld} times in a row.") from None

    def find(self, request: Request) -> Submitted | None:
        """The generation if it is already paid; None if it takes a POST, or if another try is sending it now.

        A new request is not looked up: it has no record, and if it has, :meth:`submit_row` finds it.

        :raises SeedreamLedgerError: the record cannot be read.
        """
        if self._is_unseen(request):
            return None
        request = self._as_recorded(request)
        latest = self._latest(request)
        if isinstance(latest, Submitted):
            return latest
        is_paid = latest and not latest.is_open_for_next and latest.outcome not in ("intent", "unknown")
        return self._attach(request, latest) if latest and is_paid else None

    def _is_unseen(self, request: Request) -> bool:
        """True if a request is claimed without reading its record first.

        The read guarded against two faults. A request that has a record would be paid again: now the exclusive create of the claim
        fails if there is a record, of whatever outcome, so the record is read after it. And a storage that has just failed would
        lose the id of a paid POST: now the claim's own PUT shows that the storage works, where the id is written by one PUT, too.
        On other stores, and before the first claim of this process, the record is read. So is one that 0.2.0 may have paid for
        under another key, as the claim would not meet it.
        """
        return request.is_new and self._ledger.folder.replaces_unread and not request.as_of_0_2()

    def _pay_unseen(self, request: Request) -> Submitted | None:
        """Claim and pay. None: read the record, as there is one all the same, or as the budget refuses what may be paid already."""
        try:
            return self._pay(request, None)
        except SeedreamBudgetError:
            return None

    def _as_recorded(self, request: Request) -> Request:
        """The request under the key of its existing record: 0.2.0 gave some requests another key. Most need no extra read."""
        return next((old for old in request.as_of_0_2() if self._is_recorded(old)), request)

    def _is_recorded(self, old: Request) -> bool:
        latest = self._latest(old)
        return isinstance(latest, Submitted) or (latest is not None and latest.made_by.is_same_airflow(old.made_by))

    def _go_on(self, request: Request) -> Submitted | None:
        """One step: attach to a paid generation, pay, or wait for another try. None: the record has changed, read it again.

        The order is the safety: the record is read first, and a POST follows only if there is no record, or a refunded one, or
        an unknown one with ``on_unknown_submit="resubmit"``.
        """
        latest = self._latest(request)
        if isinstance(latest, Submitted):
            return latest
        if latest is None or latest.is_open_for_next:
            return self._pay(request, latest)
        if latest.outcome not in ("intent", "unknown"):
            return self._attach(request, latest)
        if known := self._remembered(request, latest):
            return known
        if latest.outcome == "intent" and self._settling.seconds_left(latest) > 0:
            self._settling.wait(latest)
            return None
        if self._on_unknown == "fail":
            raise self._unknown_error("An earlier try sent this request, and no answer is recorded.", latest, latest.detail)
        return self._pay(request, latest)

    def _latest(self, request: Request) -> Record | Submitted | None:
        """The latest record. If the storage does not answer but Airflow remembers the id of the POST: that generation."""
        try:
            return self._ledger.latest(request.key)
        except SeedreamLedgerError as error:
            fact = self._memory.recall(request.key)
            if fact and fact.seedream_task_id:
                _log.warning("%s Its seedream task id is known all the same: %s.", error.message, fact.seedream_task_id)
                return Submitted(generation=self._generation(request, fact), is_new=False)
            raise unread(error, request.made_by) from None

    def _remembered(self, request: Request, latest: Record) -> Submitted | None:
        """The result of a POST whose record lacks it, because the storage failed right after the POST.

        The memory (or a file beside the record) holds it. If it says "paid", the record gets the id and this try attaches. If it
        says "refused", the claim is deleted and the request may be sent.
        """
        fact = self._memory.recall(request.key) or self._keeper.late_news(latest)
        if fact is None or fact.claim != latest.claim:
            return None
        if fact.seedream_task_id is None:
            _log.info("An earlier try was refused, which costs nothing, but could not delete its claim: deleting it now.")
            self._ledger.free(latest)
            self._memory.forget(request.key)
            return None if self._ledger.read(latest.file) == latest else self._go_on(request)
        submitted = fact.written_into(latest, at=self._now())
        self._keeper.keep(latest, submitted, patience_seconds=0)
        return self._attach(request, submitted)

    def _pay(self, request: Request, before: Record | None) -> Submitted | None:
        claim = self._claim(request, before)
        return self._post(request, claim) if claim else None

    def _claim(self, request: Request, before: Record | None) -> _Claim | None:
        """Claim the next attempt; None if another try was faster.

        The order matters: the budget's note first, then the name, then the record. A kill in between leaves a budget that counts
        too much, or a reserved name that the next try of this request finds again; it never leaves a payment without a record.
        """
        longest_seconds = self._hook.submission_seconds(request.submission)  # first, as it raises if the connection is wrong
        self._ledger.check_store()
        spending = Spending(
            made_by=request.made_by,
            key=request.key,
            attempt=before.attempt + 1 if before else 1,
            credits=self.prices.quote(request.submission.num_images),
            claim=uuid.uuid4().hex,
        )
        spending = self._budget.admit(spending)
        with self._budget.holding(spending):
            self._reserve_name(request)
            record = self._intent(request, spending, longest_seconds)
            began = self._clock.steady_seconds(), self._clock.now_epoch()
            if self._is_claimed(record):
                return _Claim(record=record, began_steady=began[0], began_epoch=began[1])
        self._ledger.withdraw_spending(spending)
        return None

    def _is_claimed(self, record: Record) -> bool:
        try:
            return self._ledger.claim(record)
        except BaseException:  # it may have been written all the same, and the next try would take it for a POST
            self._free(record)
            raise

    def _reserve_name(self, request: Request) -> None:
        if request.stem and not self._ledger.reserve_name(request.stem, request.key):
            raise SeedreamInputError(
                f"name {request.stem!r} in {request.destination} belongs to another request. "
                "Make it unique, e.g. with {{ dag_run.run_after | ts_nodash }} or {{ ti.map_index }}."
            )

    def _intent(self, request: Request, spending: Spending, longest_seconds: float) -> Record:
        balance, now = self.prices.look_before(spending.claim), self._clock.now_epoch()
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
        )

    def _check_claim(self, claim: _Claim) -> None:
        """Called just before the first byte: is this still our claim?

        A process that was stopped after its claim may wake up when another try has already settled the record. Its POST would
        then be paid a second time. So a claim that is older than ``LOOK_SECONDS`` by either clock is read again.

        A younger one is not: the store has vouched for it by the exclusive create, as it would by the answer to a read, and less
        than a second ago. No other try settles a claim of that age, as it waits at least ``FIRST_BYTE_SECONDS`` by the store's
        dates. What is left is a machine on which both clocks stand still in just this second. A read leaves the same gap, from
        the store's answer to the first byte.

        :raises PostWithheld: the record is no longer the claim as it was written, or the claim is so old that other tries may
            soon treat its POST as ended.
        """
        if self._age_seconds(claim) <= LOOK_SECONDS:
            return
        try:
            latest = self._ledger.latest(claim.record.key)
        except SeedreamLedgerError as error:
            raise PostWithheld(f"its claim cannot be read ({error.message})") from None
        if latest != claim.record:
            raise PostWithheld("its claim was settled, taken away or followed by another meanwhile")
        waited = self._age_seconds(claim)
        if waited > FIRST_BYTE_SECONDS:
            raise PostWithheld(f"{waited:.0f} s have passed since its claim, which holds for {FIRST_BYTE_SECONDS:.0f} s")

    def _age_seconds(self, claim: _Claim) -> float:
        """Since before the claim was sent, by the clock that says more."""
        return max(self._clock.steady_seconds() - claim.began_steady, self._clock.now_epoch() - claim.began_epoch)

    def _post(self, request: Request, claim: _Claim) -> Submitted:
        record = claim.record
        checked: list[None] = []  # not empty once a byte of the body may have left
        self._here.posts = self.posts + 1
        try:
            span = metrics.span("seedream.submit", kind=request.submission.kind, credits=record.credits)
            with span, self.prices.posting(record.claim):
                check = partial(self._check_claim, claim)
                accepted = self._hook.submit(request.submission, before_first_byte=lambda: checked.append(check()))
        except PostWithheld:
            self._here.posts -= 1
            self._free(record)
            raise
        except SeedreamAmbiguousSubmissionError as error:
            metrics.lost_sight(record.credits, record.made_by)
            return self._lost(request, record, error)
        except SeedreamError:
            self._free(record)
            raise
        except BaseException:  # execution_timeout, or a person: while it connects, nothing is sent yet
            if not checked:
                self._free(record)
            raise
        submitted = replace(
            record,
            outcome="submitted",
            seedream_task_id=accepted.seedream_task_id,
            created_at=accepted.created_at or self._now(),
            updated_at=self._now(),
        )
        _log.info("%sSubmitted seedream task %s for %d credits.", request.label, submitted.seedream_task_id, submitted.credits)
        metrics.submitted(record.credits, record.made_by)
        return Submitted(generation=self._kept(record, submitted), is_new=True)

    def _kept(self, claimed: Record, submitted: Record) -> Generation:
        """Write the id into the record and return the generation. If the record belongs to another POST by now, say so."""
        if self._keeper.keep(claimed, submitted, patience_seconds=KEEP_SECONDS):
            return self._ledger.generation(self._measured(submitted))
        generation = self._ledger.generation(submitted)
        uri = self._ledger.folder.uri(submitted.late_file)
        _log.error(
            "This try was stopped during its POST for so long that its record now belongs to another POST, and stays as it is. "
            "This POST was paid too: seedream task id %s, written to %s.",
            submitted.seedream_task_id,
            uri,
        )
        return replace(generation, name=generation.seedream_task_id, record=uri)

    def _measured(self, submitted: Record) -> Record:
        """The record with the billed credits. The id is already in the record, so a failing storage loses only this number."""
        billed = self.prices.billed(submitted)
        if billed is None:
            return submitted
        metrics.measured(quoted=submitted.credits, billed=billed, by=submitted.made_by)
        measured = replace(submitted, billed_credits=billed)
        self._budget.learn(measured.spending)
        try:
            self._ledger.advance(submitted, measured, attempts=1)
            if measured.cost_credits > submitted.cost_credits:
                self._ledger.note_spending(measured.spending)
                self._ledger.withdraw_spending(submitted.spending)
        except SeedreamLedgerError as error:
            _log.warning("%s The record lacks the billed credits: %d.", error.message, billed)
            return submitted  # the record as a later try will read it
        return measured

    def _lost(self, request: Request, record: Record, error: SeedreamAmbiguousSubmissionError) -> Submitted:
        """A POST without an answer: write the outcome ``unknown``, unless a person has already settled the record."""
        unknown = replace(record, outcome="unknown", detail=error.detail, updated_at=self._now())
        self._keeper.keep(record, unknown, patience_seconds=CLEAR_SECONDS)
        with suppress(SeedreamLedgerError):
            there = self._ledger.read(record.file)
            if there and there.claim == record.claim and there.seedream_task_id:
                _log.warning("%s A person has settled its record in the meantime: this try attaches to it.", error.message)
                return self._attach(request, there)
        raise self._unknown_error(error.message, record, error.cause) from None

    def _generation(self, request: Request, fact: Fact) -> Generation:
        """A paid generation whose record cannot be read."""
        submission = request.submission
        return Generation(
            seedream_task_id=fact.seedream_task_id or "",
            kind=submission.kind,
            created_at=fact.created_at,
            num_images=submission.num_images,
            image_size=submission.image_size,
            credits=self.prices.quote(submission.num_images),
            destination=request.destination,
            name=request.stem or fact.seedream_task_id or "",
            record=self._ledger.folder.uri(record_file(request.key, fact.attempt)),
            claim=fact.claim,
        )

    def _attach(self, request: Request, record: Record) -> Submitted:
        """The generation of an already paid record, with a warning if another task or another Airflow has paid for it."""
        made, mine = record.made_by, request.made_by
        self._budget.learn(record.spending)
        _log.info(
            "%sAlready paid: reusing generation %s, no new charge. Record: %s.",
            request.label,
            record.seedream_task_id,
            self._ledger.uri(record),
        )
        if made.run_id == mine.run_id and made.map_index != mine.map_index:
            _log.warning(
                "This request equals that of map index %s, so both share one generation. "
                "For variations use num_images, seed, name or take.",
                made.map_index,
            )
        if not made.is_same_airflow(mine):
            _log.warning(
                "Another Airflow (%s) has paid for this request: it has the same DAG, run and task ids and writes into the same "
                "folder, so both share one generation. [seedream] installation keeps the two apart.",
                made.installation or made.airflow,
            )
        is_mine = made.is_same_airflow(mine) and made.is_same_task(mine) and made.map_index == mine.map_index
        return Submitted(generation=self._ledger.generation(record), is_new=False, is_mine=is_mine)

    def _free(self, record: Record) -> None:
        """Delete the claim of a POST that was certainly not paid, and stop counting its price."""
        if self._keeper.free(record):
            self._budget.forget(record.spending)

    def _unknown_error(self, message: str, record: Record, cause: str | None) -> SeedreamError:
        """The error of an unknown outcome. It looks at the wallet once more: a balance that fell by the price is a strong hint."""
        error = SeedreamAmbiguousSubmissionError(f"{message} It was sent at {record.intent_at}.", cause=cause)
        error.record, error.credits = self._ledger.uri(record), record.cost_credits
        if record.wallet_balance is not None:
            error.wallet = what_follows(record.wallet_balance, self._hook.peek_balance(), record.cost_credits)
        resolve = f"airflow seedream resolve {short_record(error.record)}"
        error.commands = [f"{resolve} --paid ID", f"{resolve} --not-paid"]
        if self._on_unknown == "fail":
            return final(error)
        error.on_retry = 'on_unknown_submit="resubmit": a retry sends it again, and may pay twice.'
        return error

    def _now(self) -> str:
        return to_iso(self._clock.now_epoch())
