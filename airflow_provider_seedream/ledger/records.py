"""The record of what was paid, as JSON files in the user's own storage: ``_seedream/ledger/<key>.json``.

A record is created exclusively before the POST, so of all racing attempts one pays. A record that cannot be read is an error, never
"no record". Knows nothing of HTTP.
"""

import json
import logging
import re
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import tenacity

from airflow_provider_seedream.exceptions import SeedreamLedgerError, final
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.ledger.record import LATE as LATE
from airflow_provider_seedream.ledger.record import RECORDS as RECORDS
from airflow_provider_seedream.ledger.record import SCHEMA_VERSION
from airflow_provider_seedream.ledger.record import Outcome as Outcome
from airflow_provider_seedream.ledger.record import Record as Record
from airflow_provider_seedream.ledger.record import Reuse as Reuse
from airflow_provider_seedream.ledger.record import file_stem as file_stem
from airflow_provider_seedream.ledger.record import finished as finished
from airflow_provider_seedream.ledger.record import record_file as record_file
from airflow_provider_seedream.ledger.record import record_key as record_key
from airflow_provider_seedream.ledger.spending import Spending, run_folder, spender_file, task_folder, unnamed
from airflow_provider_seedream.storage import Folder, NotExclusiveError
from airflow_provider_seedream.storage.exclusive import PROBES

_URI = re.compile(r"(?P<folder>.+)/(?P<file>_seedream/ledger/[0-9a-f]{64}(\.\d+)?\.json)")
NAMES = "_seedream/names"
NOW = "_seedream/now"  # an empty file: written to learn what time it is at the store
WRITE_ATTEMPTS = 4  # after a POST the id, or that nothing was bought, is known to one process only: worth some seconds of trying

T = TypeVar("T")
_log = logging.getLogger(__name__)


def record_at(uri: object) -> "tuple[Ledger, str] | None":
    """The ledger and the file name of a record, from the URI that errors and XComs name; None when it is no such URI."""
    match = _URI.fullmatch(uri) if isinstance(uri, str) else None
    return (Ledger(match["folder"]), match["file"]) if match else None


