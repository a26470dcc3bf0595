"""A PostgreSQL server of the tests' own, from Debian's packages: 127.0.0.1, a free port, a temporary folder.

As root it runs as the user `postgres`, since the server refuses root. Never imports Airflow.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.processes import Child, HeldPort, wait_until

# Nothing of this survives the test run, so it need not survive a crash.
_SPEED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def find_binaries() -> Path | None:
    """The newest server's folder, or None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def postgres(binaries: Path) -> Iterator[str]:
    """Run a server; gives the SQLAlchemy address of its empty database."""
    folder, held = Path(tempfile.mkdtemp(prefix="seedream-pg-")), HeldPort()
    log = folder / "server.log"
    try:
        _own(folder)
        data = folder / "data"
        _run(
            [binaries / "initdb", "-D", data, "-U", "airflow", "-A", "trust", "-E", "UTF8", "--no-sync"],
            folder,
        )
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", *_SPEED]
        options = [part for setting in settings for part in ("-c", setting)]
        command = [*_as_user(), str(binaries / "postgres"), "-D", str(data), "-p", str(held.number), *options]
        server = Child("postgres", command, env=_environment(), log=log, cwd=folder)
        try:
            ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(held.number)]
            wait_until(
                lambda: subprocess.run(ready, check=False).returncode == 0,
                what="PostgreSQL ready",
                timeout_seconds=120,
                evidence=server.tail,
            )
            yield f"postgresql+psycopg2://airflow@127.0.0.1:{held.number}/postgres"
        finally:
            server.stop(how=signal.SIGINT)  # at once, whoever is still connected
    finally:
        held.release()
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(
        [*_as_user(), *map(str, command)],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed\n{done.stdout}{done.stderr}")


def _as_user() -> list[str]:
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


def _own(folder: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}
