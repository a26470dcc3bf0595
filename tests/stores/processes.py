"""Server processes for tests: a free port, a start, a wait for a condition, a sure end.

A server dies with the test process, even if that one is killed. Nothing here knows which server it is.
"""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen


class ServerError(RuntimeError):
    """A server did not come up, or a command against it failed; the message carries its output."""


_GIVEN: set[int] = set()  # a server may want several at once, before it binds any


def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago, below those that systems give to connections: none
    takes it meanwhile.
    """
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.randint(15_000, 31_000)))
            if (port := int(probe.getsockname()[1])) not in _GIVEN:
                _GIVEN.add(port)
                return port


@contextmanager
def running(
    argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[Callable[[], None]]:
    """Run a server until the block ends. Yields a check that raises, with the end of the log, once the
    server has died.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
        )

    def check() -> None:
        if process.poll() is not None:
            raise ServerError(f"{argv[0]} ended with {process.returncode}:\n{tail(log)}")

    try:
        yield check
    finally:
        process.kill()  # what these servers hold is thrown away: nothing to shut down in order
        process.wait()


def wait_until(
    ready: Callable[[], bool], alive: Callable[[], None], what: str, timeout_seconds: float = 300
) -> None:
    """Poll a condition; fail at once when the server has died."""
    end = time.monotonic() + timeout_seconds
    while not ready():
        alive()
        if time.monotonic() > end:
            raise ServerError(f"{what} was not ready within {timeout_seconds:g} s")
        time.sleep(0.05)


def answers_http(url: str) -> bool:
    """Any HTTP answer counts: a server that refuses us is up."""
    try:
        urlopen(url, timeout=5).close()
    except HTTPError:
        return True
    except (URLError, OSError):
        return False
    return True


def run(*argv: str | Path, timeout_seconds: float = 300) -> str:
    """A command that must succeed; its output."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired as late:
        raise ServerError(f"{argv[0]} took more than {timeout_seconds:g} s") from late
    if done.returncode:
        raise ServerError(f"{argv[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def tail(log: Path, size: int = 2000) -> str:
    return log.read_text(errors="replace")[-size:]
