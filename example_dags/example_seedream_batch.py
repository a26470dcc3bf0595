"""A campaign from a table: one task pays for each row once, within a budget, lands its images and writes a
table of results.

Start it with another table in `table`, a CSV, JSON lines or Parquet file in your bucket. What did not land is
listed at the end.
"""

import json
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, XComArg, task

from airflow_provider_seedream.operators.batch import SeedreamBatchOperator

TABLE = Path(__file__).parent / "sources" / "catalogue.csv"


@task
def list_unlanded(results: Any) -> list[dict[str, Any]]:
    with ObjectStoragePath(results).open() as table:
        return [row for row in map(json.loads, table) if row["status"] != "landed"]


with DAG(
    "example_seedream_batch",
    description="A campaign from a table: each row is paid once, within a budget, and a table of results is "
    "written",
    schedule=None,
    default_args={"retries": 2},
    params={"table": TABLE.as_uri()},
    tags=["seedream"],
):
    campaign = SeedreamBatchOperator(
        task_id="campaign",
        requests="{{ params.table }}",
        template="a {{ product }} on {{ background | default('a plain table') }}, morning light",
        image_size="portrait_4_3",
        results="campaign-{{ dag_run.run_after | ts_nodash }}",
        max_credits=500,
        on_error="continue",
        deferrable=True,
    )
    list_unlanded(XComArg(campaign, "results"))
