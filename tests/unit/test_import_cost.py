"""A DAG file that imports our operators pays for them alone: what they need to act is imported when they act."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("requests", "aiohttp", "tenacity", "fsspec", "upath", "imagesize", "airflow.sdk.io", "airflow.models", "sqlalchemy")
ACTING = (
    "hooks",
    "ledger.records",
    "ledger.budgets",
    "ledger.submit",
    "landing.land",
    "landing.finish",
    "triggers",
    "batch.runner",
    "emulator",
)
SCRIPT = """
import json, sys
{before}
before = set(sys.modules)
import {module}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def imported_by(module: str, *, before: str = "import airflow.sdk") -> list[str]:
    """The modules that an import adds to a fresh process."""
    script = SCRIPT.format(before=before, module=module)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return list(json.loads(ended.stdout.splitlines()[-1]))


def within(names: list[str], packages: tuple[str, ...]) -> list[str]:
    return [name for name in names if name.startswith(tuple(f"{package}." for package in packages)) or name in packages]


@pytest.fixture(scope="module")
def added() -> list[str]:
    return imported_by("airflow_provider_seedream.operators.seedream, airflow_provider_seedream.sensors.seedream")


class TestImportingWhatADagFileNames:
    def test_no_http_or_storage_library_comes_with_it(self, added: list[str]) -> None:
        assert within(added, HEAVY) == []

    def test_nothing_of_ours_that_acts_comes_with_it(self, added: list[str]) -> None:
        assert within(added, tuple(f"airflow_provider_seedream.{name}" for name in ACTING)) == []

    def test_it_is_a_handful_of_modules(self, added: list[str]) -> None:
        assert len(added) < 60, added


class TestTheProviderInfo:
    def test_it_imports_nothing_but_itself(self) -> None:
        """Every Airflow process loads it."""
        added = imported_by("airflow_provider_seedream.provider_info", before="import typing")
        assert added == ["airflow_provider_seedream", "airflow_provider_seedream.provider_info"]
