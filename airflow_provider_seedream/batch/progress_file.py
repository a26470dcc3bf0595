"""Reads and writes the progress of a batch in the user's storage, beside the pages of its results.

The file replaces an XCom: rows of a table stay out of Airflow's database. Never imports the hook or Airflow.
"""

from airflow_provider_seedream.batch.endings import FOUND_AGAIN
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.storage.folder import Folder


def store_progress(folder: Folder, file: str, progress: Progress) -> None:
    """Write the progress before a deferral.

    :param file: name relative to the folder.
    :raises SeedreamLedgerError: the storage does not take it.
    """
    try:
        folder.replace(file, progress.to_json())
    except Exception as error:  # each store has its own error classes
        raise SeedreamLedgerError(
            f"Cannot write {folder.uri(file)} ({type(error).__name__}: {error})."
        ) from error


def read_progress(folder: Folder, file: str) -> Progress:
    """The progress that the process before the deferral has written.

    :raises SeedreamLedgerError: the file cannot be read or is no progress file. A retry begins with the first
        row.
    """
    try:
        if (data := folder.read(file)) is None:
            raise FileNotFoundError("it was deleted")
        return Progress.from_json(data)
    except Exception as error:  # each store has its own error classes; or the file is not ours
        failed = SeedreamLedgerError(
            f"Cannot read {folder.uri(file)} ({type(error).__name__}: {error}).", paid="yes"
        )
        failed.on_retry = FOUND_AGAIN
        raise failed from error