class Ledger:
    """The records of one destination. Every method raises :class:`SeedreamLedgerError` when the storage does not answer clearly."""

    def __init__(self, destination: str) -> None:
        self.folder = Folder(destination)

    def uri(self, record: Record) -> str:
        return self.folder.uri(record.file)

    def generation(self, record: Record) -> Generation:
        """What a record's paid request became, for whoever waits for it or lands it."""
        task_id = record.seedream_task_id or ""
        return Generation(
            seedream_task_id=task_id,
            kind=record.submission["kind"],
            created_at=record.created_at,
            num_images=record.submission["num_images"],
            image_size=record.submission["image_size"],
            credits=record.credits,
            billed_credits=record.billed_credits,
            destination=record.destination,
            name=file_stem(record.name, record.submission["take"]) or task_id,
            record=self.uri(record),
            claim=record.claim,
        )

    def latest(self, key: str) -> Record | None:
        """The last attempt at a request, or None when there surely is none."""
        latest, attempt = None, 1
        while record := self.read(record_file(key, attempt)):
            latest, attempt = record, attempt + 1
        return latest

    def read(self, file: str) -> Record | None:
        """One record by its file name."""
        data = self._try(lambda: self.folder.read(file), "read", file)
        return None if data is None else self._understand(data, file)

    def _understand(self, data: bytes, file: str) -> Record:
        try:
            return Record.from_json(data)
        except ValueError as error:
            raise SeedreamLedgerError(f"The record {self.folder.uri(file)} cannot be understood ({error}).") from None

    def check_store(self) -> None:
        """Ask the store, once per process, whether of racing claims one wins there.

        :raises SeedreamLedgerError: final, if several would: each of them would pay.
        """
        self._try(self.folder.check_exclusive, "test", PROBES)

    def claim(self, record: Record) -> bool:
        """Write an intent that nobody else has written. False: somebody has; read it."""
        return self._try(lambda: self.folder.create(record.file, record.to_json()), "write", record.file)

    def advance(self, seen: Record, new: Record, *, attempts: int = WRITE_ATTEMPTS) -> bool:
        """Write what has become of a request, over its record as the caller saw it last.

        A record only moves forward. What another process has written since, or a person, stays. False: it tells of something
        else, and what `new` knows lies beside it in `late_file`. A record that was taken away comes back if it is paid for.
        """
        return _retrying(attempts)(self._advance, seen, new)

    def _advance(self, seen: Record, new: Record) -> bool:
        as_seen = new.may_follow(seen, seen=seen) and self._replace(seen.to_json(), new)
        return as_seen or self._advance_past(seen, new)

    def _advance_past(self, seen: Record, new: Record) -> bool:
        """What to write over a record that is not, byte for byte, what was seen."""
        while True:
            data = self._try(lambda: self.folder.read(new.file), "read", new.file)
            there = None if data is None else self._understand(data, new.file)
            if there is None:
                if new.seedream_task_id is None:
                    return self._leave(new)
                if self.claim(new):
                    return True
            elif there == new:
                return True
            elif not new.may_follow(there, seen=seen):
                return new.is_told_by(there) or self._leave(new)
            elif self._replace(data or b"", new):
                return True

    def _replace(self, seen: bytes, new: Record) -> bool:
        return self._try(lambda: self.folder.replace_if(new.file, seen, new.to_json()), "write", new.file)

    def _leave(self, new: Record) -> Literal[False]:
        """Write the news of a POST beside a record that tells of something else."""
        self._try(lambda: self.folder.replace(new.late_file, new.to_json()), "write", new.late_file)
        return False

    def age_seconds(self, record: Record) -> float | None:
        """How long ago a record was written, by the store's own clock; None where the store does not say."""

        def age() -> float | None:
            written = self.folder.modified_at(record.file)
            self.folder.replace(NOW, b"")
            now = self.folder.modified_at(NOW)
            return None if written is None or now is None else now - written

        try:
            return self._try(age, "date", record.file)
        except SeedreamLedgerError as error:
            _log.info("%s Its age is not known.", error.message)
            return None

    def free(self, record: Record, *, attempts: int = WRITE_ATTEMPTS) -> None:
        """Remove a claim whose POST surely bought nothing, unless a person has removed it and another try holds it now.

        What it holds goes first: whoever waits for the claim reserves it again.
        """
        retrying = _retrying(attempts)
        if retrying(self.read, record.file) != record:
            retrying(self.withdraw_spending, record.spending)
            return
        try:
            self.release(record, attempts=attempts)
        finally:
            retrying(self._delete_claim, record)

    def release(self, record: Record, *, attempts: int = 1) -> None:
        """Give back what an attempt holds that bought nothing, or whose price came back: its share of the budget, its name."""
        retrying = _retrying(attempts)
        try:
            retrying(self.withdraw_spending, record.spending)
        finally:
            retrying(self.release_name, record)

    def _delete_claim(self, record: Record) -> None:
        """Reads each time: a delete whose answer was lost may have made room for another try's claim."""
        has_next = self.read(record_file(record.key, record.attempt + 1)) is not None  # a gap would hide the attempts behind it
        if not has_next and self.read(record.file) == record:
            self._try(lambda: self.folder.delete(record.file), "delete", record.file)

    def reserve_name(self, stem: str, key: str) -> bool:
        """Give a chosen name to one request. False: another one has it."""
        file = f"{NAMES}/{stem}.json"
        note = json.dumps({"schema_version": SCHEMA_VERSION, "key": key}).encode()
        return self._try(lambda: self.folder.create(file, note), "write", file)

    def release_name(self, record: Record) -> None:
        """Give a name back: nothing was landed under it."""
        stem = file_stem(record.name, record.submission["take"])
        if stem and self.reserve_name(stem, record.key):
            self._try(lambda: self.folder.delete(f"{NAMES}/{stem}.json"), "delete", stem)

    def note_spending(self, spending: Spending) -> None:
        """Before the claim, so that a kill in between counts too much and never too little."""
        self._try(lambda: self.folder.create(spending.file, spending.to_json()), "write", spending.file)

    def withdraw_spending(self, spending: Spending) -> None:
        self._try(lambda: self.folder.delete(spending.file), "delete", spending.file)

    def spent_by_task(self, made_by: dict[str, Any]) -> list[str]:
        """The names of what a task has spent in a DAG run, in this destination."""
        return [name for maker in (made_by, *unnamed(made_by)) for name in self._list(task_folder(maker))]

    def spent_in_run(self, made_by: dict[str, Any]) -> list[str]:
        """The names of what a DAG run has spent in this destination."""
        runs = [run_folder(maker) for maker in (made_by, *unnamed(made_by))]
        return [name for run in runs for task in self._list(run) for name in self._list(f"{run}/{task}")]

    def spender(self, made_by: dict[str, Any]) -> str | None:
        """Which process of a task counted last what it has spent."""
        file = spender_file(made_by)
        token = self._try(lambda: self.folder.read(file), "read", file)
        return None if token is None else token.decode(errors="replace")

    def take_over(self, made_by: dict[str, Any], token: str) -> None:
        """Say that this process counts now: another one that is at work sees it at its next request."""
        file = spender_file(made_by)
        self._try(lambda: self.folder.replace(file, token.encode()), "write", file)

    def _list(self, folder: str) -> list[str]:
        return self._try(lambda: self.folder.list(folder), "list", folder)

    def _try(self, act: Callable[[], T], verb: str, file: str) -> T:
        try:
            return act()
        except NotExclusiveError as error:
            refused = SeedreamLedgerError(f"{error}.")
            refused.on_retry = "A retry would be refused again: choose another destination."
            raise final(refused) from error
        except Exception as error:  # whatever a store raises: it is no answer
            what = f"{type(error).__name__}: {error}"[:300]
            hint = f" To see what it lacks: airflow seedream check {self.folder.base}" if isinstance(error, PermissionError) else ""
            raise SeedreamLedgerError(f"Cannot {verb} {self.folder.uri(file)} ({what}).{hint}") from error


def _retrying(attempts: int) -> tenacity.Retrying:
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SeedreamLedgerError),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=1, max=10),
        reraise=True,
    )
