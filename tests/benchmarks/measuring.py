"""One measurement is one Python process: its CPU time and its memory are its own, and nothing is warm from
before.

A *subject* is a module run as ``python -m`` with one JSON argument; it prints one line of JSON. Linux only,
for /proc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.certificate import Certificate

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a null server listens, the bundle that trusts it, and its process."""

    url: str
    bundle: str
    pid: int


def run_subject(
    module: str,
    arguments: Mapping[str, Any],
    timeout_seconds: float = 200,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a subject found out. :param environment: is added to this process's own."""
    environment = {**os.environ, **(environment or {})}
    argv = [sys.executable, "-m", f"tests.benchmarks.{module}", json.dumps(arguments)]
    done = subprocess.run(
        argv,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {arguments} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def null_server(certificate: Certificate, latency_seconds: float = 0.0) -> Iterator[Server]:
    """A null server in a process of its own, until the block ends."""
    argv = [sys.executable, "-m", "tests.benchmarks.server", str(certificate.pem), str(latency_seconds)]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = f"https://127.0.0.1:{int(process.stdout.readline())}"
            yield Server(url=url, bundle=str(certificate.bundle), pid=process.pid)
        finally:
            process.kill()


def held_up_seconds(who: int | str = "thread-self") -> float:
    """How long a thread was ready to run, so far, and other work had the processors.

    :param who: the id of a process, for its first thread; the calling thread by default.
    """
    # nanoseconds: on a processor, waiting for one
    _, waited, _ = Path(f"/proc/{who}/schedstat").read_text().split()
    return int(waited) / 1e9


def reset_peak_memory() -> int:
    """Forget the peak so far; the bytes resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def peak_memory() -> int:
    """The most bytes that were resident since the last reset."""
    return _memory("VmHWM")


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise KeyError(field)
