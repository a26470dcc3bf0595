"""An earlier release as a folder, so that it runs beside today's build: ``PYTHONPATH`` says which of the
two a process imports.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from tests.benchmarks.measuring import CHECKOUT

RELEASE = "0.2.0"
PACKAGE = "airflow_provider_seedream"


class NoHistoryError(RuntimeError):
    """This checkout lacks the commit of the release, as a shallow clone does."""


def release_build(folder: Path, version: str = RELEASE) -> Path:
    """Unpack the package of a release into a folder, and return that folder.

    :raises NoHistoryError: naming the command that brings the history.
    """
    archive = _git("archive", _commit(version), PACKAGE)
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def _commit(version: str) -> str:
    """The commit that was released: a tag of this name, else the one whose message says so."""
    for command in (
        ("rev-parse", "--verify", "--quiet", f"v{version}^{{commit}}"),
        ("log", "--format=%H %s"),
    ):
        lines = _git(*command).decode().splitlines()
        found = [line.split()[0] for line in lines if " " not in line or line.endswith(f" Version {version}")]
        if found:
            return found[0]
    raise NoHistoryError(
        f"the history of this checkout lacks version {version}: git fetch --unshallow --tags"
    )


def _git(*arguments: str) -> bytes:
    """The output of a git command; empty where it fails or git is missing."""
    try:
        return subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, check=False).stdout
    except FileNotFoundError:
        return b""
