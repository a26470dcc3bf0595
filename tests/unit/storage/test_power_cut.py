"""F37: the machine loses its power right after the POST. What the disk holds at that moment is what a retry
finds.

A real ext4 in a file; the file is copied at that moment, and mounted as it would be after the cut.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamAmbiguousSubmissionError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.ledger.spending import Tally
from airflow_provider_seedream.ledger.submit import Request, Submitter
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.storage import Folder
from tests.unit.values import KEY, submission

MADE_BY = TaskRef(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)


@contextmanager
def mounted(disk: Path, at: Path) -> Iterator[Path]:
    at.mkdir()
    # commit: ext4 writes everything after 5 s by itself
    done = subprocess.run(
        ["mount", "-o", "loop,commit=300", disk, at], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs a loop mount: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    if not shutil.which("mkfs.ext4"):
        pytest.skip("needs mkfs.ext4")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    return disk


@contextmanager
def api_that_hangs_up(then: Callable[[], object]) -> Iterator[str]:
    """Reads a POST, does something, and closes without a word."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            then()
            self.close_connection = True

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_record_the_name_and_the_spending_are_on_the_disk_before_the_post(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "after the cut"
    with mounted(disk, tmp_path / "now") as now, api_that_hangs_up(lambda: shutil.copy(disk, cut)) as url:
        monkeypatch.setenv(
            "AIRFLOW_CONN_SEEDREAM_DEFAULT",
            f'{{"conn_type": "seedream", "host": "{url}", "password": "{KEY}"}}',
        )
        request = Request(
            submission=submission(), destination=f"file://{now}/new/folder", name="hero", made_by=MADE_BY
        )
        with suppress(SeedreamAmbiguousSubmissionError):
            Submitter(SeedreamHook(), Ledger(request.destination), "fail").submit(request)
    with mounted(cut, tmp_path / "later") as later:
        found = Ledger(f"file://{later}/new/folder")
        record = found.latest(request.key)
        assert isinstance(record, Record), "a retry finds no record, and pays again"
        assert record.outcome == "intent"
        assert not found.reserve_name("hero", "another request")
        assert Tally(found.spent_by_task(MADE_BY)).credits == record.credits


@pytest.mark.parametrize("write", [Folder.create, Folder.replace])
def test_what_is_written_is_there_after_a_power_cut(
    disk: Path, tmp_path: Path, write: Callable[..., Any]
) -> None:
    with mounted(disk, tmp_path / "now") as now:
        write(Folder(f"file://{now}"), "a/b/record.json", b"the id")
        shutil.copy(disk, tmp_path / "after the cut")
    with mounted(tmp_path / "after the cut", tmp_path / "later") as later:
        assert Folder(f"file://{later}").read("a/b/record.json") == b"the id"
