"""One task run by Airflow's task runner in a process of its own: for two at once, and for measuring memory.

Run as a module. It reads one line of JSON (`{"kind": "land" | "edit", "arguments": {...}, "warm_up":
{...}}`), prints "ready", waits for a line, runs the task and prints what became of it as JSON.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_provider_seedream.operators.seedream import SeedreamEditOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner

OPERATORS: dict[str, type] = {"land": SeedreamGenerationSensor, "edit": SeedreamEditOperator}


def run(kind: str, arguments: dict[str, Any]) -> Outcome:
    with DAG("process", schedule=None):
        task = OPERATORS[kind](task_id="one", **arguments)
    return Runner().run(task)


def resident_bytes(field: str) -> int:
    """`VmRSS` is what the process holds now, `VmHWM` the most it held since `forget_peak`."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    order = json.loads(sys.stdin.readline())
    if "warm_up" in order:  # what is imported and pooled once is not the price of a landing
        run(order["kind"], order["warm_up"])
    print("ready", flush=True)
    sys.stdin.readline()
    forget_peak()
    before = resident_bytes("VmRSS")
    outcome = run(order["kind"], order["arguments"])
    report = {
        "state": outcome.state,
        "tries": outcome.tries,
        "error": str(outcome.error or ""),
        "value": outcome.value,
        "grown_bytes": resident_bytes("VmHWM") - before,
    }
    print(json.dumps(report), flush=True)


class TaskProcess:
    """The other end: starts such a process; `go` lets it run its task, `report` waits for the end."""

    def __init__(
        self, kind: str, arguments: dict[str, Any], *, warm_up: dict[str, Any] | None = None
    ) -> None:
        command = [sys.executable, "-m", "tests.guarantees.landing_process"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._say(
            json.dumps({"kind": kind, "arguments": arguments} | ({"warm_up": warm_up} if warm_up else {}))
        )

    def ready(self) -> None:
        self._line("ready")

    def go(self) -> None:
        self._say("go")

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self._line("{"))
        self._process.communicate()
        return report

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _line(self, start: str) -> str:
        """The next line that begins so: Airflow prints its log in between."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(start):
                return line
        raise AssertionError(self._process.communicate()[1])


if __name__ == "__main__":
    main()
