"""G8: a wait is the same deferred or not: POSTs, state, error class, manifest, ledger; and only "not in
time" may be skipped.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.schedule import SCHEDULE
from tests.airflow.deferral import Deferral
from tests.airflow.execution_api import Instance
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, Chain, Connect, records


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault and what a sensor without retries makes of it. `arrange` is done between the two tasks."""

    prompt: str = "a watch"
    land: dict[str, Any] = field(default_factory=dict)
    arrange: Callable[[Emulator, str], None] = lambda emulator, task_id: None
    error: str | None = None

    @property
    def is_late(self) -> bool:
        return self.error in ("SeedreamGenerationTimeoutError", "AirflowTaskTimeout")

    def state(self, flag: str = "") -> str:
        """The final state without a flag, with `soft_fail` or with `never_fail`."""
        if self.error is None:
            return "success"
        return "skipped" if flag == "never_fail" or (flag == "soft_fail" and self.is_late) else "failed"


def status_answers(kind: str, **fault: Any) -> Callable[[Emulator, str], None]:
    return lambda emulator, task_id: emulator.inject(kind, endpoint="status", **fault)


def let_it_expire(emulator: Emulator, task_id: str) -> None:
    emulator.clock.advance(86_400)


READY = "a watch [takes:0] [late-assets:0]"
TABLE: dict[str, Row] = {
    "ready at once": Row(prompt=READY),
    "ready later": Row(),
    "settling late": Row(prompt="a watch [late-assets:0.5]"),
    "two images": Row(prompt="two watches [asset-url-only]"),
    "without a thumbnail": Row(prompt="a watch [no-thumbnail] [jpeg]"),
    "an unknown status": Row(prompt="a watch [unknown-status*2] [zero-progress]"),
    "an outage": Row(arrange=status_answers("refuse", status=503, times=3)),
    "429s": Row(arrange=status_answers("rate-limited", seconds=0, times=3)),
    "never settled": Row(
        prompt="a watch [takes:0] [null-assets]", land={"settling_seconds": 0.2}, error="SeedreamPollingError"
    ),
    "failed": Row(prompt="a watch [fail]", error="SeedreamGenerationFailedError"),
    "failed though finished": Row(prompt="a watch [finished-failed]", error="SeedreamGenerationFailedError"),
    "moderated": Row(prompt="a watch [safety]", error="SeedreamModerationError"),
    "a key refused": Row(arrange=status_answers("refuse", status=401), error="SeedreamAuthenticationError"),
    "unknown to the API": Row(arrange=status_answers("refuse", status=404), error="SeedreamNotFoundError"),
    "gone from the API": Row(arrange=let_it_expire, error="SeedreamNotFoundError"),
    "partial": Row(
        prompt="a watch [partial:1]", land={"settling_seconds": 0.2}, error="SeedreamPartialResultError"
    ),
    "a broken image": Row(prompt="a watch [not-an-image]", error="SeedreamLandingError"),
    "late": Row(prompt="a watch [never-ends]", land={"timeout": 0.4}, error="SeedreamGenerationTimeoutError"),
    "past its execution_timeout": Row(
        prompt="a watch [never-ends]",
        land={"execution_timeout": timedelta(seconds=0.6)},
        error="AirflowTaskTimeout",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Everything the two waits are compared by; ids and instants left out."""

    state: str
    tries: int
    error: str | None
    message: str
    posts: int
    credits: tuple[int, int]
    ledger: list[dict[str, Any]]
    files: list[str]
    manifest: dict[str, Any] | None
    value: Any


def run(row: Row, emulator: Emulator, chain: Chain, folder: Path) -> Seen:
    runner = Runner()
    task_id = runner.run(chain.submit).value["seedream_task_id"]
    row.arrange(emulator, task_id)
    outcome = runner.run(chain.land)
    assert any(step.method == "resume_landing" for step in outcome.steps) <= chain.land.deferrable
    books = emulator.books
    return Seen(
        state=outcome.state,
        tries=outcome.tries,
        error=type(outcome.error).__name__ if outcome.error else None,
        message=""
        if row.error == "AirflowTaskTimeout"
        else without_ids(str(outcome.error or ""), task_id, folder),
        posts=books.posts_received,
        credits=(books.credits_charged, books.credits_refunded),
        ledger=[
            {name: record[name] for name in ("outcome", "refunded", "detail", "attempt")}
            for record in records(folder)
        ],
        files=sorted(without_ids(path.name, task_id, folder) for path in folder.glob("*.*")),
        manifest=comparable_manifest(folder, task_id),
        value=comparable_value(outcome, task_id, folder),
    )


def without_ids(text: str, task_id: str, folder: Path) -> str:
    text = text.replace(task_id, "ID").replace(str(folder), "FOLDER")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    # in whole seconds, which a busy machine moves
    text = re.sub(r"submitted [^,.]+ ago", "submitted AGE ago", text)
    return text.partition("Record:")[0]


def comparable_manifest(folder: Path, task_id: str) -> dict[str, Any] | None:
    file = folder / f"{task_id}.json"
    if not file.exists():
        return None
    fields = json.loads(file.read_text().replace(task_id, "ID"))
    varying = ("sha256", "downloaded_sha256", "size_bytes")
    images = [
        {name: value for name, value in image.items() if name not in varying} for image in fields["images"]
    ]
    return {**fields, "images": images, "created_at": None, "landed_at": None, "record": None}


def comparable_value(outcome: Outcome, task_id: str, folder: Path) -> Any:
    if outcome.value is None:
        return None
    text = json.dumps(outcome.value).replace(task_id, "ID").replace(str(folder), "FOLDER")
    images = [image | {"sha256": None, "size_bytes": None} for image in json.loads(text)["images"]]
    return json.loads(text) | {"images": images}


class TestTheWholeTableTwice:
    @pytest.mark.adds_up_not("it has two worlds: the books of the first are emptied")
    @pytest.mark.parametrize("name", TABLE)
    def test_both_waits_see_and_do_the_same(
        self, name: str, emulator: Emulator, build: Build, tmp_path: Path
    ) -> None:
        row, seen = TABLE[name], {}
        for deferrable in (True, False):
            emulator.reset()
            folder = tmp_path / str(deferrable)
            chain = build(
                prompt=row.prompt,
                num_images=2,
                destination=f"file://{folder}",
                land={"deferrable": deferrable, **row.land},
            )
            seen[deferrable] = run(row, emulator, chain, folder)
        assert seen[True] == seen[False]
        assert (seen[True].state, seen[True].error, seen[True].posts) == (row.state(), row.error, 1)


class TestWhatMayBeSkipped:
    @pytest.mark.parametrize("flag", ["soft_fail", "never_fail"])
    @pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.error])
    def test_soft_fail_skips_lateness_alone_and_never_fail_every_error(
        self, name: str, flag: str, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        row, runner = TABLE[name], Runner()
        chain = build(
            prompt=row.prompt, num_images=2, land={"deferrable": deferrable, flag: True, **row.land}
        )
        row.arrange(emulator, runner.run(chain.submit).value["seedream_task_id"])
        outcome = runner.run(chain.land)
        assert (outcome.state, emulator.books.posts_received) == (row.state(flag), 1)
        assert outcome.value is None

    @pytest.mark.parametrize("flag", ["soft_fail", "never_fail"])
    def test_neither_switch_skips_what_succeeds(
        self, flag: str, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(land={"deferrable": deferrable, flag: True})
        runner.run(chain.submit)
        assert runner.run(chain.land).state == "success"

    def test_both_at_once_are_refused_when_the_dag_is_parsed(self, build: Build) -> None:
        with pytest.raises(ValueError, match="mutually exclusive"):
            build(land={"soft_fail": True, "never_fail": True})

    def test_a_trigger_that_breaks_is_an_error_of_the_task_and_no_skip(
        self, emulator: Emulator, connect: Connect, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The connection is gone when the trigger reads it, and whole where the worker does."""

        class Apart(Runner):
            def _wait(self, instance: Instance) -> Deferral:
                monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", "{}")
                ended = super()._wait(instance)
                connect(emulator)
                return ended

        runner, chain = (
            Apart(),
            build(prompt="a watch [takes:30]", land={"deferrable": True, "soft_fail": True, "retries": 1}),
        )
        runner.run(chain.submit)
        runner.run(chain.land, until="deferred")
        outcome = runner.run(chain.land, until="up_for_retry")
        assert (outcome.state, type(outcome.error).__name__) == ("up_for_retry", "SeedreamPollingError")
        emulator.clock.advance(60)  # the retry's first poll finds it done
        assert runner.run(chain.land).state == "success"


class TestRescheduling:
    """The third way to wait: a worker slot only while polling."""

    def test_a_rescheduled_wait_lands_the_same(self, emulator: Emulator, build: Build, folder: Path) -> None:
        runner, chain = (
            Runner(),
            build(prompt="a watch [takes:2]", land={"mode": "reschedule", "poke_interval": 0.1}),
        )
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("success", 1, 1)
        assert any(step.state == "up_for_reschedule" for step in outcome.steps)

    @pytest.mark.parametrize(
        ("flag", "state"), [("", "failed"), ("soft_fail", "skipped"), ("never_fail", "skipped")]
    )
    def test_its_timeout_counts_from_the_first_poke(
        self, flag: str, state: str, emulator: Emulator, build: Build
    ) -> None:
        land = {"mode": "reschedule", "poke_interval": 0.2, "timeout": 0.7, "retries": 2} | (
            {flag: True} if flag else {}
        )
        runner, chain = Runner(), build(prompt="a watch [never-ends]", land=land)
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries) == (state, 1)
        assert any(step.state == "up_for_reschedule" for step in outcome.steps)


class TestWaitingWithoutAnInterval:
    """The default: nobody polls before the job can be ready, whichever way it waits."""

    @pytest.fixture(autouse=True)
    def no_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Tests set one for all tasks, and this process has seen their jobs."""
        monkeypatch.delenv("AIRFLOW__SEEDREAM__POKE_INTERVAL", raising=False)
        SCHEDULE.forget()

    def test_a_deferred_task_leaves_the_first_poll_to_its_trigger(
        self, emulator: Emulator, build: Build
    ) -> None:
        runner, chain = (
            Runner(),
            build(image_size="square_hd", land={"deferrable": True, "poke_interval": None, "timeout": 4}),
        )
        generation = runner.run(chain.submit).value
        assert runner.run(chain.land, until="deferred").state == "deferred"
        assert (emulator.books.status_calls, generation["image_size"]) == (0, "square_hd")
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.deferrals[0].kwargs["kind"]) == ("success", "generate")
        assert emulator.books.status_calls == 2  # one by the trigger, at the deadline, and landing's own

    def test_a_rescheduled_one_comes_back_when_the_job_can_be_ready(
        self, emulator: Emulator, build: Build
    ) -> None:
        runner, chain = (
            Runner(),
            build(image_size="square", land={"mode": "reschedule", "poke_interval": None}),
        )
        created = clock.to_epoch(runner.run(chain.submit).value["created_at"])
        step = runner.run(chain.land, until="up_for_reschedule").steps[0]
        back = datetime.fromisoformat(str(step.report["reschedule_date"])).timestamp()
        assert emulator.books.status_calls == 0
        assert created is not None
        assert 20 <= back - created <= 40

    def test_a_job_that_can_be_ready_is_polled_at_once(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(prompt=READY, land={"deferrable": deferrable, "poke_interval": None})
        generation = runner.run(chain.submit).value
        chain.land.generation = {**generation, "created_at": "2026-02-25T12:00:00Z"}
        outcome = runner.run(chain.land)
        assert (outcome.state, len(outcome.deferrals)) == ("success", 0)

    def test_an_interval_can_be_set_for_all_tasks(
        self, emulator: Emulator, build: Build, deferrable: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__POKE_INTERVAL", "0.1")
        runner, chain = (
            Runner(),
            build(image_size="portrait_4_3", land={"deferrable": deferrable, "poke_interval": None}),
        )
        runner.run(chain.submit)
        started = time.monotonic()
        assert runner.run(chain.land).state == "success"
        assert time.monotonic() - started < 15

    def test_one_that_is_no_number_is_said(
        self, emulator: Emulator, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__POKE_INTERVAL", "often")
        runner, chain = Runner(), build(land={"poke_interval": None})
        runner.run(chain.submit)
        assert "[seedream] poke_interval must be a number of seconds; got 'often'" in str(
            runner.run(chain.land).error
        )

    def test_a_bare_id_is_polled_at_once(
        self, emulator: Emulator, build: Build, destination: str, deferrable: bool
    ) -> None:
        land = {"deferrable": deferrable, "poke_interval": None, "destination": destination}
        runner, chain = Runner(), build(prompt=READY, land=land)
        chain.land.generation = runner.run(chain.submit).value["seedream_task_id"]
        outcome = runner.run(chain.land)
        assert (outcome.state, len(outcome.deferrals)) == ("success", 0)
