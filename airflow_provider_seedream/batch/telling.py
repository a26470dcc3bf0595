"""Announces a finished batch: asset events and lineage of its tables, not of each image, as there may be
thousands.
"""

from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, Context

from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.observability.asset_events import announce_table
from airflow_provider_seedream.observability.lineage import report


def tell(context: Context, task: BaseOperator, summary: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Announce the tables of results, and report what was read and written.

    :param task: its ``requests``, ``outlets`` and ``seedream_conn_id``.
    :param summary: as the batch returns it.
    :returns: the tables that were read, and those that were written, for OpenLineage.
    """
    operator: Any = task
    made = [uri for uri in (summary["results"], summary["results_parquet"]) if uri]
    reads = [operator.requests] if isinstance(operator.requests, str) else []
    announce_table(context, operator.outlets, summary)
    report(SeedreamHook(operator.seedream_conn_id), reads=reads, writes=made)
    return reads, made
