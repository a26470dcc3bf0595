"""A DAG file that imports our operators pays for them alone: what they need to act is imported when they
act.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

import pytest

DAG_FILE_NAMES = ("operators.seedream", "operators.batch", "sensors.seedream")
HEAVY = (
    "requests",
    "aiohttp",
    "tenacity",
    "fsspec",
    "upath",
    "imagesize",
    "airflow.sdk.io",
    "airflow.models",
    "sqlalchemy",
)
# rooms and modules that only a running task needs: each class and pattern of theirs is made anew in every
# parse
ENGINE = (
    "batch",
    "emulator",
    "hooks",
    "landing",
    "ledger",
    "model.images",
    "observability",
    "polling",
    "rate_limit",
    "triggers",
)
MOST_MODULES = 36  # of ours: bounds, tables and labels are arguments of operators, so a DAG file names them
SERVER = """
import json, os, sys
{before}
for line in sys.stdin:
    reads, writes = os.pipe()
    if not os.fork():  # the child alone imports what is asked for
        before = set(sys.modules)
        exec("import " + json.loads(line))
        os.write(writes, json.dumps(sorted(set(sys.modules) - before)).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as answer:
        print(answer.read() or "failed", flush=True)
    os.wait()
"""


@cache
def _python_with(before: str) -> subprocess.Popen[str]:
    """A Python that has imported this much; it ends with its standard input, which is ours."""
    command = [sys.executable, "-c", SERVER.format(before=before)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def imported_by(module: str, *, before: str = "import airflow.sdk") -> list[str]:
    """The modules that an import adds to a process that has imported ``before`` and nothing else."""
    python = _python_with(before)
    assert python.stdin is not None and python.stdout is not None
    python.stdin.write(f"{json.dumps(module)}\n")
    python.stdin.flush()
    for line in python.stdout:
        if line.startswith("["):  # what imports print comes before it
            return list(json.loads(line))
        if line == "failed\n":
            break
    pytest.fail(f"import {module} failed, see what Python wrote to standard error")


def within(names: list[str], packages: tuple[str, ...]) -> list[str]:
    return [
        name
        for name in names
        if name.startswith(tuple(f"{package}." for package in packages)) or name in packages
    ]


@pytest.fixture(scope="module")
def added() -> list[str]:
    """Beside what any operator of any provider loads: in Airflow 3.4 that is more than ``import
    airflow.sdk`` loads.
    """
    base = (
        "import airflow.sdk; from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator"
    )
    return imported_by(", ".join(f"airflow_provider_seedream.{name}" for name in DAG_FILE_NAMES), before=base)


class TestImportingWhatADagFileNames:
    def test_no_http_or_storage_library_comes_with_it(self, added: list[str]) -> None:
        assert within(added, HEAVY) == []

    def test_no_engine_of_ours_comes_with_it(self, added: list[str]) -> None:
        assert within(added, tuple(f"airflow_provider_seedream.{name}" for name in ENGINE)) == []

    def test_it_is_a_handful_of_modules(self, added: list[str]) -> None:
        ours = within(added, ("airflow_provider_seedream",))
        assert len(ours) <= MOST_MODULES, ours

    def test_the_decorators_add_themselves_alone(self) -> None:
        before = ", ".join(f"airflow_provider_seedream.{name}" for name in DAG_FILE_NAMES)
        added = imported_by(
            "airflow_provider_seedream.decorators.seedream", before=f"import airflow.sdk, {before}"
        )
        assert within(added, ("airflow_provider_seedream",)) == [
            "airflow_provider_seedream.decorators",
            "airflow_provider_seedream.decorators.seedream",
        ]


class TestTheProviderInfo:
    def test_it_imports_nothing_but_itself(self) -> None:
        """Every Airflow process loads it."""
        added = imported_by("airflow_provider_seedream.provider_info", before="import typing")
        assert added == ["airflow_provider_seedream", "airflow_provider_seedream.provider_info"]
