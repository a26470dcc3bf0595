"""The name of a table of results, reserved for one task instance, so that no batch overwrites the results
of another.
"""

from typing import Any

from airflow_provider_seedream.batch.table_files import is_part
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.model.submissions import sha256_json
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.storage.folder import Folder
from airflow_provider_seedream.storage.uris import place_of


def reserve_results(ledger: Ledger, name: str, by: TaskRef) -> None:
    """Reserve the name of the table of results for this task instance, in a loop for this round. Its retries
    have it already.

    Without the reservation two batches of one DAG run, or two rounds of one batch, could overwrite each
    other's table.

    :param ledger: of the destination; it keeps the reservation.
    :param name: the stem of the table, e.g. ``results``.
    :raises SeedreamInputError: another batch has it.
    :raises SeedreamLedgerError: the storage does not answer.
    """
    if any(ledger.reserve_name(name, key) for key in owner_keys(by)):
        return
    unique = "{{ dag_run.run_after | ts_nodash }}" if by.loop_index is None else "{{ loop.index }}"
    raise SeedreamInputError(
        f"results {name!r} in {ledger.folder.base} belong to another batch. Make the name unique, e.g. with "
        f"{unique}."
    )


def check_apart(requests: Any, folder: Folder, name: str) -> None:
    """Check that the batch does not write into its own table of requests.

    :param requests: as the operator's; only a URI can be in the way.
    :param folder: of the destination. :param name: the stem of the table of results.
    :raises SeedreamInputError: the results would overwrite the table, or images and manifests would be read
        as rows of it.
    """
    if not isinstance(requests, str):
        return
    kind, table = place_of(requests.strip())
    for uri in (folder.uri(f"{name}.jsonl"), folder.uri(f"{name}.parquet")):
        its_kind, place = place_of(uri)
        if (its_kind, place) == (kind, table):
            raise SeedreamInputError(
                f"results {name!r} would overwrite the table of requests, {requests}: choose another name."
            )
        below = place.removeprefix(f"{table}/")
        if its_kind == kind and below != place and is_part(below):
            raise SeedreamInputError(
                f"destination {folder.base} lies in the folder of the requests, {requests}, so images and "
                "manifests would be read "
                "as its rows. Choose another folder, or one below it whose name begins with '_'."
            )


def owner_keys(by: TaskRef) -> tuple[str, str]:
    """The keys under which a task instance reserves the name: with the name of its installation, and without,
    as before it had one.

    The gallery finds out by the reservation whose table it reads, as the lines do not say so.
    """
    mine = [
        "results",
        by.dag_id,
        by.run_id,
        by.task_id,
        by.map_index,
        *([] if by.loop_index is None else [f"loop {by.loop_index}"]),
    ]
    return sha256_json([*mine, by.installation] if by.installation else mine), sha256_json(mine)
