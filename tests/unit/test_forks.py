"""Airflow forks task processes, from a process that may have threads: no lock and no count of theirs stays
with the task.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit import forks


@pytest.mark.parametrize("name", [check.__name__ for check in forks.CHECKS])
def test_in_a_forked_task(name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.unit.forks", name],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
