"""tools/matrix.py: which interpreters count as found, and how results are kept. Its runs are CI's."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.compatibility import Result, merge, table
from tools.matrix import answers, interpreter

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def result(airflow: str, python: str, passed: int = 1, failed: int = 0) -> Result:
    return Result(
        airflow=airflow,
        python=python,
        tests="everyday",
        passed=passed,
        skipped=0,
        failed=failed,
        on="2026-11-22",
    )


class TestInterpreters:
    def test_the_one_that_runs_this_is_found(self) -> None:
        assert answers(sys.executable, HERE)

    def test_a_shim_that_leads_nowhere_is_none(self, tmp_path: Path) -> None:
        shim = tmp_path / "python3.14"
        shim.write_text("#!/bin/sh\necho 'pyenv: python3.14: command not found' >&2\nexit 127\n")
        shim.chmod(0o755)
        assert not answers(str(shim), "3.14")

    def test_there_is_none_of_a_version_that_does_not_exist(self) -> None:
        assert interpreter("3.99") is None


class TestResults:
    def test_a_later_result_takes_the_place_of_an_earlier_one_of_the_same_minor_versions(self) -> None:
        rows = merge(
            [result("3.3.1", "3.11.7"), result("3.1.8", "3.13.0")],
            [result("3.3.2", "3.11.9"), result("3.3.2", "3.12.1")],
        )
        assert [(row.airflow, row.python) for row in rows] == [
            ("3.1.8", "3.13.0"),
            ("3.3.2", "3.11.9"),
            ("3.3.2", "3.12.1"),
        ]

    def test_a_beta_stands_behind_the_releases(self) -> None:
        rows = merge([result("3.4.0b2", "3.11.7")], [result("3.3.2", "3.13.0"), result("3.10.0", "3.11.7")])
        assert [row.airflow for row in rows] == ["3.3.2", "3.4.0b2", "3.10.0"]

    def test_the_table_does_not_hide_what_failed(self) -> None:
        assert "| 1,200 passed, 2 failed |" in table([result("3.3.2", "3.11.7", passed=1200, failed=2)])
