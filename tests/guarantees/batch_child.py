"""A batch in a worker of its own, so that it can be killed: works off a table through Airflow's real task
runner.

python -m tests.guarantees.batch_child ended.json '{"requests": "file:///...", "destination": "file:///..."}'
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.airflow.warm import Child, start


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The task in another process, which writes down how it ended: its output is a log, and a full pipe
    would stop it.
    """

    process: Child
    notes: Path

    def wait(self) -> Ended:
        assert self.process.wait() == 0
        return Ended(**json.loads(self.notes.read_text()))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def start_batch(folder: Path, connection: str, **options: Any) -> Worker:
    notes = folder / f"ended-{uuid.uuid4().hex}.json"
    environment = os.environ | {"AIRFLOW_CONN_SEEDREAM_DEFAULT": connection}
    return Worker(process=start(__name__, str(notes), json.dumps(options), env=environment), notes=notes)


def main(notes: str, options: dict[str, Any]) -> None:
    began = time.monotonic()
    outcome = Runner(patience_seconds=600).run(batch_task(**options))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    ended = Ended(
        state=outcome.state,
        value=outcome.value,
        error=str(outcome.error) if outcome.error else None,
        seconds=time.monotonic() - began,
        peak_bytes=peak,
    )
    Path(notes).write_text(json.dumps(asdict(ended)))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
