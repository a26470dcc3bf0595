"""What stops the sending of a running batch, as its loop uses it: it takes the endings in, and keeps for a retry what it must know.

The decisions are in ``brake``. A stop is said in the log at once, as what is in flight may take an hour to land.
"""

import logging
from typing import Any

from airflow_provider_seedream.batch.brake import count_ending
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.results import RowResult
from airflow_provider_seedream.batch.tries import Tries
from airflow_provider_seedream.bounds import StopWhen
from airflow_provider_seedream.exceptions import SeedreamError

_log = logging.getLogger(__name__)


class Brakes:
    """The brakes of one try of a batch::

        brakes.ended(result, error)
        progress.may_send  # False once the batch is stopped

    :param progress: of the try; its ``stop`` is set, and its window of endings.
    :param tries: the file for a retry.
    :param stop_when: None for no brake.
    """

    def __init__(self, progress: Progress, tries: Tries, *, stop_when: StopWhen | None) -> None:
        self._progress = progress
        self._tries = tries
        self._stop_when = stop_when

    def ended(self, result: RowResult, error: SeedreamError | None) -> None:
        """Count the ending of a row.

        :param error: why it did not land; None for a row that landed.
        """
        if stop := count_ending(self._progress, result, error, self._stop_when):
            self._stop(dict(stop))

    def keep(self) -> None:
        """Write what a retry must know, before this process may end."""
        self._tries.keep(self._progress)

    def _stop(self, stop: dict[str, Any]) -> None:
        """Send no more rows. Kept at once: a kill must not make the next try send them."""
        self._progress.stop = stop
        _log.warning("%s What is in flight is landed, and the rest of the table is skipped.", stop["message"])
        self.keep()
