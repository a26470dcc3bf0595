"""Paying once: intent recorded, one POST, id recorded, everything else.

The only place where the ledger and the POST meet.
"""

import logging
import uuid
from dataclasses import dataclass, replace
from typing import Any, Literal

import tenacity

from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamError,
    SeedreamInputError,
    SeedreamLedgerError,
    final,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.records import Ledger, Record, Reuse, file_stem, record_key
from airflow_provider_seedream.ledger.spending import Spending
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.submissions import Submission, earlier_forms, is_composed
from airflow_provider_seedream.observability import metrics

OnUnknownSubmit = Literal["fail", "resubmit"]
WALLET_LOOK_SECONDS = 60.0  # each look is a call beside the POST, and may count against the rate limit
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A submission and where it belongs.

    :param made_by: dag_id, run_id, task_id, map_index, try_number.
    :param reuse: how far the same request is paid once: within its ``run``, or by its ``content`` for ever.
    :param is_as_written: whether its record has the key of 0.2.0, which did not compose the prompt's letters.
    """

    submission: Submission
    destination: str
    name: str | None
    made_by: dict[str, Any]
    reuse: Reuse = "run"
    is_as_written: bool = False

    @property
    def key(self) -> str:
        return record_key(
            dag_id=self.made_by["dag_id"],
            run_id=self.made_by["run_id"],
            task_id=self.made_by["task_id"],
            destination=self.destination,
            name=self.name,
            fingerprint=self.submission.fingerprint_as_written if self.is_as_written else self.submission.fingerprint,
            reuse=self.reuse,
        )

    def as_of_0_2(self) -> "list[Request]":
        """This request under the other keys that 0.2.0 may have given it: text counted as written there, not composed."""
        names = [self.name, *earlier_forms(self.name)]
        forms = [False] if is_composed(self.submission.prompt) else [False, True]
        return [replace(self, name=name, is_as_written=form) for name in names for form in forms][1:]

    @property
    def stem(self) -> str | None:
        return file_stem(self.name, self.submission.take)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """:param is_new: whether this call paid for it. :param is_mine: whether that, or an earlier try of this task, did."""

    generation: Generation
    is_new: bool
    is_mine: bool = True


class Submitter:
    """Submits requests of one destination through one connection.

    :param on_unknown: what to do about an earlier POST whose outcome is unknown.
    :param budget: what the requests may cost; without one they are noted all the same, for tasks that have one.

    ``posts`` counts the requests that went to the hook.
    """

    def __init__(self, hook: SeedreamHook, ledger: Ledger, on_unknown: OnUnknownSubmit, budget: Budget | None = None) -> None:
        self._hook = hook
        self._ledger = ledger
        self._on_unknown = on_unknown
        self._budget = budget or Budget(ledger, {})
        self._looked_epoch = 0.0
        self.posts = 0

    def submit(self, request: Request) -> Generation:
        """As :meth:`submit_row`, without who paid."""
        return self.submit_row(request).generation

    def submit_row(self, request: Request) -> Submitted:
        """The generation of a request: the one that is paid for already, or a new one.

        :raises SeedreamBudgetError: a new one would cost too much; nothing was sent.
        :raises SeedreamAmbiguousSubmissionError: a POST may have been accepted; nothing is sent again.
        :raises SeedreamLedgerError: the record cannot be read or written; nothing was sent.
        :raises SeedreamError: as :meth:`SeedreamHook.submit`; then nothing was bought and the claim is free again.
        """
        request = self._as_recorded(request)
        while True:
            latest = self._ledger.latest(request.key)
            if latest is None or latest.is_open_for_next:
                if mine := self._claim(request, latest):
                    return Submitted(generation=self._post(request, mine), is_new=True)
            elif latest.outcome == "intent" and not self._is_overdue(latest):
                self._wait_for(latest)
            elif latest.outcome in ("intent", "unknown"):
                if self._on_unknown == "fail":
                    raise self._unknown_error("An earlier POST of this request was sent, but no answer is recorded.", latest)
                if mine := self._claim(request, latest):
                    return Submitted(generation=self._post(request, mine), is_new=True)
            else:
                return self._attach(request, latest)

    def find(self, request: Request) -> Submitted | None:
        """The generation that is paid for already; None when that takes a POST, or another try is at it."""
        request = self._as_recorded(request)
        latest = self._ledger.latest(request.key)
        is_paid = latest and not latest.is_open_for_next and latest.outcome not in ("intent", "unknown")
        return self._attach(request, latest) if latest and is_paid else None

    def _as_recorded(self, request: Request) -> Request:
        """The request under the key that its record has. Reads nothing for text that 0.2.0 would have given the same key."""
        return next((old for old in request.as_of_0_2() if self._ledger.latest(old.key)), request)

    def _claim(self, request: Request, before: Record | None) -> Record | None:
        """The claim to the next attempt, or None when somebody else was faster."""
        longest_seconds = self._hook.submission_seconds(request.submission)  # raises for a connection that is wrong: write nothing
        self._ledger.check_store()
        spending = Spending(
            made_by=request.made_by,
            key=request.key,
            attempt=before.attempt + 1 if before else 1,
            credits=request.submission.credits,
            claim=uuid.uuid4().hex,
        )
        spending = self._budget.admit(spending)
        with self._budget.holding(spending):
            self._reserve_name(request)
            record = self._intent(request, spending, longest_seconds)
            if self._ledger.claim(record):
                return record
        self._ledger.withdraw_spending(spending)
        return None

    def _reserve_name(self, request: Request) -> None:
        if request.stem and not self._ledger.reserve_name(request.stem, request.key):
            raise SeedreamInputError(
                f"name {request.stem!r} in {request.destination} belongs to another request. "
                "Make it unique, e.g. with {{ ds }} or {{ ti.map_index }}."
            )

    def _intent(self, request: Request, spending: Spending, longest_seconds: float) -> Record:
        balance, now = self._peek_balance(), clock.now_epoch()
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
            intent_at=clock.to_iso(now),
            settles_at=clock.to_iso(now + longest_seconds),
        )

    def _peek_balance(self) -> str | None:
        """What the wallet holds, if that is worth a call now: a balance of a minute ago says nothing about this POST."""
        now = clock.now_epoch()
        if now - self._looked_epoch < WALLET_LOOK_SECONDS:
            return None
        self._looked_epoch = now
        return self._hook.peek_balance()

    def _post(self, request: Request, record: Record) -> Generation:
        self.posts += 1
        try:
            with metrics.span("seedream.submit", kind=request.submission.kind, credits=record.credits):
                accepted = self._hook.submit(request.submission)
        except SeedreamAmbiguousSubmissionError as error:
            metrics.lost_sight(record.credits, record.made_by)
            self._keep(replace(record, outcome="unknown", detail=error.message, updated_at=_now()))
            raise self._unknown_error(error.message, record) from None
        except SeedreamError:
            self._free(record)
            raise
        submitted = replace(
            record,
            outcome="submitted",
            seedream_task_id=accepted.seedream_task_id,
            created_at=accepted.created_at or _now(),
            updated_at=_now(),
        )
        _log.info("Submitted seedream task %s for %d credits.", submitted.seedream_task_id, submitted.credits)
        metrics.submitted(record.credits, record.made_by)
        self._keep(submitted)
        return self._ledger.generation(submitted)

    def _attach(self, request: Request, record: Record) -> Submitted:
        """The generation that is paid for already."""
        made, mine = record.made_by, request.made_by
        self._budget.learn(record.spending)
        _log.info("Paid for already: seedream task %s, record %s.", record.seedream_task_id, self._ledger.uri(record))
        if made["run_id"] == mine["run_id"] and made["map_index"] != mine["map_index"]:
            _log.warning(
                "This request equals that of map index %s, so both share one generation. "
                "For variations use num_images, seed, name or take.",
                made["map_index"],
            )
        is_mine = all(made[part] == mine[part] for part in ("dag_id", "run_id", "task_id", "map_index"))
        return Submitted(generation=self._ledger.generation(record), is_new=False, is_mine=is_mine)

    def _wait_for(self, record: Record) -> None:
        """Wait until another try's POST is recorded, or can no longer be in flight."""
        _log.info("Another try is submitting this request; waiting for its record %s.", self._ledger.uri(record))
        tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda settled: not settled),
            wait=tenacity.wait_random_exponential(multiplier=0.25, max=5),
        )(self._is_settled, record)

    def _is_settled(self, record: Record) -> bool:
        return self._ledger.read(record.file) != record or self._is_overdue(record)

    def _is_overdue(self, record: Record) -> bool:
        settles = clock.to_epoch(record.settles_at)
        return settles is None or clock.now_epoch() > settles

    def _keep(self, record: Record) -> None:
        """Write what is known after a POST. The POST cannot be undone, so a storage that fails now is not an error of the task."""
        try:
            self._ledger.save(record)
        except SeedreamLedgerError as error:
            _log.error(
                "%s The POST was sent: outcome %s, seedream task id %s. A retry of this task will find an unknown outcome.",
                error.message,
                record.outcome,
                record.seedream_task_id,
            )

    def _free(self, record: Record) -> None:
        try:
            self._ledger.free(record)
            self._budget.forget(record.spending)
        except SeedreamLedgerError as error:
            _log.error("%s Nothing was bought, but the claim stays: the next try will call the outcome unknown.", error.message)

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


def _now() -> str:
    return clock.to_iso(clock.now_epoch())
