"""Paying once: intent recorded, one POST, id recorded, everything else.

The only place where the ledger and the POST meet.
"""

import logging
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
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
from airflow_provider_seedream.ledger.request import is_of_one_airflow, unread
from airflow_provider_seedream.ledger.settling import Settling
from airflow_provider_seedream.ledger.spending import Spending
from airflow_provider_seedream.model.clock import CLOCK, Clock, to_iso
from airflow_provider_seedream.observability import metrics

OnUnknownSubmit = Literal["fail", "resubmit"]
MAX_WITHHELD = 3  # POSTs of one request that a try may hold back, one after the other
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """The record that this try has claimed, and since when, by two clocks: one may have stood still, one may have been set."""

    record: Record
    began_steady: float
    began_epoch: float


class Submitter:
    """Submits requests of one destination through one connection.

    :param on_unknown: what to do about an earlier POST whose outcome is unknown.
    :param budget: what the requests may cost; without one they are noted all the same, for tasks that have one.
    :param memory: where the id of a POST is kept beside the storage, should that fail right after it.
    :param clock: the time.

    ``posts`` counts the requests that went to the hook.
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
        self._budget = budget or Budget(ledger, {})
        self._memory = memory
        self._clock = clock
        self._settling = Settling(ledger, clock)
        self._keeper = Keeper(ledger, memory, clock)
        self.prices = Prices(hook, ledger, clock)
        self.posts = 0

    def submit(self, request: Request) -> Generation:
        """As :meth:`submit_row`, without who paid."""
        return self.submit_row(request).generation

    def submit_row(self, request: Request) -> Submitted:
        """The generation of a request: the one that is paid for already, or a new one.

        :raises SeedreamBudgetError: a new one would cost too much; nothing was sent.
        :raises SeedreamAmbiguousSubmissionError: a POST may have been accepted; nothing is sent again.
        :raises SeedreamLedgerError: the record cannot be read or written; nothing was sent by this try.
        :raises SeedreamError: as :meth:`SeedreamHook.submit`; then nothing was bought and the claim is free again.
        """
        request = self._as_recorded(request)
        withheld = 0
        while True:
            try:
                if done := self._go_on(request):
                    return done
            except PostWithheld as error:
                withheld += 1
                _log.warning("The POST was not sent: %s. Looking at its record again.", error)
                if withheld == MAX_WITHHELD:
                    raise SeedreamConnectionError(f"The POST was not sent: {error}, {withheld} times in a row.") from None

    def find(self, request: Request) -> Submitted | None:
        """The generation that is paid for already; None when that takes a POST, or another try is at it.

        :raises SeedreamLedgerError: the record cannot be read.
        """
        request = self._as_recorded(request)
        latest = self._latest(request)
        if isinstance(latest, Submitted):
            return latest
        is_paid = latest and not latest.is_open_for_next and latest.outcome not in ("intent", "unknown")
        return self._attach(request, latest) if latest and is_paid else None

    def _as_recorded(self, request: Request) -> Request:
        """The request under the key that its record has. Reads nothing for text that 0.2.0 would have given the same key."""
        return next((old for old in request.as_of_0_2() if self._is_recorded(old)), request)

    def _is_recorded(self, old: Request) -> bool:
        latest = self._latest(old)
        return isinstance(latest, Submitted) or (latest is not None and is_of_one_airflow(latest.made_by, old.made_by))

    def _go_on(self, request: Request) -> Submitted | None:
        """Attach to what is paid, pay, or wait for another try. None: look again."""
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
            raise self._unknown_error("An earlier POST of this request was sent, but no answer is recorded.", latest)
        return self._pay(request, latest)

    def _latest(self, request: Request) -> Record | Submitted | None:
        """The latest record; where the storage does not answer, the generation itself if Airflow remembers its id."""
        try:
            return self._ledger.latest(request.key)
        except SeedreamLedgerError as error:
            fact = self._memory.recall(request.key)
            if fact and fact.seedream_task_id:
                _log.warning("%s Its seedream task id is known all the same: %s.", error.message, fact.seedream_task_id)
                return Submitted(generation=self._generation(request, fact), is_new=False)
            raise unread(error, request.made_by) from None

    def _remembered(self, request: Request, latest: Record) -> Submitted | None:
        """What is known of a POST that its record does not tell, because the storage failed right after it."""
        fact = self._memory.recall(request.key) or self._keeper.late_news(latest)
        if fact is None or fact.claim != latest.claim:
            return None
        if fact.seedream_task_id is None:
            _log.info("An earlier try was refused, and could not write it down; its claim is freed now.")
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
        """The claim to the next attempt, or None when another try was faster."""
        longest_seconds = self._hook.submission_seconds(request.submission)  # raises for a connection that is wrong: write nothing
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
            if self._ledger.claim(record):
                return _Claim(record=record, began_steady=began[0], began_epoch=began[1])
        self._ledger.withdraw_spending(spending)
        return None

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
        )

    def _check_claim(self, claim: _Claim) -> None:
        """Just before the first byte: a process that was stopped since its claim may wake when others have settled its record.

        :raises PostWithheld: the claim is no longer there as it was written, or is so old that others may soon take it for ended.
        """
        try:
            latest = self._ledger.latest(claim.record.key)
        except SeedreamLedgerError as error:
            raise PostWithheld(f"its claim cannot be read ({error.message})") from None
        if latest != claim.record:
            raise PostWithheld("its claim was settled, taken away or followed by another meanwhile")
        waited = max(self._clock.steady_seconds() - claim.began_steady, self._clock.now_epoch() - claim.began_epoch)
        if waited > FIRST_BYTE_SECONDS:
            raise PostWithheld(f"{waited:.0f} s have passed since its claim, which holds for {FIRST_BYTE_SECONDS:.0f} s")

    def _post(self, request: Request, claim: _Claim) -> Submitted:
        record = claim.record
        self.posts += 1
        try:
            span = metrics.span("seedream.submit", kind=request.submission.kind, credits=record.credits)
            with span, self.prices.posting(record.claim):
                accepted = self._hook.submit(request.submission, before_first_byte=partial(self._check_claim, claim))
        except PostWithheld:
            self.posts -= 1
            self._free(record)
            raise
        except SeedreamAmbiguousSubmissionError as error:
            metrics.lost_sight(record.credits, record.made_by)
            return self._lost(request, record, error)
        except SeedreamError:
            self._free(record)
            raise
        submitted = replace(
            record,
            outcome="submitted",
            seedream_task_id=accepted.seedream_task_id,
            created_at=accepted.created_at or self._now(),
            updated_at=self._now(),
        )
        _log.info("Submitted seedream task %s for %d credits.", submitted.seedream_task_id, submitted.credits)
        metrics.submitted(record.credits, record.made_by)
        return Submitted(generation=self._kept(record, submitted), is_new=True)

    def _kept(self, claimed: Record, submitted: Record) -> Generation:
        """The generation of a POST, its record written."""
        if self._keeper.keep(claimed, submitted, patience_seconds=KEEP_SECONDS):
            return self._ledger.generation(self._measured(submitted))
        generation = self._ledger.generation(submitted)
        uri = self._ledger.folder.uri(submitted.late_file)
        _log.error(
            "This try was stopped in its POST for so long that its record tells of another one by now, and is left as it is. "
            "This POST was paid as well: seedream task id %s, noted in %s.",
            submitted.seedream_task_id,
            uri,
        )
        return replace(generation, name=generation.seedream_task_id, record=uri)

    def _measured(self, submitted: Record) -> Record:
        """The record with what was billed. The id is written down already, so a storage that fails now costs only this."""
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
            _log.warning("%s The record lacks what was billed: %d credits.", error.message, billed)
            return submitted  # as a later try will read it
        return measured

    def _lost(self, request: Request, record: Record, error: SeedreamAmbiguousSubmissionError) -> Submitted:
        """A POST without an answer: the record of its claim says so, unless a person has found out meanwhile."""
        unknown = replace(record, outcome="unknown", detail=error.message, updated_at=self._now())
        self._keeper.keep(record, unknown, patience_seconds=CLEAR_SECONDS)
        with suppress(SeedreamLedgerError):
            there = self._ledger.read(record.file)
            if there and there.claim == record.claim and there.seedream_task_id:
                _log.warning("%s Its record was settled meanwhile: it is left as it is.", error.message)
                return self._attach(request, there)
        raise self._unknown_error(error.message, record) from None

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
        """The generation that is paid for already."""
        made, mine = record.made_by, request.made_by
        self._budget.learn(record.spending)
        _log.info(
            "Already paid: reusing generation %s, no new charge. Record: %s.", record.seedream_task_id, self._ledger.uri(record)
        )
        if made["run_id"] == mine["run_id"] and made["map_index"] != mine["map_index"]:
            _log.warning(
                "This request equals that of map index %s, so both share one generation. "
                "For variations use num_images, seed, name or take.",
                made["map_index"],
            )
        if not is_of_one_airflow(made, mine):
            _log.warning(
                "Another Airflow (%s) has paid for this request: it has the same DAG, run and task ids and writes into the same "
                "folder, so both share one generation. [seedream] installation keeps the two apart.",
                made.get("installation") or made.get("airflow"),
            )
        ids = ("dag_id", "run_id", "task_id", "map_index")
        is_mine = is_of_one_airflow(made, mine) and all(made[part] == mine[part] for part in ids)
        return Submitted(generation=self._ledger.generation(record), is_new=False, is_mine=is_mine)

    def _free(self, record: Record) -> None:
        """Give back what a POST held that surely bought nothing."""
        if self._keeper.free(record):
            self._budget.forget(record.spending)

    def _unknown_error(self, message: str, record: Record) -> SeedreamError:
        held = f"; the wallet held {record.wallet_balance} before" if record.wallet_balance else ""
        error = SeedreamAmbiguousSubmissionError(
            f"{message} Up to {record.credits} credits may have been spent at {record.intent_at}{held}.",
            record=self._ledger.uri(record),
        )
        if self._on_unknown == "fail":
            return final(error)
        error.on_retry = 'on_unknown_submit="resubmit": a retry pays again.'
        return error

    def _now(self) -> str:
        return to_iso(self._clock.now_epoch())
