"""The ledger: one JSON file per paid request in the user's own storage, ``_seedream/ledger/<key>.json``, and
how it is written.

The record is created exclusively before the POST, so of several racing tries exactly one pays. A record that
cannot be read raises an error: to treat it as missing would pay twice. Never imports an HTTP library.
"""

import json
import re
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Literal

import tenacity

from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.ledger.books import give_back
from airflow_provider_seedream.ledger.outcomes import Outcome as Outcome
from airflow_provider_seedream.ledger.pages import Page
from airflow_provider_seedream.ledger.reading import RecordReader
from airflow_provider_seedream.ledger.record import LATE as LATE
from airflow_provider_seedream.ledger.record import RECORDS as RECORDS
from airflow_provider_seedream.ledger.record import SCHEMA_VERSION
from airflow_provider_seedream.ledger.record import Record as Record
from airflow_provider_seedream.ledger.record import Reuse as Reuse
from airflow_provider_seedream.ledger.record import file_stem as file_stem
from airflow_provider_seedream.ledger.record import finished as finished
from airflow_provider_seedream.ledger.record import record_file as record_file
from airflow_provider_seedream.ledger.record import record_key as record_key
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.storage.exclusive import PROBES

_URI = re.compile(r"(?P<folder>.+)/(?P<file>_seedream/ledger/[0-9a-f]{64}(\.\d+)?\.json)")
NAMES = "_seedream/names"
# right after a POST only this process knows the result, so a failed write is repeated for some seconds
WRITE_ATTEMPTS = 4


def record_at(uri: object, ledger: "Ledger | None" = None) -> "tuple[Ledger, str] | None":
    """The ledger and the file name of a record, from the URI that errors and XComs name; None if the URI has
    another form.

    :param ledger: used if it is the one of the URI, so that its memory of what it wrote is of use.
    """
    match = _URI.fullmatch(uri) if isinstance(uri, str) else None
    if match is None:
        return None
    return ledger if ledger and ledger.folder.base == match["folder"] else Ledger(match["folder"]), match[
        "file"
    ]


