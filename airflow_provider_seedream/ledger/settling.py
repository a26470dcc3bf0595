"""Whether another try's POST can still be under way, without trusting any two clocks to agree.

The claim's age is asked of the store, which dates both the claim and a file written now. A store that gives no dates is no harm:
a claim that stays as it is for as long as a POST may take, by this process's own steady clock, has ended as well.
"""

import logging
import random

from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model.clock import Clock

GRAIN_SECONDS = 2.0  # stores date files to the second (S3), FAT to two
LONGEST_PAUSE_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Settling:
    """The claims of other tries that this process has met.

    :param clock: only its steady seconds and its sleep are used: what time others take it for does not matter.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._settled_at: dict[tuple[str, str], float] = {}  # by file and claim, in steady seconds

    def seconds_left(self, record: Record) -> float:
        """How long the POST of an intent may still be under way; 0 or less when it must have ended."""
        met = (record.file, record.claim)
        if met not in self._settled_at:
            longest = record.seconds_in_flight + GRAIN_SECONDS
            age = self._ledger.age_seconds(record) if longest > GRAIN_SECONDS else None
            left = longest if age is None else min(longest, longest - age)  # a date in the future is no reason to wait longer
            self._settled_at[met] = self._clock.steady_seconds() + (left if longest > GRAIN_SECONDS else 0.0)
        return self._settled_at[met] - self._clock.steady_seconds()

    def wait(self, record: Record) -> None:
        """Wait until the record says more, or its POST must have ended."""
        _log.info("Another try is submitting this request; waiting for its record %s.", self._ledger.uri(record))
        pause = 0.25
        while (left := self.seconds_left(record)) > 0 and self._ledger.read(record.file) == record:
            self._clock.sleep(min(left, pause * random.uniform(0.5, 1)))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
