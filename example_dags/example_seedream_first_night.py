"""The first big night: a plan, a cap, a sample that a person looks at, a brake. A broken template costs the
sample, not the table.

The question stands under Browse, Required Actions. Its pictures need `[seedream] gallery_roots`.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_seedream.bounds import Sample, StopWhen
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator

TABLE = Path(__file__).parent / "sources" / "catalogue.csv"
WHAT: dict[str, Any] = {
    "requests": "{{ params.table }}",
    "template": "a {{ product }} on {{ background | default('a plain table') }}, morning light",
    "image_size": "landscape_4_3",
}


@task
def explain(summary: Any) -> str:
    count = {status: number for status, number in summary["count"].items() if number}
    return f"{summary['credits']} credits, {count}: {summary['results']}"


with DAG(
    "example_seedream_first_night",
    description="The first big night: plan, cap, sample, brake",
    schedule=None,
    default_args={"retries": 2},
    params={"table": TABLE.as_uri()},
    tags=["seedream"],
):
    plan = SeedreamBatchOperator(task_id="plan", dry_run=True, **WHAT)  # free: what the night would pay now
    images = SeedreamBatchOperator(
        task_id="images",
        results="first-night-{{ dag_run.run_after | ts_nodash }}",
        max_credits=60_000,
        sample=Sample(rows=2, response_timeout=timedelta(hours=12)),  # of 5,000 rows: 20
        stop_when=StopWhen(share=0.3, of_last=50),
        on_error="continue",
        deferrable=True,
        **WHAT,
    )
    plan >> images
    explain(images.output)