class Ledger(RecordReader):
    """The records of one destination.

    Every method raises :class:`SeedreamLedgerError` when the storage does not answer clearly, so a caller
    never acts on a guess::

        ledger = Ledger("s3://my_conn@bucket/campaign")
        record = ledger.latest(key)  # None: this request was never sent
    """

    def check_store(self) -> None:
        """Ask the store, once per process, whether exactly one of several racing claims wins there.

        :raises SeedreamLedgerError: (final) several claims would win, and each of them would pay.
        """
        self._try(self.folder.check_exclusive, "test", PROBES)

    def claim(self, record: Record) -> bool:
        """Create the record, exclusively. True: this try holds the claim and may POST. False: another try
        holds it.

        It may take the place of a freed record, by compare and swap, if there is no later attempt: that one
        may be paid.
        """
        if self._create(record):
            return True
        free = self._look(record.file)
        if (
            free is None
            or not free.is_free
            or not self.folder.swaps
            or not self._replace(free.to_json(), record)
        ):
            return False
        if self.latest(record.key) == record:
            return True
        self._vacate(record)
        return False

    def _create(self, record: Record) -> bool:
        data = record.to_json()
        is_created = self._try(
            lambda: self.folder.create(record.file, data, remember=True), "write", record.file
        )
        if is_created:
            self._keep(record)
        return is_created

    def advance(self, seen: Record, new: Record, *, attempts: int = WRITE_ATTEMPTS) -> bool:
        """Write the progress of a request over its record.

        A record only moves forward, and news that another process or a person has written in the meantime
        stays.

        :param seen: the record as the caller read it last.
        :param attempts: writes before a failing storage is an error; they are 1 to 10 s apart.
        :returns: True: the record now holds this news. False: the record tells of another POST, so `new` was
            written beside it, to `late_file`. If the record was deleted in the meantime, it is created again
            when `new` is paid.
        """
        return _retrying(attempts)(self._advance, seen, new)

    def _advance(self, seen: Record, new: Record) -> bool:
        """One try of :meth:`advance`. The usual case is one call: the record still is as this process
        knows it.
        """
        if new.may_follow(seen, seen=seen) and self._replace(seen.to_json(), new):
            return True
        return self._advance_past(seen, new)

    def _advance_past(self, seen: Record, new: Record) -> bool:
        """Another process has changed the record: read it again, and write only where `may_follow` permits
        it.
        """
        while True:
            data = self._try(lambda: self.folder.read(new.file), "read", new.file)
            there = None if data is None else self._understand(data, new.file)
            if there is None or there.is_free:
                if new.seedream_task_id is None:
                    return self._leave(new)
                is_written = self._replace(data, new) if data else self._create(new)
                if is_written:
                    return True
            elif there == new:
                return True
            elif not new.may_follow(there, seen=seen):
                return True if new.is_told_by(there) else self._leave(new)
            elif self._replace(data or b"", new):
                return True

    def _replace(self, seen: bytes, new: Record) -> bool:
        """Write over the record if its file still holds these bytes. False: it holds others, and stays."""
        is_replaced = self._try(
            lambda: self.folder.replace_if(new.file, seen, new.to_json()), "write", new.file
        )
        if is_replaced:
            self._keep(new)
        return is_replaced

    def _leave(self, new: Record) -> Literal[False]:
        """Write the news of a POST beside a record that tells of another POST, so that the paid id is not
        lost.
        """
        self._try(lambda: self.folder.replace(new.late_file, new.to_json()), "write", new.late_file)
        return False

    @property
    def swaps(self) -> bool:
        """True if this store compares and swaps: then a record may be freed although there is a later
        attempt.
        """
        with suppress(SeedreamLedgerError):  # a process that only settles has not asked the store yet
            self.check_store()
        return self.folder.swaps

    def free(self, record: Record, *, attempts: int = WRITE_ATTEMPTS) -> None:
        """Free the claim of a POST that was certainly not paid, so that the next try may send the request.

        Release the name and the budget before the claim: a waiting try reserves both again when it gets the
        claim. If the record is no longer this claim (a person deleted it, and another try holds it now), only
        this claim's own spending is deleted.

        :param record: the claim as it was written.
        :param attempts: of each call of the storage.
        """
        retrying = _retrying(attempts)
        if retrying(self.read, record.file) != record:
            retrying(self.withdraw_spending, record.spending)
            self._give_back(record)
            return
        try:
            self.release(record, attempts=attempts)
        finally:
            retrying(self._vacate, record)

    def release(self, record: Record, *, attempts: int = 1) -> None:
        """Release the budget share and the name of an attempt that was not paid, or was refunded."""
        retrying = _retrying(attempts)
        self._give_back(record)
        try:
            retrying(self.withdraw_spending, record.spending)
        finally:
            retrying(self.release_name, record)

    def _give_back(self, record: Record) -> None:
        """Take the attempt out of the books, where a cap counts it: the whole attempt after a refund, else
        this try of it.
        """
        if record.books and record.booked_at:
            is_over = record.is_open_for_next
            change = (
                partial(Page.without, id=record.id)
                if is_over
                else partial(Page.withdrawn, id=record.id, claim=record.claim)
            )
            give_back(record.books, record.booked_at[:7], change)

    def _vacate(self, record: Record) -> None:
        """Say in the record, by compare and swap, that it was not paid. Then its file counts as missing.

        A plain delete is not safe: a process that was stopped just before it could delete the claim of
        another try, or the record that leads to a later attempt, and their payment would be made again. On a
        disk the file can be deleted after that, as the lock compares it and a try that opens the next attempt
        reads this one again before it POSTs.
        """
        if not self.swaps:
            return self._delete_claim(record)
        free = replace(record, outcome="not_paid", updated_at=clock.to_iso(clock.now_epoch()))
        if (
            self._replace_as_read(record, free)
            and self._look(record_file(record.key, record.attempt + 1)) is None
        ):
            self._try(lambda: self.folder.delete_if(free.file, free.to_json()), "delete", free.file)
        return None

    def _replace_as_read(self, seen: Record, new: Record) -> bool:
        """Write over a record; also over one whose bytes were written by another version of this provider."""
        if self._replace(seen.to_json(), new):
            return True
        data = self._try(lambda: self.folder.read(seen.file), "read", seen.file)
        return data is not None and self._understand(data, seen.file) == seen and self._replace(data, new)

    def _delete_claim(self, record: Record) -> None:
        """For stores that do not compare and swap: read again, then delete.

        Read again before each delete: if the first delete worked but its answer was lost, the file may now be
        another try's claim. A record with a later attempt stays.
        """
        has_next = self.read(record_file(record.key, record.attempt + 1)) is not None
        if not has_next and self.read(record.file) == record:
            self._try(lambda: self.folder.delete(record.file), "delete", record.file)
            self._known.drop(record.file)

    def reserve_name(self, stem: str, key: str) -> bool:
        """Reserve the file stem for one request, exclusively. False: another request has it."""
        return self._try(lambda: self.folder.create(f"{NAMES}/{stem}.json", name_note(key)), "write", stem)

    def is_name_of_another(self, stem: str, key: str) -> bool:
        """True if another request has reserved this file stem."""
        there = self._try(lambda: self.folder.read(f"{NAMES}/{stem}.json"), "read", stem)
        return there not in (None, name_note(key))

    def release_name(self, record: Record) -> None:
        """Release the file stem of a request that has landed no image under it."""
        stem = file_stem(record.name, record.submission["take"])
        if stem and self.reserve_name(stem, record.key):
            self._try(lambda: self.folder.delete(f"{NAMES}/{stem}.json"), "delete", stem)


def name_note(key: str) -> bytes:
    """The content of a name's reservation: the key of the request that it belongs to."""
    return json.dumps({"schema_version": SCHEMA_VERSION, "key": key}).encode()


def _retrying(attempts: int) -> tenacity.Retrying:
    """Repeat a call of the storage, 1 to 10 s apart. Each of these calls is safe to repeat: the content of
    the file decides.
    """
    return tenacity.Retrying(
        sleep=clock.sleep,
        retry=tenacity.retry_if_exception_type(SeedreamLedgerError),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=1, max=10),
        reraise=True,
    )
