"""The file that the tries of one batch share, beside its results: the window of its brake, the reason of its
stop, a person's yes.

A retry repeats the same request of a person, so it must not send the rows that an earlier try was stopped
from sending. A clear is a new request of a person: it begins without this file. Never imports the hook or
Airflow.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.results_name import owner_keys
from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.storage.folder import Folder

SCHEMA_VERSION = 1
_KEPT = ("endings", "stops", "stop", "approved")  # fields of the progress
_log = logging.getLogger(__name__)


class Tries:
    """The file that the tries of one task instance share::

        tries = Tries(folder, by, max_tries=2)
        tries.recall(progress)  # at the begin of a try
        tries.keep(progress)  # at each wait, and when the try fails

    :param folder: of the destination.
    :param by: the task instance and its try. The first try recalls nothing.
    :param max_tries: of the task instance. Airflow raises it when a person clears the task, and not for a
        retry: a file with another number belongs to an earlier request of a person.
    """

    def __init__(self, folder: Folder, by: TaskRef, *, max_tries: int) -> None:
        self._folder = folder
        self._is_first = (by.try_number or 1) <= 1
        self._max_tries = max_tries
        self._file = f"_seedream/batch/tries-{owner_keys(by)[0][:32]}.json"
        self._known: dict[str, Any] | None = None

    def recall(self, progress: Progress) -> None:
        """Put the state of the earlier tries into the progress of this one.

        :raises SeedreamLedgerError: the storage does not answer; nothing is sent then.
        """
        if self._is_first:
            return
        try:
            there = json.loads(self._folder.read(self._file) or b"{}")
        except ValueError:  # not as we wrote it
            return
        except Exception as error:  # each store has its own error classes
            raise SeedreamLedgerError(
                f"Cannot read {self._folder.uri(self._file)} ({type(error).__name__}: {error})."
            ) from error
        if not isinstance(there, Mapping) or there.get("schema_version") != SCHEMA_VERSION:
            # not as we wrote it
            return
        if there.get("max_tries") != self._max_tries:  # this try belongs to another request
            return
        self._known = {name: there[name] for name in _KEPT if name in there}
        for name, value in self._known.items():
            setattr(progress, name, value)
        progress.stops = progress.stops or []  # requests that came later concern this try, too

    def keep(self, progress: Progress) -> None:
        """Write the file if it has changed. Best effort: without it a retry begins with a fresh window."""
        state = _kept(progress)
        if state == self._known:
            return
        data = json.dumps({"schema_version": SCHEMA_VERSION, "max_tries": self._max_tries, **state}).encode()
        try:
            self._folder.replace(self._file, data)
            self._known = state
        except Exception as error:  # each store has its own error classes
            _log.warning(
                "%s could not be written (%s: %s).", self._folder.uri(self._file), type(error).__name__, error
            )

    def resume(self, progress: Progress) -> None:
        """Go on after a deferral, before which the file was written."""
        self._known = _kept(progress)

    def forget(self) -> None:
        """Delete the file, best effort: the batch has succeeded. A file that stays is not read by the next
        clear.
        """
        try:
            self._folder.delete(self._file)
        except Exception as error:  # each store has its own error classes
            _log.warning("%s could not be deleted (%s).", self._folder.uri(self._file), type(error).__name__)


def _kept(progress: Progress) -> dict[str, Any]:
    """The fields of a progress that a retry needs, as plain JSON: a copy, as the progress goes on."""
    given = {name: getattr(progress, name) for name in _KEPT if getattr(progress, name)}
    copy: dict[str, Any] = json.loads(json.dumps(given))
    return copy
