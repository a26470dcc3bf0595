"""The table of docs/compatibility.md: made of docs/assets/compatibility.json, in which tools/matrix.py keeps
what it ran.

Holds no versions of its own: what was not run is not in the table's numbers.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"
RESULTS = _DOCS / "assets" / "compatibility.json"
PAGE = _DOCS / "compatibility.md"
_HEADING = "| Airflow | Python | tests | result | on |\n|---|---|---|---|---|\n"
_TABLE = re.compile(re.escape(_HEADING) + r"(?:\|.*\n)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one run of the tests found."""

    airflow: str
    python: str
    tests: str
    passed: int
    skipped: int
    failed: int
    on: str

    @property
    def name(self) -> str:
        """The minor versions, by which a later result takes the place of this one."""
        return "-".join(".".join(version.split(".")[:2]) for version in (self.airflow, self.python))

    @property
    def summary(self) -> str:
        counts = {"passed": self.passed, "skipped": self.skipped, "failed": self.failed}
        return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)


def kept() -> list[Result]:
    return [Result(**fields) for fields in json.loads(RESULTS.read_text())] if RESULTS.exists() else []


def keep(results: Iterable[Result]) -> None:
    """Write the results down, and the table anew."""
    rows = merge(kept(), results)
    RESULTS.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    PAGE.write_text(_TABLE.sub(lambda _: table(rows), PAGE.read_text()))


def merge(older: Iterable[Result], newer: Iterable[Result]) -> list[Result]:
    """Newer ones take the place of older ones; from the oldest Airflow and Python to the newest."""
    merged = {result.name: result for result in (*older, *newer)}
    return sorted(
        merged.values(), key=lambda one: [_numbers(version) for version in (one.airflow, one.python)]
    )


def _numbers(version: str) -> list[int]:
    """``3.4.0b2`` is [3, 4, 0, 2]."""
    return [int(number) for number in re.findall(r"\d+", version)]


def table(results: Iterable[Result]) -> str:
    return _HEADING + "".join(
        f"| {one.airflow} | {one.python} | {one.tests} | {one.summary} | {one.on} |\n" for one in results
    )


def table_of_the_page() -> str:
    """As it stands in the page; it is wrong when it differs from what `table` makes of the results."""
    found = _TABLE.search(PAGE.read_text())
    return found[0] if found else ""
