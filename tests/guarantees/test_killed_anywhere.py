"""G1, G2, G3, G9, G16: the process dies by SIGKILL before its first, second, ... last act on disk or network,
then a retry follows.

The acts are counted by Python's own audit events, so nothing is patched and no act is forgotten.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamAmbiguousSubmissionError
from airflow_provider_seedream.ledger.spending import Tally, run_folder
from airflow_provider_seedream.model.images import inspect_image, is_whole
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, Chain, records

ACTS = {"os.link", "os.rename", "os.remove", "os.mkdir", "http.client.connect", "http.client.send"}
LONG_AGO = "2026-01-01T00:00:00Z"


def run_in_child(work: Callable[[], object], *, folder: Path, die_before_act: int | None) -> int:
    """Run `work` in a forked process that kills itself before an act. Returns how many acts there were, -1
    if it was killed.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            acts = count_acts(folder, die_before_act)
            work()
            os.write(writer, str(len(acts)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        answer = answers.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return -1
    return int(answer)


def count_acts(folder: Path, die_before_act: int | None) -> list[str]:
    """Audit hooks cannot be removed, hence only ever set in a child."""
    acts: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes_here = event == "open" and str(arguments[0]).startswith(str(folder))
        if event in ACTS or writes_here:
            acts.append(event)
            if die_before_act is not None and len(acts) >= die_before_act:
                # of several threads, two may have come to it
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return acts


def let_claims_settle(folder: Path) -> None:
    """What time would do: the POST of a dead process is no longer in flight."""
    for path in folder.glob("_seedream/ledger/*.json"):
        record = json.loads(path.read_text())
        if record["outcome"] == "intent":
            path.write_text(json.dumps(record | {"settles_at": LONG_AGO}))


def assert_nothing_is_half_written(folder: Path) -> None:
    for path in folder.glob("[!.]*.png"):
        facts = inspect_image(path.read_bytes())
        assert facts is not None
        assert is_whole(path.read_bytes(), facts), f"{path.name} is cut"
    for path in folder.rglob("[!.]*.json"):
        json.loads(path.read_text())
    for path in folder.glob("[!.]*.json"):
        for image in json.loads(path.read_text())["images"]:
            assert (folder / image["file"]).stat().st_size == image["size_bytes"]


def noted_as_spent(folder: Path, run_id: str) -> int:
    """What budgets count for a DAG run: once, whether its one attempt was paid for or may have been."""
    run = folder / run_folder(TaskRef(dag_id="guarantees", run_id=run_id))
    return Tally(file.name for file in run.glob("*/*")).credits


def pair(run_id: str, chain: Chain) -> tuple[Outcome, Outcome | None]:
    runner = Runner(run_id=run_id)
    submitted = runner.run(chain.submit)
    return submitted, runner.run(chain.land) if submitted.state == "success" else None


@pytest.mark.slow
class TestAProcessKilledBeforeAnyOfItsActs:
    """One run in a child for every act there is, and a run to the end after it."""

    def test_a_process_killed_before_any_of_its_acts_never_pays_twice_and_never_shows_half_an_image(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        killed, unknown, act = 0, 0, 0
        while killed == act:
            act += 1
            run_id, name = f"r{act}", f"watch{act}"
            chain = build(submit={"retries": 2, "name": name, "num_images": 2}, land={"deferrable": False})
            before = emulator.books.posts
            acts = run_in_child(partial(pair, run_id, chain), folder=folder, die_before_act=act)
            assert_nothing_is_half_written(folder)
            killed += acts == -1
            let_claims_settle(folder)
            submitted, landed = pair(run_id, chain)
            posts = emulator.books.posts - before
            assert posts <= 1, f"killed before act {act}: paid twice"
            assert noted_as_spent(folder, run_id) == 20, (
                f"killed before act {act}: counted twice, or forgotten"
            )
            if landed is None:
                assert isinstance(submitted.error, SeedreamAmbiguousSubmissionError)
                assert submitted.tries == 1
                assert any(record["name"] == name for record in records(folder))
                unknown += 1
            else:
                assert landed.state == "success"
                assert posts == 1
                assert (folder / f"{name}.json").exists()
                assert [record["outcome"] for record in records(folder) if record["name"] == name] == [
                    "landed"
                ]
            assert_nothing_is_half_written(folder)
        assert killed > 20, "the audit hook sees the acts"
        # The acts from the published claim to the published id: unlink, connect, send, two looks at the
        # claim, send; the record's lock and a look at it, mkdir, the file aside, its folder, rename.
        assert 0 < unknown <= 12, (
            "only a kill between the claim and the id's record may leave the outcome unknown"
        )
        assert not emulator.books.violations
