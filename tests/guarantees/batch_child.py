"""A batch in a worker of its own, so that it can be killed: works off a table through Airflow's real task runner.

python -m tests.guarantees.batch_child '{"requests": "file:///...", "destination": "file:///..."}'
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from airflow.sdk import DAG

from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a worker ended, and what it took."""

    state: str
    value: dict[str, Any] | None
    error: str | None
    seconds: float
    peak_bytes: int


def batch_task(**options: Any) -> SeedreamBatchOperator:
    """The task that every child runs: the same DAG, run and task ids, hence the same requests."""
    with DAG("guarantees", schedule=None):
        return SeedreamBatchOperator(task_id="batch", deferrable=False, **options)


def start_batch(connection: str, **options: Any) -> subprocess.Popen[str]:
    """The task in another process, which prints how it ended."""
    return subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"AIRFLOW_CONN_SEEDREAM_DEFAULT": connection},
    )


def ended(child: subprocess.Popen[str]) -> Ended:
    """Wait for a child."""
    said, _ = child.communicate()
    return Ended(**json.loads(said.splitlines()[-1]))


def main(options: dict[str, Any]) -> None:
    began = time.monotonic()
    outcome = Runner(patience_seconds=600).run(batch_task(**options))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    error = str(outcome.error) if outcome.error else None
    seconds = time.monotonic() - began
    print(json.dumps({"state": outcome.state, "value": outcome.value, "error": error, "seconds": seconds, "peak_bytes": peak}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
