"""The end of a batch whose rows have all ended: results published, a table of a database written, and the
summary or the error that the task ends with. Sends no request for a row, and imports no SQLAlchemy unless
asked for such a table.
"""

from contextlib import suppress
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_seedream.batch.endings import halted, summed_up
from airflow_provider_seedream.batch.parts import Parts
from airflow_provider_seedream.batch.worker import Waves
from airflow_provider_seedream.model import clock

SUMMARY_VERSION = 1


def finish(parts: Parts, waves: Waves) -> dict[str, Any]:
    """Publish the results and return the summary, or raise the error that the rows add up to.

    After a halt nothing is published: rows that were not sent have no result. A retry goes on.
    """
    folder, progress = parts.ledger.folder, waves.progress
    if progress.halt:
        landed, credits_ = waves.results.landed(progress.rows)
        raise halted(
            progress,
            landed=landed,
            credits_=credits_,
            has_retry_policy=parts.asked.retry_policy is not None,
        )
    made = waves.results.finish(
        progress.rows, parts.asked.results_name(parts.by), parquet=parts.asked.wants_parquet
    )
    with suppress(Exception):  # best effort: the file is not read again
        folder.delete(f"{progress.results['prefix']}/progress.json")
    summary = {"schema_version": SUMMARY_VERSION, "destination": folder.base, **made}
    parts.context["ti"].xcom_push("results", made["results"])
    error = summed_up(
        progress,
        summary,
        parts.asked,
        host=parts.hook.settings.base_url,
        now_epoch=clock.now_epoch(),
    )
    if parts.asked.results_table:
        from airflow_provider_seedream.batch.results_table import with_table

        error = with_table(parts.asked.results_table, folder, summary, error)
    if error:
        raise error
    if progress.stop and progress.stop["by"] == "sample":
        raise AirflowSkipException(progress.stop["message"])
    return summary
