"""The command that stops the running batches of a folder: they send no more rows and land what is in
flight.
"""

import argparse
import getpass
import uuid
from contextlib import suppress

from airflow_provider_seedream.batch.stops import StopRequest, add_stop
from airflow_provider_seedream.cli.printing import print_json, print_lines
from airflow_provider_seedream.exceptions import SeedreamInputError, SeedreamLedgerError
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.storage.folder import Folder

_FILTERS = {"dag_id": "DAG", "run_id": "DAG run", "task_id": "task", "results": "results"}


def stop(options: argparse.Namespace) -> int:
    """Write a request to stop. Running batches look every 30 s, deferred ones at least every 5 minutes.

    :param options: ``destination``, ``dag_id``, ``run_id``, ``task_id``, ``results`` and ``output``.
    :returns: 0.
    :raises SeedreamInputError: no task has written into this folder: a stop there would reach nobody.
    :raises SeedreamLedgerError: the storage does not take the request; no batch is stopped.
    """
    folder = Folder(options.destination)
    given = {name: getattr(options, name) for name in _FILTERS}
    for name, value in given.items():
        if value is not None and not value.strip():
            raise SeedreamInputError(f"--{name.replace('_', '-')} must not be blank.")
    by = None
    with suppress(Exception):  # a process without a user's name
        by = getpass.getuser()
    request = StopRequest(id=uuid.uuid4().hex, at=clock.to_iso(clock.now_epoch()), by=by, **given)
    try:
        is_used = bool(folder.list("_seedream"))
        if is_used:
            add_stop(folder, request)
    except Exception as error:  # each store has its own error classes
        failed = SeedreamLedgerError(
            f"The request to stop could not be written into {folder.base}, so no batch stops."
        )
        failed.cause = f"{type(error).__name__}: {error}"
        failed.on_retry = "Nothing was changed: try again."
        raise failed from error
    if not is_used:
        raise SeedreamInputError(
            f"There is no _seedream folder in {folder.base}. Is this the destination of the tasks?"
        )
    if options.output == "json":
        print_json(request.to_dict())
        return 0
    chosen = ", ".join(f"{words} {given[name]!r}" for name, words in _FILTERS.items() if given[name])
    print_lines(
        f"Asked the batches that run in {folder.base} now{f' ({chosen})' if chosen else ''} to stop.",
        [
            "Each sends no more rows within 30 s (a deferred one: when it wakes, within 5 min), lands what "
            "is in flight, and ends.",
            "The other rows are `skipped` in its results: clear the task to send them. Batches that begin "
            "later go on.",
        ],
    )
    return 0
