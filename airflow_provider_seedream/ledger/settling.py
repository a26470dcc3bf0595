"""Decides whether another try's POST may still be under way. It never compares the clocks of two machines, as
they may differ.

The store dates both the claim and a file that is written now, so the difference of the two dates is the
claim's age. If a store does not date files, this process watches the claim by its own steady clock: a claim
that stays unchanged for as long as a POST may take belongs to a POST that has ended.
"""

import logging
import random

from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model.clock import Clock

GRAIN_SECONDS = 2.0  # stores date files to the second (S3), FAT to two
LONGEST_PAUSE_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Settling:
    """The claims of other tries that this process has met, each with the moment at which its POST must have
    ended.

    ::

        settling = Settling(ledger, CLOCK)
        while settling.seconds_left(record) > 0:
            settling.wait(record)  # returns early if the record changes

    :param clock: only its steady seconds and its sleep are used; the wall clock of this machine plays no
        part.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._settled_at: dict[tuple[str, str], float] = {}  # by file and claim, in steady seconds

    def seconds_left(self, record: Record) -> float:
        """Seconds for which the POST of an intent may still be under way; 0 or less: it must have ended."""
        met = (record.file, record.claim)
        if met not in self._settled_at:
            longest = record.seconds_in_flight + GRAIN_SECONDS
            age = self._ledger.age_seconds(record) if longest > GRAIN_SECONDS else None
            # min: a claim dated in the future must not wait longer
            left = longest if age is None else min(longest, longest - age)
            # Reckoned once for each claim: from then on only the steady clock of this process decides.
            self._settled_at[met] = self._clock.steady_seconds() + (left if longest > GRAIN_SECONDS else 0.0)
        return self._settled_at[met] - self._clock.steady_seconds()

    def wait(self, record: Record) -> None:
        """Wait until the record changes, or until its POST must have ended. Reads the record every 0.1 to
        5 s.
        """
        _log.info(
            "Another try is submitting this request; waiting for its record %s.", self._ledger.uri(record)
        )
        pause = 0.25
        while (left := self.seconds_left(record)) > 0 and self._ledger.read(record.file) == record:
            self._clock.sleep(min(left, pause * random.uniform(0.5, 1)))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
