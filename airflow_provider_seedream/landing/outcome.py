"""The outcome of a generation, written into its ledger record.

Best effort: an image must not stay unlanded, nor a task fail, because a record cannot be read or written; the
next poll repeats it.
"""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamError, SeedreamResultsExpiredError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.landing.errors import error_from
from airflow_provider_seedream.ledger.books import books_at, flush_books
from airflow_provider_seedream.ledger.pages import Page
from airflow_provider_seedream.ledger.records import Ledger, Outcome, Record, finished, record_at
from airflow_provider_seedream.manifest import Manifest
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.task_ref import NOBODY
from airflow_provider_seedream.observability import metrics
from airflow_provider_seedream.polling.policy import PollOutcome

_log = logging.getLogger(__name__)


class KnownRecord:
    """The ledger record of a generation, read once: for the manifest, and to be told how the generation
    ended.

    ::

        known = KnownRecord(generation, ledger)
        known.record  # None: a bare id, or the storage does not answer
        known.note("landed")

    :param ledger: of the task that has submitted; a record that it has written or read is taken from memory.
        That is enough for the manifest, as the request in it never changes. And it is enough for the outcome,
        as the ledger writes over a record only if it still is as this process knows it; else the ledger reads
        it, and decides again.
    """

    def __init__(self, generation: Generation, ledger: Ledger | None = None) -> None:
        self._generation = generation
        self._at = record_at(generation.record, ledger)
        self._is_one_of_many = ledger is not None
        self.record = self._read()

    def _read(self) -> Record | None:
        """The record from memory or storage; None if it cannot be read, as the images must land all the
        same.
        """
        if self._at is None:
            return None
        ledger, file = self._at
        try:
            return ledger.known(file) or ledger.read(file)
        except SeedreamError as error:
            _log.warning(
                "The ledger record cannot be read; the manifest will lack the prompt: %s", error.message
            )
            return None

    def file_in(self, destination: str) -> str | None:
        """The record's file, relative to the folder of the images; None if it lies in another folder."""
        return self.record.file if self.record and self.record.destination == destination else None

    def note_landed(self, manifest: Manifest) -> None:
        """Write "landed" into the record, or "partial" if images are missing."""
        self.note("partial" if manifest.missing_images else "landed")

    def note(self, outcome: Outcome, *, refunded: bool = False, detail: str | None = None) -> None:
        """Write the outcome into the record, unless the record already has it or tells of another POST.

        :param refunded: the API says that it gave the credits back.
        :param detail: a sentence about the end, e.g. the API's failure reason.
        """
        record, generation = self.record, self._generation
        if record is not None and not self._is_of_it(record):
            _log.warning(
                "The record %s tells of another POST than %s; it stays as it is.",
                generation.record,
                generation.seedream_task_id,
            )
            return
        if record is None or record.outcome != outcome:
            # The larger sum, as in the record's own cost.
            returned = max(generation.credits or 0, generation.billed_credits or 0) if refunded else 0
            metrics.ended(outcome, credits_refunded=returned, by=record.made_by if record else NOBODY)
        if record is None or record.outcome == outcome:
            # another landing was faster, or an earlier try died after this
            return
        now = clock.to_iso(clock.now_epoch())
        ended = finished(record, generation, outcome, at=now, refunded=refunded, detail=detail)
        self._write(record, ended, f"The outcome {outcome!r}")
        self._close(ended)

    def _close(self, ended: Record) -> None:
        """Move the attempt into the sums of the books, where a cap counts it. A refunded one has left them
        before its outcome.

        A batch writes the change with its next admission. The sum is the same until then, as an open attempt
        counts, too.
        """
        if ended.books and ended.booked_at and not ended.is_open_for_next:
            change = partial(Page.ended_with, id=ended.id, credits=ended.cost_credits)
            books_at(ended.books).later(ended.booked_at[:7], lambda page: (change(page), None))
            if not self._is_one_of_many:
                flush_books()

    def note_options(self, options: dict[str, Any]) -> None:
        """Write the options of a landing, so that ``airflow seedream land`` lands as the task would.

        :param options: fields of the record: ``embed_metadata``, ``max_image_bytes``.
        """
        if self.record is not None and self._is_of_it(self.record):
            self._write(self.record, replace(self.record, **options), "The options of the landing")

    def _write(self, seen: Record, new: Record, news: str) -> None:
        """Write once, as the next poll of the generation repeats it. :param news: the name of the change,
        for the log.
        """
        if self._at is None or new == seen:
            return
        ledger, _ = self._at
        try:
            if new.is_open_for_next:
                # before the outcome: a task that reads the outcome submits again, and reserves the name
                ledger.release(new)
            ledger.advance(seen, new, attempts=1)
        except SeedreamError as error:
            _log.warning("%s could not be written into the ledger: %s", news, error.message)

    def _is_of_it(self, record: Record) -> bool:
        """True if the record is that of the generation's POST. One without an id may be: its storage
        failed after the POST.
        """
        if record.seedream_task_id is None:
            return self._generation.claim in (None, record.claim)
        return record.seedream_task_id == self._generation.seedream_task_id


def close_unlanded(
    generation: Generation,
    outcome: PollOutcome,
    *,
    can_resubmit: bool,
    timeout_seconds: float | None = None,
    ledger: Ledger | None = None,
) -> SeedreamError:
    """The error of an outcome that lands nothing, noted in the ledger where it is the generation's end.

    A timeout or an outage is not noted: the generation may still finish, and a retry polls it again.

    :param can_resubmit: True for a task whose retry can submit again (an operator); False for one that only
        polls (a sensor).
    :param timeout_seconds: the ``timeout`` of the task, for an error that says how long was waited; None if
        it has none.
    :param ledger: of the task that has submitted; None reads the record from storage.
    :returns: the error, to be raised by the caller.
    """
    now = clock.now_epoch()
    error = error_from(
        outcome, generation, now_epoch=now, can_resubmit=can_resubmit, timeout_seconds=timeout_seconds
    )
    if outcome.verdict == "failed":
        KnownRecord(generation, ledger).note("failed", refunded=outcome.refunded, detail=outcome.detail)
    elif isinstance(error, SeedreamResultsExpiredError):
        KnownRecord(generation, ledger).note("expired")
    return error


def note_options(generation: Generation, options: dict[str, Any]) -> None:
    """Write the options of a landing into the record, so that ``airflow seedream land`` lands as the task
    would.

    :param options: fields of the record: ``embed_metadata``, ``max_image_bytes``. Empty: nothing is read or
        written.
    """
    if options:
        KnownRecord(generation).note_options(options)
