"""The first hour of somebody who has only the docs: the quickstart's commands as printed, and the project
with a test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.test_docs import CHECKOUT, DOCS, snippets
from tools.processes import HeldPort

PROJECT = CHECKOUT / "example_project"
LISTENS = "until [ -s /tmp/seedream-emulator.log ]; do sleep 0.1; done"  # a person has read on for longer
# else a slow machine finds the job ended when it begins to wait for it
SLOW_JOBS = "--set seconds_per_image=3600"


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A home with nothing in it, and a shell that finds this environment's commands."""

    home: Path

    def runs(self, script: str, *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**kept, "HOME": str(self.home), "PATH": path}
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=cwd or self.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1200,
        )


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(home=tmp_path)


@contextmanager
def ending_jobs_that_triggers_poll(admin: str) -> Iterator[None]:
    """Meanwhile the emulator's jobs end, each once a trigger has polled it."""
    over = threading.Event()

    def end_them() -> None:
        ended: set[str] = set()
        while not over.wait(0.2):
            with suppress(requests.ConnectionError):  # it has not begun to listen
                books = requests.get(f"{admin}/books", timeout=60).json()
                polled = {
                    one["path"]
                    for one in books["requests"]
                    if one["area"] == "status" and one["user_agent"].endswith("(trigger)")
                }
                for task_id in [one["seedream_task_id"] for one in books["submissions"]]:
                    if task_id not in ended and any(task_id in path for path in polled):
                        fault = {"kind": "takes", "seconds": 0, "seedream_task_id": task_id}
                        requests.post(f"{admin}/faults", json=fault, timeout=60).raise_for_status()
                        ended.add(task_id)

    thread = threading.Thread(target=end_them)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class TestTheQuickstart:
    @pytest.fixture
    def port(self) -> Iterator[int]:
        held = HeldPort()
        yield held.number
        held.release()

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_its_commands_land_two_images_for_twenty_credits(self, newcomer: Newcomer, port: int) -> None:
        page = DOCS / "quickstart.md"
        [saved_as] = re.findall(r"Save this as `~/(\S+)`", page.read_text())
        dag = newcomer.home / saved_as
        dag.parent.mkdir(parents=True)
        dag.write_text(snippets(page, "python")[0])
        landed = newcomer.home / "images-quickstart"
        first, *others = snippets(page, "bash")
        commands = "\n".join(["trap 'kill %1' EXIT", first, LISTENS, *others]).replace(
            "--fast", f"--fast {SLOW_JOBS}"
        )
        with ending_jobs_that_triggers_poll(f"http://127.0.0.1:{port}/__admin"):
            ended = newcomer.runs(
                commands.replace("8123", str(port)).replace("/tmp/seedream", str(newcomer.home / "images"))
            )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert len(list(landed.glob("*_?.png"))) == 2
        assert "Credits paid: 20, refunded: 0, unknown: 0." in ended.stdout
        for line in (
            "Submitted seedream task",
            "Waiting for seedream task",
            "Images landed: 2",
            "Dag run in success state",
        ):
            assert line in page.read_text()
            assert line in ended.stdout + ended.stderr

    def test_its_connection_has_four_lines(self) -> None:
        [connection] = [code for code in snippets(DOCS / "quickstart.md", "bash") if "AIRFLOW_CONN" in code]
        assert connection.splitlines().index("}'") == 3


class TestTheProjectWithATest:
    def test_the_page_prints_its_three_files(self) -> None:
        printed = snippets(DOCS / "testing-your-dags.md", "python")
        for file in ("dags/watches.py", "conftest.py", "test_watches.py"):
            assert (PROJECT / file).read_text() in printed

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_it_passes_with_one_command(self, newcomer: Newcomer) -> None:
        """With pytest alone: the plugins of this checkout are not the reader's, and its configuration asks
        for them.
        """
        command = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 pytest -p no:cacheprovider example_project"
        ended = newcomer.runs(command, cwd=CHECKOUT)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "3 passed" in ended.stdout
