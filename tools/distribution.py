"""Builds wheel and sdist and looks at what is in them: all of the package, `py.typed`, and nothing else.

Run by .ci/run; the files are left in ./dist/.
"""

# ruff: noqa: T201 - it speaks to the person who ran it

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]
_PACKAGE = "airflow_provider_seedream"
_SDIST_EXTRAS = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"}


def main() -> int:
    target = _CHECKOUT / "dist"
    shutil.rmtree(target, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "--quiet", "--out-dir", target], cwd=_CHECKOUT, check=True)  # noqa: S603 - our own words
    complaints = [*_wheel(next(target.glob("*.whl"))), *_sdist(next(target.glob("*.tar.gz")))]
    print(*complaints, sep="\n", end="\n" if complaints else "")
    return 1 if complaints else 0


def _wheel(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        points = wheel.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    info = metadata.removesuffix("METADATA")
    stray = {name for name in names if not name.startswith((f"{_PACKAGE}/", info))}
    return [
        *_compare("wheel", {name for name in names if name.startswith(f"{_PACKAGE}/")}, stray),
        *([] if "apache_airflow_provider" in points else ["wheel: no entry point for Airflow"]),
        *([] if f"{info}licenses/LICENSE" in names else ["wheel: no LICENSE"]),
    ]


def _sdist(path: Path) -> list[str]:
    with tarfile.open(path) as sdist:
        names = {member.name.split("/", 1)[1] for member in sdist.getmembers() if member.isfile()}
    code = {name for name in names if name.startswith(f"{_PACKAGE}/")}
    return _compare("sdist", code, names - code - _SDIST_EXTRAS)


def _compare(what: str, code: set[str], stray: set[str]) -> list[str]:
    """What is missing of the files git knows of, and what should not be there."""
    command = ["git", "ls-files", _PACKAGE]
    listed = subprocess.run(command, cwd=_CHECKOUT, check=True, capture_output=True, text=True).stdout.split()  # noqa: S603
    missing, more = sorted(set(listed) - code), sorted(stray | (code - set(listed)))
    return [
        *(f"{what}: {name} is missing" for name in missing),
        *(f"{what}: {name} is stray" for name in more),
    ]


if __name__ == "__main__":
    sys.exit(main())
