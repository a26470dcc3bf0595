"""CPU and modules that code adds beyond what ``airflow.sdk`` has loaded already, each time in a fresh
process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from tests.benchmarks.measuring import CHECKOUT

_CODE = """
import json, sys, time
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, ObjectStoragePath
before, start = set(sys.modules), time.process_time()
exec(sys.argv[1])
seconds = time.process_time() - start
print(json.dumps([seconds, len(set(sys.modules) - before)]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """The least CPU of the rounds, and how many modules came with it."""

    cpu_seconds: float
    modules: int


def measure_imports(groups: dict[str, tuple[str, ...]], *, rounds: int) -> dict[str, Import]:
    """Each group of modules that is installed, in turns."""
    return measure_code(
        {
            name: f"import {', '.join(modules)}"
            for name, modules in groups.items()
            if all(map(_is_installed, modules))
        },
        rounds=rounds,
    )


def measure_code(codes: dict[str, str], *, rounds: int) -> dict[str, Import]:
    """Each piece of code, in turns."""
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            found[name].append(_run(code))
    return {name: Import(cpu_seconds=min(times)[0], modules=min(times)[1]) for name, times in found.items()}


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _run(code: str) -> tuple[float, int]:
    done = subprocess.run(
        [sys.executable, "-c", _CODE, code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    seconds, count = json.loads(done.stdout.splitlines()[-1])
    return seconds, count
