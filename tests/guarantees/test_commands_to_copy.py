"""G14: the commands that errors and tables print work as they are copied: with a connection that is not the
default one, and with a folder that a shell would take for two.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.cli.definition import main
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.model.commands import program
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import POKE_SECONDS, Build, images, records
from tests.guarantees.test_thirteen_failures import block_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "it's two words"


@pytest.fixture
def night(emulator: Emulator, build: Build, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The tasks use the connection `night`; there is no default one."""
    monkeypatch.setenv("AIRFLOW_CONN_NIGHT", os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"])
    monkeypatch.delenv("AIRFLOW_CONN_SEEDREAM_DEFAULT")
    return {"seedream_conn_id": "night"}


def commands_of(outcome: Outcome) -> list[str]:
    """The commands in the block of lines of the log, put together again as a shell does."""
    lines = "\n".join(block_of(outcome)).replace("\\\n", "")
    return [line.strip() for line in lines.splitlines() if line.startswith(f"  {program()} ")]


def run(command: str, capfd: pytest.CaptureFixture[str], **places: str) -> str:
    """Run a command as a person would who has filled in the places of ID or DESTINATION. Returns what it
    prints.
    """
    words = [places.get(word, word) for word in shlex.split(command)]
    begin = program().split()
    assert words[: len(begin)] == begin
    with pytest.raises(SystemExit) as ended:
        main(words[len(begin) :])
    printed = capfd.readouterr()
    assert not ended.value.code, printed.err
    return printed.out


def find(commands: Iterable[str], *words: str) -> str:
    return next(one for one in commands if all(word in one for word in words))


def test_an_unknown_outcome_is_settled_by_the_command_of_its_error(
    emulator: Emulator, build: Build, night: dict[str, Any], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = Runner().run(build(prompt="a watch [drop-after-accept]", **night).submit)
    paid = emulator.books.submissions[0].seedream_task_id
    printed = find(commands_of(outcome), "resolve", "--paid")
    assert shlex.join(shlex.split(printed)) in str(outcome.error)
    run(f"{printed} --yes", capfd, ID=paid)
    assert [record["seedream_task_id"] for record in records(folder)] == [paid]


def test_the_records_of_a_batch_are_listed_and_settled_by_the_commands_that_follow_one_another(
    emulator: Emulator,
    destination: str,
    night: dict[str, Any],
    folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with DAG("guarantees", schedule=None):
        task = SeedreamBatchOperator(
            task_id="batch",
            requests=[{"prompt": "x [no-id]"}],
            destination=destination,
            poke_interval=POKE_SECONDS,
            on_error="continue",
            fail_on_unknown=True,
            **night,
        )
    listed = run(find(commands_of(Runner().run(task)), "ledger"), capfd)
    resolve = next(line for line in listed.splitlines() if line.startswith(f"{program()} resolve"))
    run(f"{resolve} --paid ID --yes", capfd, ID=emulator.books.submissions[0].seedream_task_id)
    assert [record["outcome"] for record in records(folder)] == ["submitted"]


def test_an_image_that_could_not_be_landed_is_landed_by_the_command_of_its_error(
    emulator: Emulator, build: Build, night: dict[str, Any], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runner, chain = Runner(), build(land={"retries": 0, **night}, **night)
    runner.run(chain.submit)
    emulator.inject("not-an-image", endpoint="download")
    outcome = runner.run(chain.land)
    emulator.faults.clear()
    run(find(commands_of(outcome), "land"), capfd)
    assert len(images(folder)) == 1
