"""An account at the emulator, a folder with records in it, and the command line driven in this process or
as its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from airflow_provider_seedream.cli.definition import main
from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.exceptions import SeedreamAmbiguousSubmissionError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.submit import Request, Submitter
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.airflow.warm import start
from tests.unit.values import KEY, submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]
Buy = Callable[..., Generation]


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    """Jobs are done at the first poll; nothing asks a database for a connection."""
    with Emulator(
        Settings.fast(key=KEY, seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0), flat_images=True)
    ) as running:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", running.airflow_connection_json())
        monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
        monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
        yield running


@pytest.fixture
def destination(tmp_path: Path) -> str:
    return f"file://{tmp_path}/watches"


@pytest.fixture
def run(emulator: Emulator, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: ``run("ledger", destination)``."""

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        assert KEY not in captured.out + captured.err
        return Ended(code=ended.value.code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def buy(emulator: Emulator, destination: str) -> Buy:
    """Pays for a generation as a task would."""

    def buy(
        prompt: str = "a leather watch",
        *,
        name: str | None = None,
        run_id: str = "monday",
        num_images: int = 1,
    ) -> Generation:
        made_by = TaskRef(dag_id="watches", run_id=run_id, task_id="submit", try_number=1)
        request = Request(
            submission=submission(prompt=prompt, num_images=num_images),
            destination=destination,
            name=name,
            made_by=made_by,
        )
        return Submitter(SeedreamHook(max_attempts=1), Ledger(destination), "fail").submit(request)

    return buy


@pytest.fixture
def lose(buy: Buy, destination: str) -> Callable[..., str]:
    """Pays, perhaps, for a generation whose answer gets lost: the URI of its record."""

    def lose(trouble: str = "[drop-after-accept]", **how: Any) -> str:
        record = None
        with suppress(SeedreamAmbiguousSubmissionError):
            try:
                buy(f"a watch {trouble}", **how)
            except SeedreamAmbiguousSubmissionError as error:
                record = error.record
                raise
        assert record is not None
        return record

    return lose


def run_warm(*command: str, stdin: str = "", env: dict[str, str] | None = None) -> Ended:
    """A command as a process of its own that need not import Airflow again."""
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        code = start(*command, env=env, streams=[given.fileno(), out.fileno(), err.fileno()]).wait()
        written = [(stream.seek(0), stream.read().decode())[1] for stream in (out, err)]
    assert "Traceback" not in written[1]
    return Ended(code=code, out=written[0], err=written[1])


def run_process(*command: str, **options: Any) -> Ended:
    """A command as a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=300, **options
    )
    assert "Traceback" not in ended.stderr
    return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)
