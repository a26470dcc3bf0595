"""Reads the records of one destination: a file that cannot be read or understood raises, as it may hide a
payment.

"Does not exist" is the store's clear answer and nothing else. Writes no record. Never imports an HTTP
library.
"""

import logging

from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.ledger.journal import Journal
from airflow_provider_seedream.ledger.record import Record, file_stem, record_file
from airflow_provider_seedream.storage.recent import Recent

NOW = "_seedream/now"  # an empty file: its date, right after it was written, is the time at the store
MAX_KNOWN = 2_000  # twice as many generations as a batch may have in flight; about 2 KB each

_log = logging.getLogger(__name__)


class RecordReader(Journal):
    """The reading part of a :class:`~airflow_provider_seedream.ledger.records.Ledger`.

    It remembers the records that it has read or written last, so that the usual change of a record is one
    call of the store::

        # [Record(attempt=1, ...), Record(attempt=2, ...)]
        RecordReader("s3://my_conn@bucket/campaign").attempts(key)
    """

    def __init__(self, destination: str) -> None:
        super().__init__(destination)
        # by file: the records that this process has seen or written last
        self._known: Recent[Record] = Recent(MAX_KNOWN)

    def uri(self, record: Record) -> str:
        """The record's full URI, as errors, XComs and ``airflow seedream resolve`` name it."""
        return self.folder.uri(record.file)

    def generation(self, record: Record) -> Generation:
        """The generation of a record, for the task that waits for it or lands it."""
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
        """The record of the last attempt at a request; None if the storage says clearly that there is no
        record.

        Reads one file for each attempt, and the first missing one.
        """
        return next(reversed(self.attempts(key)), None)

    def attempts(self, key: str) -> list[Record]:
        """The records of all attempts at a request, in their order. A freed record is left out; the
        attempts after it are read.
        """
        found: list[Record] = []
        attempt = 1
        while there := self._look(record_file(key, attempt)):
            attempt += 1
            if not there.is_free:
                found.append(there)
        return found

    def read(self, file: str) -> Record | None:
        """One record by its file name; None if the storage says clearly that the file does not exist, or if
        the record is freed.

        :raises SeedreamLedgerError: the storage does not answer, or the file is not a record: it may hide a
            payment.
        """
        there = self._look(file)
        return None if there is None or there.is_free else there

    def _look(self, file: str) -> Record | None:
        """As :meth:`read`, but a freed record is returned, too."""
        data = self._try(lambda: self.folder.read(file), "read", file)
        there = None if data is None else self._understand(data, file)
        if there:
            self._keep(there)
        return there

    def known(self, file: str) -> Record | None:
        """A record as this process has written or read it last, without asking the storage; None if it has
        done neither.

        Another process may have changed it since. So a caller may use the fields that no one changes (the
        request, who paid), and must write the next outcome by :meth:`advance`, which notices such a change.
        """
        return self._known.get(file)

    def _keep(self, record: Record) -> None:
        """Remember a record until its generation has ended: after that it is not written again.

        The memory is bounded by ``MAX_KNOWN``. A record that has dropped out of it is read again, which costs
        one call.
        """
        if record.outcome in ("intent", "submitted"):
            self._known.keep(record.file, record)
        else:
            self._known.drop(record.file)

    def _understand(self, data: bytes, file: str) -> Record:
        """:raises SeedreamLedgerError: the bytes are not a record. The record does not count as missing:
        it may hide a payment.
        """
        try:
            return Record.from_json(data)
        except ValueError as error:
            raise SeedreamLedgerError(
                f"The record {self.folder.uri(file)} cannot be understood ({error})."
            ) from None

    def age_seconds(self, record: Record) -> float | None:
        """The age of a record by the store's own clock, in seconds; None if the store does not date files.

        Writes the empty file ``_seedream/now`` and compares its date with the record's, so the clock of this
        machine plays no part.
        """

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
