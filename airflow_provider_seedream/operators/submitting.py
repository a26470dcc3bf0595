"""Paying once: intent recorded, one POST, id recorded, everything else.

The only place where the ledger and the POST meet.
"""

import logging
import uuid
from dataclasses import dataclass, replace
from typing import Any, Literal

import tenacity

from airflow_provider_seedream import times
from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamError,
    SeedreamInputError,
    SeedreamLedgerError,
    final,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger import Ledger, Record, Reuse, file_stem, record_key
from airflow_provider_seedream.submissions import Submission

OnUnknownSubmit = Literal["fail", "resubmit"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A submission and where it belongs.

    :param made_by: dag_id, run_id, task_id, map_index, try_number.
    :param reuse: how far the same request is paid once: within its ``run``, or by its ``content`` for ever.
    """

    submission: Submission
    destination: str
    name: str | None
    made_by: dict[str, Any]
    reuse: Reuse = "run"

    @property
    def key(self) -> str:
        return record_key(
            dag_id=self.made_by["dag_id"],
            run_id=self.made_by["run_id"],
            task_id=self.made_by["task_id"],
            destination=self.destination,
            name=self.name,
            fingerprint=self.submission.fingerprint,
            reuse=self.reuse,
        )

    @property
    def stem(self) -> str | None:
        return file_stem(self.name, self.submission.take)


class Submitter:
    """Submits requests of one destination through one connection.

    :param on_unknown: what to do about an earlier POST whose outcome is unknown.
    """

    def __init__(self, hook: SeedreamHook, ledger: Ledger, on_unknown: OnUnknownSubmit) -> None:
        self._hook = hook
        self._ledger = ledger
        self._on_unknown = on_unknown

    def submit(self, request: Request) -> Generation:
        """The generation of a request: the one that is paid for already, or a new one.

        :raises SeedreamAmbiguousSubmissionError: a POST may have been accepted; nothing is sent again.
        :raises SeedreamLedgerError: the record cannot be read or written; nothing was sent.
        :raises SeedreamError: as :meth:`SeedreamHook.submit`; then nothing was bought and the claim is free again.
        """
        while True:
            latest = self._ledger.latest(request.key)
            if latest is None or latest.is_open_for_next:
                if mine := self._claim(request, latest):
                    return self._post(request, mine)
            elif latest.outcome == "intent" and not self._is_overdue(latest):
                self._wait_for(latest)
            elif latest.outcome in ("intent", "unknown"):
                if self._on_unknown == "fail":
                    raise self._unknown_error("An earlier POST of this request was sent, but no answer is recorded.", latest)
                if mine := self._claim(request, latest):
                    return self._post(request, mine)
            else:
                return self._attach(request, latest)

    def _claim(self, request: Request, before: Record | None) -> Record | None:
        """The claim to the next attempt, or None when somebody else was faster."""
        balance, now = self._hook.peek_balance(), times.now_epoch()
        record = Record(
            key=request.key,
            attempt=before.attempt + 1 if before else 1,
            outcome="intent",
            claim=uuid.uuid4().hex,
            destination=request.destination,
            name=request.name,
            submission=request.submission.describe(),
            fingerprint=request.submission.fingerprint,
            credits=request.submission.credits,
            made_by=request.made_by,
            wallet_balance=balance,
            intent_at=times.to_iso(now),
            settles_at=times.to_iso(now + self._hook.submission_seconds(request.submission)),
        )
        if request.stem and not self._ledger.reserve_name(request.stem, request.key):
            raise SeedreamInputError(
                f"name {request.stem!r} in {request.destination} belongs to another request. "
                "Make it unique, e.g. with {{ ds }} or {{ ti.map_index }}."
            )
        return record if self._ledger.claim(record) else None

    def _post(self, request: Request, record: Record) -> Generation:
        try:
            accepted = self._hook.submit(request.submission)
        except SeedreamAmbiguousSubmissionError as error:
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
        self._keep(submitted)
        return self._ledger.generation(submitted)

    def _attach(self, request: Request, record: Record) -> Generation:
        """The generation that is paid for already."""
        made, mine = record.made_by, request.made_by
        _log.info("Paid for already: seedream task %s, record %s.", record.seedream_task_id, self._ledger.uri(record))
        if made["run_id"] == mine["run_id"] and made["map_index"] != mine["map_index"]:
            _log.warning(
                "This request equals that of map index %s, so both share one generation. "
                "For variations use num_images, seed, name or take.",
                made["map_index"],
            )
        return self._ledger.generation(record)

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
        settles = times.to_epoch(record.settles_at)
        return settles is None or times.now_epoch() > settles

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
    return times.to_iso(times.now_epoch())
