"""Child processes that never outlive us: each in a session of its own, logging to a file, ended as a whole
session.

Airflow's task processes leave the process group of their parents but not the session, so a session is what is
reaped. Never imports Airflow.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")


def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago, below those that systems give to connections: none
    takes it meanwhile.
    """
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randint(15_000, 31_000)))
            return int(probe.getsockname()[1])


class HeldPort:
    """A port of 127.0.0.1 that no other program gets before its server listens: bound, but not listening.

    A server that binds with SO_REUSEADDR may take it, as asyncio's, PostgreSQL's and Redis's do; nobody is
    served until then.

    :raises OSError: when the port that is asked for is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.socket()
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError:
            self._socket.close()
            raise
        # after bind: two holders exclude each other
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number = int(self._socket.getsockname()[1])

    @classmethod
    def preferring(cls, port: int) -> HeldPort:
        """This port, or any other where it is taken."""
        try:
            return cls(port)
        except OSError:
            return cls()

    def release(self) -> None:
        self._socket.close()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until(
    condition: Callable[[], T],
    *,
    what: str,
    timeout_seconds: float,
    every_seconds: float = 0.2,
    evidence: Callable[[], str] = lambda: "",
) -> T:
    """The first truthy answer of `condition`; a TimeoutError that says what was waited for, with the
    evidence.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{evidence()}\n{what}: not within {timeout_seconds:.0f} s")
        time.sleep(every_seconds)


class Child:
    """One program and everything it starts."""

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> None:
        self.name, self.log = name, log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - what it runs is our own choice
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    def members(self) -> list[int]:
        """Every living process of this child's session."""
        return [process.pid for process in psutil.process_iter() if _session_of(process.pid) == self.pid]

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send the signal to every process of the session at once, as the loss of a machine would."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)

    def stop(self, *, patience_seconds: float = 15, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask the program to end, wait, then make sure that nothing of its session is left."""
        if self.running:
            self._popen.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(patience_seconds)
        self.kill()
        self._popen.wait()

    def tail(self, lines: int = 40) -> str:
        """The end of its log, for people who must find out why."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        return "\n".join([f"--- {self.name} ({self.log})", *text])


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
