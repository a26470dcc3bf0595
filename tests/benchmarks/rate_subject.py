"""Subject: batches, each worked off by a process of its own with the build that ``PYTHONPATH`` names, today's
or a released one.

It reads one task a line as JSON, forks a process that has imported everything, and prints its id. That
process writes what it found to a file, or is killed before. It imports nothing of the package but what both
builds have.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

import airflow_provider_seedream
from airflow_provider_seedream.operators.seedream import SeedreamBatchOperator
from tests.airflow.runner import Runner

WINDOW_SECONDS = 61.0  # the minute in which requests count, and the margin that the provider keeps
_PR_SET_PDEATHSIG = 1  # linux/prctl.h: a batch ends with its parent


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children here
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        task = json.loads(line)
        if pid := os.fork():
            print(pid, file=answers, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for stream in (0, 1, 2):  # its parent's are pipes that end with it
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        aside = Path(task["notes"]).with_suffix(".aside")
        try:
            aside.write_text(json.dumps(work(task)))
        except BaseException:
            aside.write_text(json.dumps({"error": traceback.format_exc()}))
        aside.rename(task["notes"])
        os._exit(0)


def work(task: dict[str, Any]) -> dict[str, Any]:
    assert Path(airflow_provider_seedream.__file__).is_relative_to(task["build"]), (
        airflow_provider_seedream.__file__
    )
    os.environ.update(task["environment"])
    with DAG("rate", schedule=None):
        batch = SeedreamBatchOperator(task_id="batch", deferrable=False, **task["options"])
    fill_window(task["requests_per_minute"])
    began, used = time.time(), time.process_time()
    outcome = Runner(patience_seconds=3600).run(batch)
    return {
        "ended_epoch": time.time(),
        "seconds": time.time() - began,
        "cpu_seconds": time.process_time() - used,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "count": outcome.value["count"] if outcome.value else {},
        "error": str(outcome.error) if outcome.error else None,
    }


def fill_window(requests_per_minute: float) -> None:
    """Go on as after a minute at the limit: the first minute allows a burst, and a burst says nothing
    about a rate.
    """
    try:
        from airflow_provider_seedream.rate_limit.limiter import limiter_for as pacer_for
    except ModuleNotFoundError:  # 0.2.0
        from airflow_provider_seedream.pacing import pacer_for  # type: ignore[import-not-found, no-redef, unused-ignore]
    pacer, count = pacer_for("seedream_default", requests_per_minute), int(requests_per_minute)
    began = time.time() - WINDOW_SECONDS
    for number in range(count):
        pacer.take(began + (number + 1) * WINDOW_SECONDS / count)


if __name__ == "__main__":
    main()
