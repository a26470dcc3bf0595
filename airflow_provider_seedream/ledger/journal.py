"""The storage calls of the ledger, and the spendings: tiny files whose names hold the prices that a budget
adds up.

Every call either gets a clear answer or raises: a caller never acts on a guess. Never imports an HTTP
library.
"""

from collections.abc import Callable
from typing import TypeVar

from airflow_provider_seedream.exceptions import SeedreamLedgerError, final
from airflow_provider_seedream.hooks.first_mistakes import named
from airflow_provider_seedream.ledger.spending import Spending, run_folder, spender_file, task_folder, unnamed
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.storage.exclusive import NotExclusiveError
from airflow_provider_seedream.storage.folder import Folder

T = TypeVar("T")


class Journal:
    """The spendings of one destination, and the base of its ledger::

        journal = Journal("s3://my_conn@bucket/campaign")
        journal.note_spending(spending)
        journal.spent_by_task(made_by)  # ["3f...9a.1.20.7c...01"]

    Its methods may run in several threads. Each raises SeedreamLedgerError if the storage does not answer
    clearly.

    :param destination: storage URI of the folder.
    """

    def __init__(self, destination: str) -> None:
        self.folder = Folder(destination)

    def note_spending(self, spending: Spending) -> None:
        """Write a spending, before the claim: a kill in between leaves a budget that counts too much
        rather than too little.
        """
        self._try(lambda: self.folder.create(spending.file, spending.to_json()), "write", spending.file)

    def withdraw_spending(self, spending: Spending) -> None:
        """Delete a spending that was not paid. One that is gone already is no error: a try may repeat this
        after a lost answer.
        """
        self._try(lambda: self.folder.delete(spending.file), "delete", spending.file)

    def spent_by_task(self, made_by: TaskRef) -> list[str]:
        """The file names of the spendings of a task in a DAG run, in this destination."""
        return [name for maker in (made_by, *unnamed(made_by)) for name in self.names_in(task_folder(maker))]

    def spent_in_run(self, made_by: TaskRef) -> list[str]:
        """The file names of the spendings of all tasks of a DAG run, in this destination."""
        runs = [run_folder(maker) for maker in (made_by, *unnamed(made_by))]
        return [
            name for run in runs for task in self.names_in(run) for name in self.names_in(f"{run}/{task}")
        ]

    def spender(self, made_by: TaskRef) -> str | None:
        """The token of the process that counted this task's spendings last; None if no process has."""
        file = spender_file(made_by)
        token = self._try(lambda: self.folder.read(file), "read", file)
        return None if token is None else token.decode(errors="replace")

    def take_over(self, made_by: TaskRef, token: str) -> None:
        """Write this process's token. Another live process of the task reads it at its next request and
        counts anew.
        """
        file = spender_file(made_by)
        self._try(lambda: self.folder.replace(file, token.encode()), "write", file)

    def names_in(self, folder: str) -> list[str]:
        """File names; empty only if the store says clearly that the folder does not exist: a budget must not
        count too little.

        :param folder: relative to the destination, e.g. ``_seedream/ledger``.
        """
        return self._try(lambda: self.folder.list(folder), "list", folder)

    def _try(self, act: Callable[[], T], verb: str, file: str) -> T:
        """Call the storage, and turn every error into one that names the file.

        :param verb: names the call in the error: "read", "write", "delete", "list", "date" or "test".
        :raises SeedreamLedgerError: final if no retry can help, as the store cannot create files exclusively.
        """
        try:
            return act()
        except NotExclusiveError as error:
            refused = SeedreamLedgerError(f"{error}.", verdict="STORAGE UNSUITABLE")
            refused.on_retry = "A retry would be refused again: choose another destination."
            raise final(refused) from error
        except Exception as error:
            # each store has its own error classes, and none of them says whether the file exists
            failed = SeedreamLedgerError(
                f"Cannot {verb} the ledger in {self.folder.base}.",
                cause=f"{type(error).__name__}: {error} ({file})"[:400],
            )
            if isinstance(error, PermissionError):
                # it names each permission that the connection lacks
                failed.commands = [command("check", self.folder.base)]
            raise named(failed, error, self.folder.base) from error
