"""Resolves the constraints files: `make constraints`. Change a version here, run it, commit what it
writes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_NEWEST = "3.3.2"
# The last releases of the older lines, and a date within days of each: stands in for Airflow's own
# constraints files.
_NEXT = "3.4.0b2"  # not released; a beta is resolved only because it is named
_OLDER = (("3.1.8", "2026-03-14"), ("3.2.2", "2026-06-02"))
_NEEDS = ["--all-extras", "--group", "test", "--group", "check", "--group", "docs"]
# Younger than those dates: the first imagesize that reads every format that we land or send.
_YOUNGER = ["--exclude-newer-package", "imagesize=2026-08-25"]
_NEWEST_NEEDS = ["--group", "browser", "--group", "stores", "--group", "bench"]


def main() -> None:
    _resolve(
        "constraints.txt",
        _NEWEST,
        _NEWEST_NEEDS,
        "and everything the demo, the tests, the checks and the docs need",
    )
    for airflow, date in _OLDER:
        target = f"constraints-airflow-{airflow.rpartition('.')[0]}.txt"
        _resolve(
            target,
            airflow,
            ["--exclude-newer", date, *_YOUNGER],
            "with what there was days after its release",
        )
    _resolve("constraints-airflow-3.4.txt", _NEXT, [], "the next release")


def _resolve(target: str, airflow: str, options: list[str], words: str) -> None:
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal", "--upgrade"]
    style = ["--python-version", "3.11", "--no-header", "--no-annotate"]
    command = [*uv, *style, *_NEEDS, *options, "pyproject.toml", "-"]
    wanted = f"apache-airflow=={airflow}\nuv\n"
    done = subprocess.run(command, input=wanted, check=True, text=True, stdout=subprocess.PIPE)  # noqa: S603 - our own words
    head = (
        f"# Airflow {airflow} {words}, for Python 3.11 and newer.\n# Made by `make constraints`; plain "
        "pip reads it too.\n"
    )
    Path(target).write_text(head + done.stdout)


if __name__ == "__main__":
    main()
