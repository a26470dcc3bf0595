"""What is known after a POST gets into its record, also when the storage fails just then.

The POST cannot be undone and its id is known to this process alone. So it is written for minutes, and until that succeeds Airflow
keeps the id as well: see :class:`Memory`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model.clock import Clock

KEEP_SECONDS = 300.0  # for an id: a full disk, a lost permission, a store that is gone; the job runs at the API meanwhile
CLEAR_SECONDS = 10.0  # for what only keeps the next try from calling an outcome unknown
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What a POST came to, while its record does not tell it.

    :param claim: of the record that it belongs to. :param seedream_task_id: None: it surely bought nothing.
    """

    attempt: int
    claim: str
    seedream_task_id: str | None
    created_at: str | None = None

    def written_into(self, record: Record, *, at: str) -> Record:
        return replace(
            record,
            outcome="submitted",
            seedream_task_id=self.seedream_task_id,
            created_at=self.created_at or record.intent_at,
            updated_at=at,
        )


class Memory(Protocol):
    """Where a task keeps facts beside the storage, for its next try: by the key of the request. Best effort: it never raises."""

    def keep(self, key: str, fact: Fact) -> None: ...
    def recall(self, key: str) -> Fact | None: ...
    def forget(self, key: str) -> None: ...


class _NoMemory:
    def keep(self, key: str, fact: Fact) -> None:
        """Nowhere."""

    def recall(self, key: str) -> Fact | None:
        return None

    def forget(self, key: str) -> None:
        """Nothing was kept."""


NO_MEMORY = _NoMemory()


class Keeper:
    """Writes down what POSTs came to."""

    def __init__(self, ledger: Ledger, memory: Memory, clock: Clock) -> None:
        self._ledger = ledger
        self._memory = memory
        self._clock = clock

    def keep(self, seen: Record, new: Record, *, patience_seconds: float) -> bool:
        """Write what a POST came to over its claim. False: the record tells of another POST by now, and was left as it is.

        A storage that fails all the time is no error of the task: it goes on with the id that it knows.
        """
        fact = Fact(attempt=new.attempt, claim=new.claim, seedream_task_id=new.seedream_task_id, created_at=new.created_at)
        written = self._persist(
            lambda: self._ledger.advance(seen, new, attempts=1), seen.key, fact if new.seedream_task_id else None, patience_seconds
        )
        if written is None:
            _log.error(
                "The POST was sent: outcome %s, seedream task id %s. Its record could not be written; this task goes on.",
                new.outcome,
                new.seedream_task_id,
            )
        return written is not False

    def free(self, record: Record) -> bool:
        """Remove a claim whose POST surely bought nothing. False: the storage does not let it."""

        def free() -> bool:
            self._ledger.free(record, attempts=1)
            return True

        fact = Fact(attempt=record.attempt, claim=record.claim, seedream_task_id=None)
        freed = self._persist(free, record.key, fact, CLEAR_SECONDS)
        if freed is None:
            _log.error("Nothing was bought, but the claim stays: the next try may call the outcome unknown.")
        return bool(freed)

    def late_news(self, record: Record) -> Fact | None:
        """What a process left beside a record that it could not write into, of the same POST."""
        news = self._ledger.read(record.late_file)
        if news is None or news.seedream_task_id is None:
            return None
        return Fact(attempt=news.attempt, claim=news.claim, seedream_task_id=news.seedream_task_id, created_at=news.created_at)

    def _persist(self, write: Callable[[], bool], key: str, fact: Fact | None, patience_seconds: float) -> bool | None:
        """What writing came to; None: the storage failed for all the time. Meanwhile the fact is kept elsewhere."""
        deadline, pause, is_kept = self._clock.steady_seconds() + patience_seconds, FIRST_PAUSE_SECONDS, False
        while True:
            try:
                written = write()
            except SeedreamLedgerError as error:
                _log.warning("%s Trying again for %.0f s.", error.message, max(0.0, deadline - self._clock.steady_seconds()))
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
