"""One thing is not `1 things`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import airflow_provider_seedream
from airflow_provider_seedream.model.counting import counted, verb_for

PACKAGE = Path(airflow_provider_seedream.__file__).parent
# A number of the moment right before a word in the plural.
PLURAL = re.compile(
    r"(\{[^{}\"']*\}|%[dgs]) (other |invalid )?(requests|rows|records|files|folders|pictures|tries|tasks|credits)\b"
)
ALWAYS_MANY = {
    "batch/brake.py",  # of the last 50 rows
    "hooks/seedream.py",  # a balance with its decimals: 1.00 credits
    "sensors/credits.py",
    "accounts/candidates.py",  # fractions of a price
    "accounts/statement_text.py",
}


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (2500, "2500 rows"), (1.0, "1 row"), (0.5, "0.5 rows")],
)
def test_a_number_and_its_things(number: float, said: str) -> None:
    assert counted(number, "row") == said


def test_the_verb_follows_the_number() -> None:
    assert (counted(1, "row", "are"), counted(2, "row", "are"), verb_for(1, "were"), verb_for(0, "were")) == (
        "1 row is",
        "2 rows are",
        "was",
        "were",
    )


def test_no_sentence_writes_the_plural_by_hand() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for file in PACKAGE.rglob("*.py")
        if str(file.relative_to(PACKAGE)) not in ALWAYS_MANY and "emulator" not in file.parts
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if PLURAL.search(line)
    ]
    assert found == []
