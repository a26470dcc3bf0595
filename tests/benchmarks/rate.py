"""A batch at the key's rate: how many rows a minute one task submits while it lands others, by build, answer
time and storage.

Everything but the distance is real: the emulator answers after a while, Ceph's S3 gateway lies behind a line
that adds a delay.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.benchmarks.measuring import CHECKOUT
from tests.benchmarks.slow_line import slow_line

JOB_SECONDS = 1.5  # from the answer to a POST to FINISHED with links
POKE_SECONDS = 2.0
SLOW_SECONDS = 15.0  # after so long it is clear that a batch does not keep up
SLOW_SHARE = 0.9  # and what it reaches by then is its own speed
LONGEST_SECONDS = 90.0  # for one minute of the limit
_one_by_one = threading.Lock()  # batches begin in several threads


@dataclass(frozen=True, slots=True)
class Build:
    """One build of the package, in a process that forks another for each batch."""

    folder: Path
    process: subprocess.Popen[str]

    def start(self, task: Mapping[str, Any]) -> int:
        """Begin a batch; the id of its process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with _one_by_one:
            self.process.stdin.write(f"{json.dumps(task)}\n")
            self.process.stdin.flush()
            return int(self.process.stdout.readline())


@contextmanager
def running_build(folder: Path, scratch: Path) -> Iterator[Build]:
    """Ready to begin batches with the package in this folder, until the block ends."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{CHECKOUT}"}
    argv = [sys.executable, "-m", "tests.benchmarks.rate_subject"]
    with subprocess.Popen(
        argv, cwd=scratch, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Build(folder, process)
        finally:
            process.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One batch: its build, the limit of its key, and how far away the API and the storage are.

    :param environment: names the storage's connection.
    :param sources: files; the rows are edits of them then.
    :param upload_bytes_per_second: of each connection to the API.
    :param caps: extras of the API's connection.
    """

    build: Build
    requests_per_minute: int
    answer_seconds: float = 0.0
    destination: str
    environment: Mapping[str, str]
    sources: tuple[str, ...] = ()
    upload_bytes_per_second: float = inf
    caps: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch under way, and the file in which it says how it ended."""

    pid: int
    notes: Path

    def ended(self) -> dict[str, Any] | None:
        """What it found, once it has ended.

        :raises RuntimeError: the batch failed, or its process is gone.
        """
        is_alive = Path(f"/proc/{self.pid}").exists()
        if self.notes.exists():
            found: dict[str, Any] = json.loads(self.notes.read_text())
            if found["error"]:
                raise RuntimeError(found["error"])
            return found
        if not is_alive:
            raise RuntimeError("the process of the batch has gone")
        return None

    def wait(self) -> dict[str, Any]:
        while (found := self.ended()) is None:
            time.sleep(0.1)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A batch that ran to its end.

    :param behind_seconds: from when its last job was ready, at the earliest, to the end of the task.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    behind_seconds: float
    rows_per_minute: float


def measure_rate(cell: Cell, folder: Path, *, minutes: int = 1, may_stop: bool = False) -> float:
    """Rows a minute that a batch submits, when a minute of sending is behind it and the first rows land.

    What counts is the time of as many POSTs as the limit allows in a minute: any of them holds what the start
    has saved up, and the gap that this leaves in the next minute. A batch that does not reach so many is
    measured by its slope.

    :param minutes: of the limit; 5 are 300 rows at 60 a minute.
    :param may_stop: once it is clear that the batch does not keep up; others wait for their turn.
    """
    wanted = minutes * cell.requests_per_minute
    with ExitStack() as stack:
        emulator = stack.enter_context(_emulator(cell))
        batch = stack.enter_context(_batch(cell, emulator, folder, rows=2 * wanted + 60))
        while not emulator.books.wait_until(lambda books: bool(books.submissions), 1.0):
            batch.ended()
        begin = emulator.books.submissions[0].at + JOB_SECONDS + POKE_SECONDS + 2 * cell.answer_seconds
        enough = wanted + max(2, cell.requests_per_minute // 10)
        while (
            len(posts := _posts(emulator, begin)) < enough
            and (seconds := time.time() - begin) < minutes * LONGEST_SECONDS
        ):
            if (
                may_stop
                and seconds > SLOW_SECONDS
                and _per_minute(posts) < SLOW_SHARE * cell.requests_per_minute
            ):
                break
            batch.ended()
            time.sleep(0.2)
        rate = _per_minute(posts, wanted)
        if rate < SLOW_SHARE * cell.requests_per_minute:
            print(
                f"\n{rate:.0f} of {cell.requests_per_minute} a minute, answers after {cell.answer_seconds:g} "
                f"s: {pauses(posts)}"
            )
        return rate


def pauses(posts: list[float]) -> str:
    """What a rate below the limit was like. One pause of 30 s: the API could not be reached. Even pauses of
    the time of one row: rows went one at a time.
    """
    between = sorted(later - earlier for earlier, later in pairwise(posts))
    if not between:
        return f"POSTs: {len(posts)}"
    return (
        f"POSTs: {len(posts)}, between two of them: {statistics.median(between):.2f} s in the median, at "
        f"most {between[-1]:.1f} s"
    )


def run_batch(cell: Cell, folder: Path, *, rows: int) -> Done:
    """A batch from its first row to its last image."""
    with _emulator(cell) as emulator, _batch(cell, emulator, folder, rows=rows) as batch:
        found = batch.wait()
        assert found["count"]["landed"] == rows, found
        posts = [one.at for one in emulator.books.submissions]
        return Done(
            seconds=found["seconds"],
            cpu_seconds=found["cpu_seconds"],
            peak_bytes=found["peak_bytes"],
            behind_seconds=found["ended_epoch"] - max(posts) - JOB_SECONDS,
            rows_per_minute=_per_minute(sorted(posts)),
        )


def _posts(emulator: Emulator, since: float) -> list[float]:
    return sorted(one.at for one in emulator.books.submissions if one.at >= since)


def _per_minute(posts: list[float], lap: int | None = None) -> float:
    """By the mean time of so many POSTs, whichever of them is the first; else the slope of the line
    through them all.
    """
    if lap and len(posts) > lap:
        return (
            60
            * lap
            / statistics.fmean(after - before for before, after in zip(posts, posts[lap:], strict=False))
        )
    return 60 * statistics.linear_regression(posts, range(len(posts))).slope if len(posts) > 1 else 0.0


@contextmanager
def _emulator(cell: Cell) -> Iterator[Emulator]:
    """Without a rate limit of its own: the batch keeps to the one that its connection names."""
    settings = Settings.fast(
        latency_seconds=cell.answer_seconds,
        seconds_per_image=JOB_SECONDS,
        late_assets_seconds=0,
        flat_images=True,
        link_names="plain",  # 0.2.0 rewrites percent-escapes
        quirks=False,
        balance_credits=10**9,
    )
    with Emulator(settings) as emulator:
        yield emulator


@contextmanager
def _batch(cell: Cell, emulator: Emulator, folder: Path, *, rows: int) -> Iterator[Batch]:
    """A batch under way, until the block ends."""
    table = folder / f"{uuid.uuid4().hex}.jsonl"
    images = {"images": list(cell.sources)} if cell.sources else {}
    table.write_text(
        "\n".join(json.dumps({"prompt": f"picture {number}", **images}) for number in range(rows))
    )
    connection: dict[str, Any] = json.loads(emulator.airflow_connection_json())
    connection["extra"] = {
        **connection.get("extra", {}),
        "requests_per_minute": cell.requests_per_minute,
        **cell.caps,
    }
    task = {
        "build": str(cell.build.folder),
        "requests_per_minute": cell.requests_per_minute,
        "notes": str(table.with_suffix(".json")),
        "options": {
            "requests": f"file://{table}",
            "destination": f"{cell.destination}/{table.stem}",
            "max_in_flight": 1000,
            "poke_interval": POKE_SECONDS,
        },
    }
    with ExitStack() as stack:
        if cell.upload_bytes_per_second < inf:
            port = int(emulator.url.rpartition(":")[2])
            line = stack.enter_context(slow_line(port, upload_bytes_per_second=cell.upload_bytes_per_second))
            connection["host"] = f"http://127.0.0.1:{line.port}"
        task["environment"] = {**cell.environment, "AIRFLOW_CONN_SEEDREAM_DEFAULT": json.dumps(connection)}
        batch = Batch(cell.build.start(task), table.with_suffix(".json"))
        try:
            yield batch
        finally:
            with suppress(ProcessLookupError):
                os.kill(batch.pid, signal.SIGKILL)
