"""Processes that need not import Airflow again, which takes 2 s: a warm Python has imported it, and forks for
each of them.

    child = start("tests.guarantees.child", json.dumps(options))      # as `python -m` would run it, with
    today's environment child.pid; child.wait(timeout=60)                                 # -9 if it was
    killed, as subprocess has it

Each child is a process of its own with standard streams of its own: it can be stopped, killed, and sit in a
terminal. What holds while a process starts (what it imports, what is printed meanwhile) must be shown of
`python -m` itself.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from importlib import import_module
from types import TracebackType
from typing import NoReturn

# What the modules that run here import, also while they work. They themselves are not among it: they run as
# `__main__`.
_IMPORTED = (
    "airflow_provider_seedream.cli.definition",
    "airflow_provider_seedream.cli.generation",
    "airflow_provider_seedream.cli.resolving_all",
    "airflow_provider_seedream.operators.seedream",
    "airflow_provider_seedream.batch.runner",
    "airflow_provider_seedream.landing.finish",
    "airflow_provider_seedream.ledger.submit",
    "tests.airflow.runner",
)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h: the warm Python ends with the tests, however they end


class Child:
    """A process that the warm Python has forked, with the methods of ``subprocess.Popen`` that tests need."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = connection.makefile("r")
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float = 800) -> int:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            self.returncode = int(self._answers.readline())
        return self.returncode

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        if self.returncode is None and not os.path.exists(f"/proc/{self.pid}"):
            self.wait()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.wait()


def start(
    module: str, *arguments: str, env: dict[str, str] | None = None, streams: Sequence[int] | None = None
) -> Child:
    """Run a module in a process of its own.

    :param env: its environment; without it, ours. :param streams: file descriptors of its standard input,
        output and error; without them it reads nothing and its output is dropped.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_warm_python())
    order = json.dumps(
        {"module": module, "arguments": arguments, "env": dict(os.environ if env is None else env)}
    )
    null = os.open(os.devnull, os.O_RDWR)
    try:
        socket.send_fds(connection, [len(order).to_bytes(4, "big")], list(streams or (null, null, null)))
    finally:
        os.close(null)
    connection.sendall(order.encode())
    return Child(connection)


@cache
def _warm_python() -> str:
    """The address of this process's warm Python, which is started when the first child is wanted."""
    name = f"seedream-tests-{os.getpid()}"
    process = subprocess.Popen([sys.executable, "-m", __name__, name], stdout=subprocess.PIPE)
    assert process.stdout
    atexit.register(process.kill)
    # Airflow may say something of its own while it is imported.
    assert b"ready\n" in iter(process.stdout.readline, b"")
    return f"\0{name}"  # an abstract address: it leaves no file


def _serve(name: str) -> NoReturn:
    _end_with_parent()
    for imported in _IMPORTED:
        import_module(imported)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the keepers below are waited for by nobody
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen(64)
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            if os.fork():
                connection.close()
                continue
            listening.close()
            _keep(connection)


def _end_with_parent() -> None:
    """However the tests end, no child goes on. A fork does not inherit this."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _keep(connection: socket.socket) -> NoReturn:
    """Fork the child, and tell its id, then how it ended."""
    _end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("r") as orders:
        order = json.loads(orders.read(int.from_bytes(size, "big")))
    if (child := os.fork()) == 0:
        _end_with_parent()
        connection.close()
        _run(order["module"], order["arguments"], order["env"], streams)
    for stream in streams:
        os.close(stream)
    with closing(connection):
        connection.sendall(f"{child}\n".encode())
        connection.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
    os._exit(0)


def _run(module: str, arguments: list[str], environment: dict[str, str], streams: list[int]) -> NoReturn:
    """As ``python -m`` runs a module, exit code included."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    code: object = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    for written in (sys.stdout, sys.stderr):
        written.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    _serve(sys.argv[1])
