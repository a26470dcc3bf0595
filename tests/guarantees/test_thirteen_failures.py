"""Ten seconds at night: thirteen everyday failures, and the block of short lines that the log of each has before its traceback.

Every failure is made over real sockets and run through Airflow's own task runner. A line is what the log page shows of it: the
page cuts at about 100 characters. `SEEDREAM_THIRTEEN=FILE` writes the blocks that were seen as a page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build

WIDTH = 100


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as the buckets of users have: pytest's own are longer than a line of the log."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(prefix="sd", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def block_of(outcome: Outcome, level: str = "ERROR") -> list[str]:
    """The lines of the block: the first is the verdict, the last names the page of the documentation."""
    said = [line.removeprefix(f"{level} ") for line in outcome.log if line.startswith(f"{level} ")]
    said = [re.sub(r"^(airflow\.\S+|task) ", "", line) for line in said]
    begins = next(number for number, line in enumerate(said) if re.match(r"[A-Z][A-Z -]{5,}[,:]", line))
    ends = next(number for number, line in enumerate(said) if number > begins and line.startswith("Help: "))
    return said[begins : ends + 1]


def shown(name: str, lines: list[str]) -> None:
    """Keep the lines of a failure for the page, where one is asked for."""
    if page := os.environ.get("SEEDREAM_THIRTEEN"):
        with open(page, "a") as file:
            file.write(f"## {name}\n```\n" + "\n".join(line[:WIDTH] for line in lines) + "\n```\n\n")


def check_block(name: str, outcome: Outcome, begins: str, *, says: tuple[str, ...]) -> list[str]:
    """The block has the promised order and width; the exception begins with the same words."""
    lines = block_of(outcome)
    shown(name, lines)
    assert lines[0].startswith(begins), lines
    assert max(map(len, lines)) <= WIDTH, lines
    parts = [line.split(":")[0] for line in lines if not line.startswith("  ")][1:]
    order = ["Cost", "Wallet", "Do", "Until", "Record", "Seedream task id", "Connection", "Cause", "Help"]
    assert parts == [part for part in order if part in parts], lines
    assert {"Cost", "Do", "Connection", "Help"} <= set(parts), lines
    text = "\n".join(lines)
    assert all(word in text for word in says), lines
    assert str(outcome.error).startswith(begins.split(":")[0]), outcome.error
    assert outcome.log.index(next(line for line in outcome.log if begins in line)) < len(outcome.log) - 1
    return lines


class TestUnknownOutcome:
    def test_a_lost_answer_names_the_credits_at_risk_the_wallet_and_two_commands(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        task = build(prompt="a watch [drop-after-accept]", wait=True, deferrable=deferrable, retries=3).submit
        outcome = Runner().run(task)
        lines = check_block(
            "Unknown outcome",
            outcome,
            "UNKNOWN OUTCOME, up to 10 credits at risk: The request left, no answer came.",
            says=("100000.00 before, 99990.00 now: 10 less, so it was probably paid", "seedream_default"),
        )
        [record] = folder.glob("_seedream/ledger/*.json")
        assert f"  airflow seedream resolve file://{folder} {record.name[:8]} --not-paid" in lines
        assert outcome.tries == 1

    def test_a_503_on_a_post_is_an_unknown_outcome_and_the_status_comes_last(self, emulator: Emulator, build: Build) -> None:
        outcome = Runner().run(build(prompt="a watch [refuse:503]", retries=3).submit)
        lines = check_block(
            "503 on a POST",
            outcome,
            "UNKNOWN OUTCOME, up to 10 credits at risk: ",
            says=("unchanged, so it was probably not paid", "Cause: The API answered 503"),
        )
        assert lines[-2].startswith("Cause:")


class House(SeedreamGenerateOperator):
    """A user's subclass with an execute of its own."""

    def execute(self, context: Any) -> Any:
        return super().execute(context)


class TestEveryKindOfTask:
    def test_a_subclass_and_a_mapped_task_log_the_block_once(self, emulator: Emulator, destination: str) -> None:
        with DAG("kinds", schedule=None):
            mapped = House.partial(task_id="house", destination=destination, retries=0).expand(prompt=["a [refuse:400]", "b"])
        outcome = Runner().run(mapped, map_index=0)
        assert sum("REQUEST REFUSED" in line and "Traceback" not in line for line in outcome.log) == 1
        assert block_of(outcome)[0].startswith("REQUEST REFUSED: ")

    def test_a_decorated_task_logs_it_and_an_error_of_its_function_too(self, emulator: Emulator, destination: str) -> None:
        from airflow.sdk import task as tasks

        with DAG("kinds", schedule=None):

            @tasks.seedream(destination=destination, retries=0)
            def poster(city: str) -> str:
                return f"a poster of {city} [refuse:400]"

            @tasks.seedream(destination=destination, retries=0)
            def broken() -> str:
                raise KeyError("city")

            refused, unexpected = poster("Rome"), broken()
        assert block_of(Runner().run(refused.operator))[0].startswith("REQUEST REFUSED: ")
        lines = block_of(Runner().run(unexpected.operator))
        assert lines[0] == "UNEXPECTED ERROR: KeyError: 'city'"

    def test_an_error_after_a_deferral_is_told_the_same(self, emulator: Emulator, build: Build) -> None:
        chain = build(prompt="a watch [fail]", land={"deferrable": True, "retries": 0})
        runner = Runner()
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert [step.method for step in outcome.steps] == ["execute", "resume_landing"]
        assert block_of(outcome)[0].startswith("GENERATION FAILED, 10 credits refunded: ")
