"""The results of a batch in a table of a database: inserted or updated by key, and only where they differ.

One transaction, so readers see the old rows or all of the new ones. Memory holds 500 rows. Loaded when a
batch has such a table, and never imports a driver: Airflow's hook does.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, cast

from airflow.providers.common.compat.sdk import AirflowFailException
from sqlalchemy.exc import NoSuchTableError

from airflow_provider_seedream.batch.databases import short_text
from airflow_provider_seedream.batch.target_table import ROWS_AT_A_TIME, Counts, TargetTable, connected
from airflow_provider_seedream.exceptions import Paid, SeedreamError, final
from airflow_provider_seedream.storage.folder import Folder
from airflow_provider_seedream.tables import ResultsTable

_PIECE_BYTES = 4 * 1024 * 1024  # of the published results, for each request to the store
_log = logging.getLogger(__name__)


def write_results(
    asked: ResultsTable, lines: Callable[[], Iterator[Mapping[str, Any]]], *, results: str, paid: Paid = "yes"
) -> Counts:
    """Insert the results that the table lacks, and update those that differ::

        # 0 at the second time
        write_results(asked, lambda: iter(lines), results="s3://my_conn@bucket/results.jsonl").updated

    A row of the same generation keeps its price: a later run finds the generation paid, and its own results
    say 0 credits.

    :param lines: gives the lines of the results. It is called twice, as only the last line may have a column
        of its own.
    :param results: URI of the published results, for the error.
    :param paid: whether rows of them were paid, for the error.
    :raises SeedreamError: the table could not be written and is as it was. It is final if a retry would be
        refused again.
    """
    counts = Counts()
    try:
        with connected(asked) as connection:
            target = TargetTable(connection, asked)
            # a line lacks free columns that others have
            empty = {name: None for line in lines() for name in line}
            remaining = lines()
            while some := list(islice(remaining, ROWS_AT_A_TIME)):
                values = [
                    target.values(empty | dict(line), f"row {line['row']} of the results") for line in some
                ]
                counts = Counts(*map(sum, zip(counts, target.write(connection, values), strict=True)))
    except Exception as error:  # of the driver, or of the store that has the results
        message = (
            error.message
            if isinstance(error, SeedreamError)
            else f"{type(error).__name__}: {short_text(error)}"
        )
        failed = SeedreamError(
            f"The table {asked.table} of connection {asked.conn_id!r} was not written, and is as it was. "
            f"Landed images are in the destination, the results in {results}.",
            paid=paid,
            verdict="TABLE NOT WRITTEN",
            cause=message.removeprefix("results_table: "),
        )
        failed.on_retry = (
            "A retry, or a clear when the cause is gone, writes the table again and pays for no row twice."
        )
        raise (
            final(failed) if isinstance(error, AirflowFailException | NoSuchTableError) else failed
        ) from error
    return counts


def with_table(
    asked: ResultsTable, folder: Folder, summary: dict[str, Any], error: SeedreamError | None
) -> SeedreamError | None:
    """Write the table of a batch that has published its results.

    :param summary: of the batch; it gets the counts as ``results_table``.
    :param error: of the rows. It goes first if a retry can help them, as the retry then writes the table,
        too.
    :returns: the error that the batch ends with; None if it succeeds.
    """
    results, paid = summary["results"], "yes" if summary["credits"] else "no"
    try:
        counts = write_results(
            asked, lambda: _lines(folder, results.rpartition("/")[2]), results=results, paid=cast(Paid, paid)
        )
    except SeedreamError as failed:
        told, other = (
            (error, failed) if error and not isinstance(error, AirflowFailException) else (failed, error)
        )
        if other:
            _log.error("%s", other)  # a task ends with one error
        return told
    summary["results_table"] = {"table": asked.table, **counts._asdict()}
    _log.info("Table %s, rows: %d inserted, %d updated, %d as they were.", asked.table, *counts)
    return error


def _lines(folder: Folder, file: str) -> Iterator[Mapping[str, Any]]:
    """The lines of a published table of results, read in pieces."""
    rest = b""
    for start in range(0, folder.size_bytes(file) or 0, _PIECE_BYTES):
        piece = folder.read(file, start=start, max_bytes=_PIECE_BYTES) or b""
        *whole, rest = (rest + piece).split(b"\n")
        yield from map(json.loads, whole)
