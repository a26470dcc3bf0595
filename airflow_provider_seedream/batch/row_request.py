"""The request of a row, for the run that pays it and for the plan that says so: both must find the same
record.

Reads the sources of an edit, and sends nothing.
"""

from typing import Any

from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.ledger.record import Reuse
from airflow_provider_seedream.ledger.request import Request
from airflow_provider_seedream.model.submissions import submission_of
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.tasks.sources import read_sources


def request_of_row(row: Row, /, *, destination: str, made_by: TaskRef, reuse: Reuse, **more: Any) -> Request:
    """The request that a task makes of a row. Its key holds the hashes of the sources, so each source is
    read.

    :param destination: storage URI of the folder.
    :param made_by: the task that pays, or would pay.
    :param more: further fields of the request, which are no part of its key.
    :raises SeedreamInputError: a source is no image that the API takes.
    :raises SeedreamError: a storage does not answer.
    """
    return Request(
        submission=submission_of(row, read_sources(list(row.images)) if row.images else ()),
        destination=destination,
        name=row.name,
        name_as_written=row.name_as_written,
        made_by=made_by,
        reuse=reuse,
        **more,
    )
