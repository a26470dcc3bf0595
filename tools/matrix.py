"""Runs the corners of what is supported, each Airflow and Python in an environment of its own, and writes
down what passed.

`python -m tools.matrix [--build | --ran VENV] [AIRFLOW-PYTHON ...]`, as in `3.3-3.13`; without a name, all of
them. Two corners run at a time, as their tests wait for much; what each prints is shown when it has ended. A
corner without its interpreter on this machine is named and left out, which is no failure; what was found for
it before is kept, with its date. `--build` makes the environments and runs nothing: any Python can do that
while another one tests.
"""

# ruff: noqa: T201, S603 - it speaks to the person who ran it; the commands are our own words

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

from tools import compatibility
from tools.compatibility import Result

CHECKOUT = Path(__file__).parents[1]
_WITHOUT_FAULTS = (
    *(f"tests/{folder}" for folder in ("unit", "faces", "cli", "gallery")),
    *(f"tests/{file}.py" for file in ("test_example_dags", "test_docs", "airflow/test_runner")),
)
# What meets a new Airflow first: whole tasks, deferred and not, our faces in a DAG, what a DAG file loads,
# the gallery's queries.
_TASKS = (
    *(
        "tests/faces",
        "tests/test_example_dags.py",
        "tests/unit/test_import_cost.py",
        "tests/airflow/test_runner.py",
    ),
    *(f"tests/gallery/test_{name}.py" for name in ("pages", "loops", "batches", "approval", "plugin")),
)
# What asks Airflow for nothing: proved once for each Python, as another Airflow cannot change it.
_PURE = ("tests/emulator", "tests/unit/model", "tests/unit/polling")
_MAIN_PYTHON = "3.11"
_AT_ONCE = 2
_WORKERS = str(3 * (os.cpu_count() or 1) // _AT_ONCE)  # of each corner: most tests wait for something
_BETA = " (not released: what fails there is shown, and fails nothing)"
MAIN_CONSTRAINTS = "constraints.txt"
_ASK = """
import platform
from importlib.metadata import version
print(version("apache-airflow"), platform.python_version())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corner:
    """One Airflow on one Python; `everyday` runs all everyday tests, else those that inject no faults.

    `is_beta`: an Airflow that is not released. Its tests are those of whole tasks, and their failures are
    shown and are no failure.
    """

    airflow: str
    python: str
    constraints: str = MAIN_CONSTRAINTS
    everyday: bool = False
    is_beta: bool = False

    @property
    def name(self) -> str:
        return f"{self.airflow}-{self.python}"

    @property
    def venv(self) -> Path:
        return Path(".venvs") / (
            f"airflow-{self.airflow}" + ("" if self.python == _MAIN_PYTHON else f"-python-{self.python}")
        )

    @property
    def is_another_airflow(self) -> bool:
        """Whether the main environment has the same Python and another Airflow."""
        return self.python == _MAIN_PYTHON and self.constraints != MAIN_CONSTRAINTS

    @property
    def _selected(self) -> list[str]:
        """Which tests run here, as pytest takes them."""
        if self.is_beta:
            return list(_TASKS)
        left_out = [f"--ignore={path}" for path in _PURE] if self.is_another_airflow else []
        return [*(() if self.everyday else _WITHOUT_FAULTS), *left_out]

    def build(self, interpreter: str, *, log: IO[str] | None = None) -> bool:
        """Make the environment, unless it is there; if it cannot be made, why has been printed."""
        install = [
            "make",
            "-s",
            f"{self.venv}/.test",
            f"VENV={self.venv}",
            f"CONSTRAINTS={self.constraints}",
            f"PYTHON={interpreter}",
        ]
        return subprocess.run(install, cwd=CHECKOUT, check=False, stdout=log, stderr=log).returncode == 0

    def run(self, interpreter: str, *, log: IO[str]) -> Result | None:
        """None if not even the environment could be made."""
        if not self.build(interpreter, log=log):
            return None
        report = CHECKOUT / self.venv / "report.xml"
        report.unlink(missing_ok=True)
        options = ["-q", "-n", _WORKERS, f"--junit-xml={report}"]
        command = [f"{self.venv}/bin/python", "-m", "pytest", *options, *self._selected]
        subprocess.run(command, cwd=CHECKOUT, check=False, stdout=log, stderr=log)
        return read(CHECKOUT / self.venv, tests=self.tests) if report.exists() else None

    @property
    def tests(self) -> str:
        """The name of its selection, as the page has it."""
        return "whole tasks (beta)" if self.is_beta else "everyday" if self.everyday else "without faults"


CORNERS = (
    Corner(airflow="3.1", python="3.11", constraints="constraints-airflow-3.1.txt", everyday=True),
    Corner(airflow="3.2", python="3.11", constraints="constraints-airflow-3.2.txt"),
    Corner(airflow="3.3", python="3.11", everyday=True),
    Corner(airflow="3.3", python="3.12"),
    Corner(airflow="3.3", python="3.13"),
    Corner(airflow="3.3", python="3.14"),
    Corner(airflow="3.4", python="3.11", constraints="constraints-airflow-3.4.txt", is_beta=True),
)


def read(venv: Path, *, tests: str) -> Result:
    """What pytest left in `report.xml`, with the versions that the environment has."""
    airflow, python = subprocess.check_output([venv / "bin" / "python", "-c", _ASK], text=True).split()
    suites = list(ET.parse(venv / "report.xml").getroot())  # noqa: S314 - pytest wrote it
    total, skipped, failures, errors = (
        sum(int(suite.get(key, "0")) for suite in suites)
        for key in ("tests", "skipped", "failures", "errors")
    )
    failed = failures + errors
    return Result(
        airflow=airflow,
        python=python,
        tests=tests,
        passed=total - skipped - failed,
        skipped=skipped,
        failed=failed,
        on=datetime.now(UTC).date().isoformat(),
    )


def interpreter(python: str) -> str | None:
    """A Python of this minor version: from PATH, or one that pyenv keeps."""
    return next((found for found in _candidates(python) if answers(found, python)), None)


def _candidates(python: str) -> Iterator[str]:
    if found := shutil.which(f"python{python}"):
        yield found
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from (str(path) for path in sorted(root.glob(f"versions/{python}.*/bin/python"), reverse=True))


def answers(command: str, python: str) -> bool:
    """pyenv's shims are on PATH for versions that are not switched on; asking is the only way to know."""
    asked = subprocess.run(
        [command, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() == python


def build(corner: Corner) -> tuple[bool, None]:
    """Whether the environment is there, or cannot be wanted as its Python is not on this machine."""
    found = _named(corner)
    return found is None or corner.build(found), None


def run(corner: Corner) -> tuple[bool, Result | None]:
    """Whether the tests of a corner ran, or cannot as its Python is not on this machine; and what they
    found.
    """
    with tempfile.TemporaryFile("w+") as log:
        found = _named(corner)
        result = corner.run(found, log=log) if found else None
        log.seek(0)
        print(f"--- Airflow {corner.airflow}, Python {corner.python}\n{log.read()}", flush=True)
    return found is None or result is not None, result


def _named(corner: Corner) -> str | None:
    """The interpreter of a corner, which is printed."""
    found = interpreter(corner.python)
    print(
        f"--- Airflow {corner.airflow}, Python {corner.python}: "
        f"{found or 'not run, no such interpreter here'}",
        flush=True,
    )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--ran", metavar="VENV", type=Path, help="the everyday tests have run there; read their report.xml"
    )
    parser.add_argument("--build", action="store_true", help="make the environments and run nothing")
    parser.add_argument("corners", nargs="*", metavar="AIRFLOW-PYTHON")
    arguments = parser.parse_args()
    results = [read(arguments.ran, tests="everyday")] if arguments.ran else []
    betas = {corner.name for corner in CORNERS if corner.is_beta}
    known = {result.name for result in results}
    wanted = [
        one
        for one in CORNERS
        if one.name not in known and (not arguments.corners or one.name in arguments.corners)
    ]
    unable = []
    with ThreadPoolExecutor(max_workers=1 if arguments.build else _AT_ONCE) as pool:
        for corner, (there, result) in zip(
            wanted, pool.map(build if arguments.build else run, wanted), strict=True
        ):
            results += [result] if result else []
            unable += [] if there or corner.is_beta else [corner.name]
    if results:
        compatibility.keep(results)
    print(
        *(
            f"{one.airflow} on {one.python}: {one.summary}{_BETA if one.name in betas else ''}"
            for one in results
        ),
        *(f"{name}: no tests ran" for name in unable),
        sep="\n",
    )
    return 1 if unable or any(one.failed for one in results if one.name not in betas) else 0


if __name__ == "__main__":
    sys.exit(main())
