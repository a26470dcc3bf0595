"""A worker in a process of its own, so that it can be killed: submits one request through Airflow's real task
runner.

python -m tests.guarantees.child '{"prompt": "a watch", "destination": "file:///..."}'
"""

from __future__ import annotations

import json
import sys
from typing import Any

from airflow.sdk import DAG

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from tests.airflow.runner import Outcome, Runner
from tests.airflow.warm import Child, start


def submit_task(**options: Any) -> Any:
    """The task that child and parent both run: the same DAG, run and task ids, hence the same request."""
    with DAG("guarantees", schedule=None):
        return SeedreamGenerateOperator(task_id="submit", **options)


def start_child(**options: Any) -> Child:
    """The task in another process, its outcome as its exit code."""
    return start(__name__, json.dumps(options))


def main(options: dict[str, Any]) -> int:
    outcome: Outcome = Runner().run(submit_task(**options))
    return 0 if outcome.state == "success" else 1


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
