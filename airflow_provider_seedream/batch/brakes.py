"""Stops the sending of a running batch: its loop reports each ending here, and every 30 s requests to stop
are read.

The decisions are in ``brake`` and ``stops``. A stop is logged at once, as the rows in flight may take an hour
to land.
"""

import logging

from airflow_provider_seedream.batch.brake import Stop, count_ending
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.batch.stops import read_stops
from airflow_provider_seedream.batch.tries import Tries
from airflow_provider_seedream.bounds import StopWhen
from airflow_provider_seedream.exceptions import SeedreamError
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.storage.folder import Folder

LOOK_SECONDS = 30.0  # between two looks for a request to stop: one GET each
# a deferred batch sends nothing; it wakes this often to look for a request to stop
DEFERRED_LOOK_SECONDS = 300.0
_log = logging.getLogger(__name__)


class Brakes:
    """The brakes of one try of a batch::

        brakes.look(now)
        brakes.ended(result, error)
        progress.may_send  # False once the batch is stopped

    :param progress: of the try; its ``stop`` is set, and its window of endings.
    :param tries: the file for a retry.
    :param folder: the destination, where requests to stop are written.
    :param by: the task instance. :param results: the stem of its table of results: requests may name either.
    :param rule: ``stop_when``; None for no brake.
    """

    def __init__(
        self,
        progress: Progress,
        tries: Tries,
        *,
        folder: Folder,
        by: TaskRef,
        results: str,
        rule: StopWhen | None,
    ) -> None:
        self._progress = progress
        self._tries = tries
        self._folder = folder
        self._by = by
        self._results = results
        self._rule = rule
        self._look_epoch = 0.0

    def ended(self, result: RowResult, error: SeedreamError | None) -> None:
        """Count the ending of a row.

        :param error: why it did not land; None for a row that landed.
        """
        if stop := count_ending(self._progress, result, error, self._rule):
            self._stop(stop)

    def look(self, now: float) -> None:
        """Look for a request to stop, at most every 30 s. A batch that begins ignores the requests that it
        finds there.

        :param now: in epoch seconds.
        """
        if now < self._look_epoch or not self._progress.may_send:
            return
        self._look_epoch = now + LOOK_SECONDS
        try:
            requests = read_stops(self._folder)
        except Exception as error:
            # each store has its own error classes; if the store is away, the next row ends the try
            _log.warning("Requests to stop cannot be read (%s: %s).", type(error).__name__, error)
            return
        if self._progress.stops is None:
            self._progress.stops = [one.id for one in requests]
        # before the first POST: a retry of a batch that was killed tells old requests from new ones
        self.keep()
        mine = [
            one
            for one in requests
            if one.id not in self._progress.stops and one.concerns(self._by, self._results)
        ]
        if mine:
            who = f" by {mine[0].by}" if mine[0].by else ""
            detail = f"Not sent: stopped on request{who} at {mine[0].at}."
            message = (
                f"Stopped on request{who} at {mine[0].at} (`{command('stop')}`), so no more rows were sent."
            )
            self._stop(Stop(by="request", message=message, detail=detail))

    def keep(self) -> None:
        """Write the state that a retry needs, before this process may end."""
        self._tries.keep(self._progress)

    def _stop(self, stop: Stop) -> None:
        """Send no more rows. Kept at once: a kill must not make the next try send them."""
        self._progress.stop = dict(stop)
        _log.warning("%s Rows in flight are landed, and the rest of the table is skipped.", stop["message"])
        self.keep()
