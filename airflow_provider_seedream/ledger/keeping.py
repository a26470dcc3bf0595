"""Writes the result of a POST into its record, also when the storage fails at that moment.

The POST is paid and only this process knows its id. So the write is repeated for up to 5 minutes, and until
it succeeds Airflow's database keeps the id as well (see :class:`Memory`), where the next try finds it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model.clock import Clock

# A paid id is worth minutes of trying (full disk, lost permission, store outage): the job runs at the API in
# the meantime.
KEEP_SECONDS = 300.0
# Without these writes the next try calls the outcome unknown and a person settles it: annoying, but it costs
# no credits.
CLEAR_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """The result of a POST that could not be written into its record yet.

    ::

        Fact(attempt=1, claim="7c...01", seedream_task_id="b1c2d3")  # paid
        Fact(attempt=1, claim="7c...01", seedream_task_id=None)  # refused, not paid: the claim may be deleted

    :param attempt: of its record.
    :param claim: the claim of its record: a record with another claim belongs to another POST.
    :param seedream_task_id: the id of the paid generation; None if the POST was certainly not paid.
    :param created_at: ISO 8601, as the API says it; None takes the time of the intent.
    """

    attempt: int
    claim: str
    seedream_task_id: str | None
    created_at: str | None = None

    def written_into(self, record: Record, *, at: str) -> Record:
        """The record of this POST with the id of its generation.

        :param at: the time of the write, in ISO 8601.
        """
        return replace(
            record,
            outcome="submitted",
            seedream_task_id=self.seedream_task_id,
            created_at=self.created_at or record.intent_at,
            updated_at=at,
        )


class Memory(Protocol):
    """Keeps facts outside the storage for the task's next try, by the key of the request::

        memory.keep(request.key, fact)
        memory.recall(request.key)  # the fact, also in the next try of the task

    Best effort: a memory that fails must not fail a task that has paid, so the methods do not raise.
    """

    def keep(self, key: str, fact: Fact) -> None: ...
    def recall(self, key: str) -> Fact | None: ...
    def forget(self, key: str) -> None: ...


class _NoMemory:
    def keep(self, key: str, fact: Fact) -> None:
        """Drop it: there is no memory here."""

    def recall(self, key: str) -> Fact | None:
        return None

    def forget(self, key: str) -> None:
        """Do nothing: there is no memory here."""


NO_MEMORY = _NoMemory()


class Keeper:
    """Writes the results of POSTs into their records, also if the storage fails for minutes.

    Example::

        keeper = Keeper(ledger, memory, CLOCK)
        keeper.keep(claim, submitted, patience_seconds=KEEP_SECONDS)

    :param memory: holds the result for the next try, from the first failed write until one succeeds.
    """

    def __init__(self, ledger: Ledger, memory: Memory, clock: Clock) -> None:
        self._ledger = ledger
        self._memory = memory
        self._clock = clock

    def keep(self, seen: Record, new: Record, *, patience_seconds: float) -> bool:
        """Write the result of a POST over its claim.

        False: the record belongs to another POST by now, and stays as it is. If the storage fails until
        ``patience_seconds`` are over, this returns True and logs an error: the task knows the id and can
        continue with it.

        :param seen: the claim as it was written.
        :param new: the same record with the result.
        """
        fact = Fact(
            attempt=new.attempt,
            claim=new.claim,
            seedream_task_id=new.seedream_task_id,
            created_at=new.created_at,
        )
        written = self._persist(
            lambda: self._ledger.advance(seen, new, attempts=1),
            seen.key,
            fact if new.seedream_task_id else None,
            patience_seconds,
        )
        if written is None:
            _log.error(
                "The POST was sent (outcome %s, seedream task id %s), but its record could not be written. "
                "This task goes on.",
                new.outcome,
                new.seedream_task_id,
            )
        return written is not False

    def free(self, record: Record) -> bool:
        """Delete a claim whose POST was certainly not paid. False: the storage failed, so the claim stays."""

        def free() -> bool:
            self._ledger.free(record, attempts=1)
            return True

        fact = Fact(attempt=record.attempt, claim=record.claim, seedream_task_id=None)
        freed = self._persist(free, record.key, fact, CLEAR_SECONDS)
        if freed is None:
            _log.error(
                "This request was not paid, but its claim could not be deleted: the next try may call the "
                "outcome unknown."
            )
        return bool(freed)

    def late_news(self, record: Record) -> Fact | None:
        """The id that a stopped process wrote beside this record (``late_file``), if it is of the same
        claim; else None.
        """
        news = self._ledger.read(record.late_file)
        if news is None or news.seedream_task_id is None:
            return None
        return Fact(
            attempt=news.attempt,
            claim=news.claim,
            seedream_task_id=news.seedream_task_id,
            created_at=news.created_at,
        )

    def _persist(
        self, write: Callable[[], bool], key: str, fact: Fact | None, patience_seconds: float
    ) -> bool | None:
        """Repeat a write until it succeeds; None if the storage failed for the whole time.

        After the first failure the memory keeps the fact, so that a kill during the pauses does not lose a
        paid id. After a success the memory forgets it. Pauses grow from 0.25 to 10 s.
        """
        deadline = self._clock.steady_seconds() + patience_seconds
        pause, is_kept = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                written = write()
            except SeedreamLedgerError as error:
                _log.warning(
                    "%s Trying again for %.0f s.",
                    error.message,
                    max(0.0, deadline - self._clock.steady_seconds()),
                )
            else:
                if is_kept or patience_seconds == 0:
                    self._memory.forget(key)
                return written
            if fact and not is_kept:
                self._memory.keep(key, fact)
                is_kept = True
            if self._clock.steady_seconds() + pause > deadline:
                return None
            self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
