"""A cap that is nearly reached is told of once a day; a task may wait for the end of a full cap's period,
deferred or not.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from airflow.sdk import BaseNotifier

from airflow_provider_seedream.batch.stops import StopRequest, add_stop
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamCapError, SeedreamInputError
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.storage import Folder
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build
from tests.guarantees.test_caps import batch
from tests.guarantees.woken import Woken

TOLD: list[dict[str, Any]] = []


def tell(context: Any) -> None:
    TOLD.append({"task": context["ti"].task_id, **context["seedream_budget"]})


def fail(context: Any) -> None:
    raise ValueError("no mail today")


class Note(BaseNotifier):
    template_fields = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        TOLD.append({"text": self.text})


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    TOLD.clear()


def midnight() -> float:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1)).timestamp()


class TestWarnings:
    def test_the_request_that_passes_the_share_warns_once_a_day(
        self,
        caps: Any,
        build: Build,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caps(max_credits_per_day=50, warn_at=0.6)
        note = Note("{{ seedream_budget.cap }}: {{ seedream_budget.spent_credits }}")
        with caplog.at_level(logging.WARNING):
            for number in range(4):
                assert (
                    Runner(run_id=f"r{number}").run(build(on_budget_warning=[fail, tell, note]).submit).state
                    == "success"
                )
        assert [one.getMessage() for one in caplog.records if "NEARLY" in one.getMessage()] == [
            "A CAP IS NEARLY REACHED: max_credits_per_day=50 of connection 'seedream_default': "
            "30 of 50 credits are spent this UTC day."
        ]
        ends_at = datetime.fromtimestamp(midnight(), UTC).isoformat().replace("+00:00", "Z")
        about = {
            "connection": "seedream_default",
            "cap": "max_credits_per_day=50",
            "period": "day",
            "label": None,
            "credits": 50,
        }
        assert [
            {"task": "submit", **about, "spent_credits": 30, "ends_at": ends_at},
            {"text": "max_credits_per_day=50: 30"},
        ] == TOLD

    def test_a_batch_warns_once(self, caps: Any, destination: str) -> None:
        caps(max_credits_per_day=100, label_caps={"team=shop": {"month": 60}})
        task = batch(destination, 8, labels={"team": "shop"}, on_budget_warning=tell)
        assert (
            Runner().run(task).value["count"] | {"landed": 6, "skipped_budget": 2}
            == Runner().run(task).value["count"]
        )
        assert [(one["cap"], one["spent_credits"]) for one in TOLD] == [("label_caps team=shop month=60", 50)]

    def test_what_cannot_be_called_is_refused_when_the_dag_is_parsed(self) -> None:
        with pytest.raises(SeedreamInputError, match="on_budget_warning"):
            SeedreamGenerateOperator(task_id="submit", prompt="a watch", on_budget_warning="mail me")


class TestWaiting:
    DAYS: ClassVar[dict[str, Any]] = {"on_budget": "wait", "timeout": timedelta(hours=25)}

    def test_a_deferrable_task_waits_for_midnight_and_is_admitted_anew(
        self,
        caps: Any,
        build: Build,
        emulator: Emulator,
    ) -> None:
        caps(max_credits_per_day=10)
        Runner(run_id="before").run(build(prompt="a").submit)
        task, runner = build(prompt="b", deferrable=True, **self.DAYS).submit, Woken()
        assert runner.run(task, until="deferred").state == "deferred"
        trigger = runner.deferral(task)
        assert trigger.classpath.endswith("SeedreamTurnTrigger")
        assert midnight() <= trigger.kwargs["not_before_epoch"] <= midnight() + 60
        assert emulator.books.posts_received == 1
        caps(max_credits_per_day=20)
        assert (runner.run(task).state, emulator.books.credits_charged) == ("success", 20)

    def test_without_room_before_its_time_limit_it_fails_at_once_and_says_so(
        self,
        caps: Any,
        build: Build,
        deferrable: bool,
    ) -> None:
        caps(max_credits_per_day=10)
        Runner(run_id="before").run(build(prompt="a").submit)
        outcome = Runner().run(build(prompt="b", deferrable=deferrable, on_budget="wait", timeout=1).submit)
        assert isinstance(outcome.error, SeedreamCapError)
        assert "after the end of `timeout` (1 s)" in str(outcome.error)
        assert outcome.tries == 1

    def test_a_price_beyond_the_cap_does_not_wait(self, caps: Any, build: Build) -> None:
        caps(max_credits_per_day=10)
        outcome = Runner().run(build(num_images=2, deferrable=True, **self.DAYS).submit)
        assert isinstance(outcome.error, SeedreamCapError)
        assert "larger than the cap itself" in str(outcome.error)

    def test_rows_of_a_batch_wait_for_midnight_while_the_others_land(
        self,
        caps: Any,
        emulator: Emulator,
        destination: str,
        folder: Path,
    ) -> None:
        caps(max_credits_per_day=30)
        task, runner = batch(destination, 5, deferrable=True, on_budget="wait"), Woken()
        assert runner.run(task, until="deferred").state == "deferred"
        [file] = folder.rglob("progress.json")
        progress = json.loads(file.read_text())
        assert midnight() <= progress["hold_epoch"] <= midnight() + 30
        assert progress["in_flight"] == []
        assert emulator.books.credits_charged == 30
        caps(max_credits_per_day=1000)
        file.write_text(json.dumps(progress | {"hold_epoch": time.time()}))
        ended = runner.run(task)
        assert (ended.state, ended.value["count"]["landed"], emulator.books.credits_charged) == (
            "success",
            5,
            50,
        )

    def test_a_batch_without_room_before_its_execution_timeout_ends_at_once_and_says_what_is_paid(
        self, caps: Any, emulator: Emulator, destination: str, deferrable: bool
    ) -> None:
        caps(max_credits_per_month=30)
        limit = timedelta(hours=1)  # the last hour of a month has room behind it
        task = batch(
            destination, 5, deferrable=deferrable, on_budget="wait", execution_timeout=limit, retries=2
        )
        outcome = Runner().run(task)
        assert (outcome.state, outcome.tries, emulator.books.credits_charged) == ("failed", 1, 30)
        said = str(outcome.error)
        assert said.startswith(
            "CAP REACHED, 30 credits paid: max_credits_per_month=30 of connection 'seedream_default': 30 "
            "credits"
        )
        assert "2 of 5 rows were not sent. Landed: 3. Paid: yes. There is room again at " in said
        assert "after the end of `execution_timeout`" in said

    @pytest.mark.parametrize(
        "behind", [[{"prompt": "   "}], []], ids=["a wrong row is the last one", "a row that waits is"]
    )
    def test_rows_behind_those_that_wait_land_if_they_are_paid(
        self,
        caps: Any,
        build: Build,
        emulator: Emulator,
        destination: str,
        folder: Path,
        behind: list[dict[str, str]],
    ) -> None:
        caps(max_credits_per_day=20)
        paid = [{"prompt": "a"}, {"prompt": "b"}]
        for one in paid:
            Runner(run_id="before").run(build(**one, reuse="content").submit)
        options = {"deferrable": True, "on_budget": "wait", "reuse": "content"}
        rows = [{"prompt": "new"}, *paid, {"prompt": "newer"}, *behind]
        task, runner = (
            batch(destination, 0, requests=rows, results="later", on_error="continue", **options),
            Woken(),
        )
        assert runner.run(task, until="deferred").state == "deferred"
        [file] = folder.rglob("progress.json")
        progress = json.loads(file.read_text())
        assert (progress["cursor"], progress["waiting"], progress["in_flight"]) == (len(rows), [1, 4], [])
        assert (len([*folder.glob("*_1.png")]), emulator.books.posts_received) == (2, 2)
        caps(max_credits_per_day=1000)
        file.write_text(json.dumps(progress | {"hold_epoch": time.time()}))
        ended = runner.run(task)
        count = ended.value["count"]
        assert (count["landed"], count["invalid"], emulator.books.posts_received) == (4, len(behind), 4)

    def test_rows_that_only_waited_have_not_begun_when_execution_timeout_is_over(
        self, caps: Any, build: Build, destination: str, folder: Path
    ) -> None:
        caps(max_credits_per_day=10)
        Runner(run_id="before").run(build(prompt="paid", reuse="content").submit)
        options = {
            "deferrable": True,
            "on_budget": "wait",
            "reuse": "content",
            "execution_timeout": timedelta(hours=25),
        }
        rows = [{"prompt": "new"}, {"prompt": "paid"}, {"prompt": "newer"}, {"prompt": "newest"}]
        task, runner = batch(destination, 0, requests=rows, results="later", **options), Woken()
        waits = runner.run(task, until="deferred")
        assert any("1 of 4 rows begun, 0 in flight" in line for line in waits.log)
        [file] = folder.rglob("progress.json")
        file.write_text(json.dumps(json.loads(file.read_text()) | {"started_epoch": time.time() - 26 * 3600}))
        assert "1 of 4 rows had begun" in str(runner.run(task).error)

    def test_a_batch_that_waits_for_room_stops_on_request(
        self, caps: Any, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        caps(max_credits_per_day=10)
        task, runner = batch(destination, 3, deferrable=True, on_budget="wait"), Woken()
        assert runner.run(task, until="deferred").state == "deferred"
        add_stop(Folder(destination), StopRequest(id="1", at="2026-11-29T23:10:00Z"))
        ended = runner.run(task)
        count = ended.value["count"]
        assert (ended.state, count["landed"], count["skipped"], emulator.books.posts_received) == (
            "success",
            1,
            2,
            1,
        )
