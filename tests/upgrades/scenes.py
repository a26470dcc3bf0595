"""The DAG of the upgrade test. Both builds make it: the released one leaves its tasks somewhere, today's
goes on from there.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_seedream.operators.seedream import SeedreamBatchOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor, SeedreamGenerationSensor

# The key of a record depends on the destination's URI, so the destination must be the same on every machine
# and in every run.
DESTINATION = "memory://upgrade/images"
ROOT = "/upgrade/images/"
POKE_SECONDS = 0.1
RECORDS = ("intent", "unknown", "submitted", "landed", "partial", "failed", "refunded", "expired")
_PROMPTS = {
    "partial": "a watch of which images lack [one-null]",
    "failed": "a watch [finished-failed]",
    "refunded": "a watch [fail]",
}
TABLE = [{"prompt": f"picture {number}", "name": f"picture_{number}"} for number in range(6)]
SENT_ROWS = 3  # of the table, by the released build


def attach_storage() -> MemoryFileSystem:
    """Make ``memory://`` a store of this process."""
    MemoryFileSystem.store.clear()
    files = MemoryFileSystem()
    attach("memory", fs=files)
    return files


def tasks() -> dict[str, Any]:
    """Every task by its id; two for each outcome that a record has: one submits, one lands."""
    common = {"destination": DESTINATION, "poke_interval": POKE_SECONDS}
    with DAG("upgrade", schedule=None) as dag:
        for outcome in RECORDS:
            prompt = _PROMPTS.get(outcome, f"a watch that is {outcome}")
            submit = SeedreamGenerateOperator(
                task_id=outcome, prompt=prompt, num_images=2, name=outcome, **common
            )
            SeedreamGenerationSensor(
                task_id=f"land_{outcome}",
                generation=submit.output,
                deferrable=True,
                poke_interval=POKE_SECONDS,
                settling_seconds=0.5,
                timeout=3600,
            )
        SeedreamGenerateOperator(
            task_id="waits", prompt="a watch to wait for", wait=True, deferrable=True, **common
        )
        SeedreamGenerateOperator(
            task_id="turn", prompt="a watch in turn", deferrable=True, name="turn", **common
        )
        SeedreamCreditsSensor(
            task_id="top_up", min_credits=10**6, deferrable=True, poke_interval=1, timeout=3600
        )
        SeedreamBatchOperator(task_id="table", requests=TABLE[:2], results="table", **common)
        rows = [{**row, "name": f"half_{row['name']}"} for row in TABLE]
        paced = {**common, "seedream_conn_id": "seedream_paced"}
        SeedreamBatchOperator(task_id="half", requests=rows, results="half", deferrable=True, **paced)
    return {task.task_id: task for task in dag.tasks}
