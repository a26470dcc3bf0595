"""A dry run of a batch: the table checked, priced and compared with the ledger, in one pass over its rows.

Sends no request and writes no file. Works without a connection, at the documented price and rate.
"""

from collections.abc import Callable
from typing import Any

from airflow_provider_seedream.batch.limits import Limits
from airflow_provider_seedream.batch.planning import plan_table
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.table_summary import TableSummary, summarise
from airflow_provider_seedream.batch.upcoming import RequestTable
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.request import Request
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.task_ref import TaskRef


def dry_run(
    table: RequestTable,
    limits: Limits,
    *,
    on_error: str,
    ledger: Callable[[], Ledger],
    request_of: Callable[[Row], Request],
    made_by: TaskRef,
) -> dict[str, Any]:
    """The totals of the table, and as ``plan`` the cost of a run now; None if no destination is known.

    :param on_error: the operator's argument: with ``fail`` one invalid row refuses the table.
    :param ledger: of the destination; called if the task or the connection names one.
    :param request_of: the request that the task would make of a row.
    :param made_by: the task.
    :raises SeedreamInputError: the table cannot be read, or rows are invalid and refuse it.
    :raises SeedreamLedgerError: the ledger cannot be read: it may tell of payments.
    """
    if limits.has_destination:
        totals, now = TableSummary(credits_per_image=limits.credits_per_image), clock.now_epoch()
        made = plan_table(
            table,
            request_of=request_of,
            ledger=ledger(),
            made_by=made_by,
            limits=limits.of_plan(),
            now_epoch=now,
            summary=totals,
            room=limits.room(now),
        )
        plan: dict[str, Any] | None = made.to_dict()
    else:
        totals, plan = summarise(table, limits.credits_per_image), None
    totals.check(on_error)
    return {**totals.to_dict(), "plan": plan}
