"""A batch that stops before its table is paid: counted at the server, with what is in flight landed and
the rest skipped.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.batch.brakes import DEFERRED_LOOK_SECONDS, Brakes
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.stops import StopRequest, add_stop, read_stops
from airflow_provider_seedream.batch.tries import Tries
from airflow_provider_seedream.bounds import StopWhen
from airflow_provider_seedream.cli.definition import main
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.storage import Folder
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Batch, Connect, images, results
from tests.guarantees.woken import Woken

IN_FLIGHT = 6
OF_LAST = 10
pytestmark = pytest.mark.usefixtures("unlimited")


@pytest.fixture
def batch(batch: Batch) -> Batch:
    return partial(batch, max_in_flight=IN_FLIGHT)


def three_of_five_fail(rows: int) -> list[dict[str, str]]:
    return [
        {"prompt": f"watch {number} {'[fail]' if number % 5 < 3 else ''}", "sku": f"S{number}"}
        for number in range(rows)
    ]


class TestTheBrake:
    def test_60_percent_of_failures_stop_the_sending_and_what_is_in_flight_lands(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        task = batch(
            three_of_five_fail(40),
            stop_when=StopWhen(share=0.5, of_last=OF_LAST),
            retries=2,
            on_error="continue",
        )
        outcome = Runner().run(task)
        assert (outcome.state, outcome.tries) == ("failed", 1), "a retry would pay for the same template"
        posts = emulator.books.posts_received
        assert OF_LAST <= posts <= OF_LAST + IN_FLIGHT
        count = Counter(line["status"] for line in results(folder))
        assert set(count) == {"landed", "failed", "skipped"}
        assert (count["skipped"], count["landed"]) == (40 - posts, len(images(folder)))
        assert sum(line["credits"] for line in results(folder)) == 10 * count["landed"], (
            "failed ones are refunded"
        )
        [skipped] = {line["detail"] for line in results(folder) if line["status"] == "skipped"}
        assert skipped.startswith("Not sent: ")
        assert {line["sku"] for line in results(folder)} == {f"S{number}" for number in range(40)}
        said = str(outcome.error)
        assert said.startswith(f"TOO MANY FAILURES, {10 * count['landed']} credits paid: ")
        assert "of the last 10 rows that ended did not land" in said
        assert f"{count['skipped']} of 40 rows are skipped" in said
        assert "--outcome failed" in said
        assert f"Not sent: {count['skipped']} (`stop_when`)." in outcome.log_text

    def test_one_that_comes_with_the_last_row_speaks_of_no_skipped_ones(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        outcome = Runner().run(
            batch(
                [{"prompt": f"watch {row} [fail]"} for row in range(OF_LAST)],
                stop_when=StopWhen(of_last=OF_LAST),
            )
        )
        assert emulator.books.posts_received == OF_LAST
        assert "TOO MANY FAILURES" in str(outcome.error)
        assert "skipped." not in str(outcome.error)

    def test_a_clear_begins_a_fresh_window_and_sends_what_was_skipped(
        self, batch: Batch, emulator: Emulator, folder: Path, tmp_path: Path
    ) -> None:
        table = tmp_path / "requests.jsonl"
        rows = three_of_five_fail(20)
        table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        runner, task = Runner(), batch(table.as_uri(), stop_when=StopWhen(of_last=OF_LAST))
        assert runner.run(task).state == "failed"
        before, landed = emulator.books.posts_received, len(images(folder))
        table.write_text(
            "".join(f"{json.dumps(row | {'prompt': row['prompt'].replace('[fail]', '')})}\n" for row in rows)
        )
        runner.clear(task)
        outcome = runner.run(task)
        assert (outcome.state, outcome.value["count"]["landed"]) == ("success", 20), outcome.error
        assert emulator.books.posts_received == before + 20 - landed
        assert not list(folder.glob("_seedream/batch/**/*.json*"))

    @pytest.mark.slow
    def test_mapped_instances_stop_each_for_itself(
        self, destination: str, emulator: Emulator, folder: Path
    ) -> None:
        tables = [[{"prompt": f"watch {number} [moderation]"} for number in range(12)], [{"prompt": "a fox"}]]
        given = {
            "destination": destination,
            "poke_interval": POKE_SECONDS,
            "max_posts_at_once": 1,
            "on_error": "continue",
        }
        with DAG("guarantees", schedule=None):
            task = SeedreamBatchOperator.partial(
                task_id="batch", stop_when=StopWhen(of_last=4), **given
            ).expand(requests=tables)
        outcomes = Runner().run_mapped(task)
        assert [outcome.state for outcome in outcomes] == ["failed", "success"]
        assert emulator.books.posts_received == 4 + 1


def test_a_small_table_is_not_stopped_by_default(destination: str, emulator: Emulator) -> None:
    rows = [{"prompt": f"watch {row} [moderation]"} for row in range(12)]
    with DAG("guarantees", schedule=None):
        task = SeedreamBatchOperator(
            task_id="batch", requests=rows, destination=destination, on_error="continue"
        )
    assert Runner().run(task).state == "success"
    assert emulator.books.posts_received == 12


def test_a_retry_after_the_stop_lands_what_is_paid_and_sends_nothing(
    destination: str, emulator: Emulator, folder: Path
) -> None:
    with DAG("guarantees", schedule=None):
        task = SeedreamBatchOperator(
            task_id="batch",
            requests=[
                {"prompt": "a slow fox [takes:100]"},
                *[{"prompt": f"watch {number} [fail]"} for number in range(20)],
            ],
            destination=destination,
            stop_when=StopWhen(of_last=4),
            max_in_flight=5,
            poke_interval=30,
            deferrable=True,
            retries=1,
        )
    runner = Woken()
    runner.run(task, until="deferred")
    emulator.clock.advance(2)
    outcome = runner.run(task, until="deferred")
    assert outcome.state == "deferred"
    assert "Rows in flight are landed, and the rest of the table is skipped." in outcome.log_text
    [progress] = folder.glob("_seedream/batch/*/progress.json")
    posts = emulator.books.posts_received
    progress.write_text("{")  # as if the worker had been killed before its next deferral
    emulator.clock.advance(200)
    outcome = runner.run(task)
    assert (outcome.state, outcome.tries) == ("failed", 2)
    assert str(outcome.error).startswith("TOO MANY FAILURES, 10 credits paid")
    assert (emulator.books.posts_received, len(images(folder))) == (posts, 1)
    count = Counter(line["status"] for line in results(folder))
    # the one that was in flight when the worker was killed
    assert (count["landed"], count["skipped"]) == (1, 20 - count["failed"])


def stop(destination: str, *more: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["stop", destination, *more])
    assert ended.value.code == 0


class TestARequestToStop:
    @pytest.fixture
    def waiting(self, destination: str, emulator: Emulator) -> Callable[..., Any]:
        """Batches of six rows that have sent two of them, and wait in the triggerer."""

        def waiting(*names: str, **more: Any) -> list[tuple[Woken, SeedreamBatchOperator]]:
            begun = []
            for name in names:
                given = {
                    "destination": destination,
                    "max_in_flight": 2,
                    "poke_interval": 30,
                    "deferrable": True,
                    **more,
                }
                rows = [{"prompt": f"{name} {row}"} for row in range(6)]
                with DAG("guarantees", schedule=None):
                    task = SeedreamBatchOperator(task_id=name, results=name, requests=rows, **given)
                runner = Woken()
                assert runner.run(task, until="deferred").state == "deferred"
                begun.append((runner, task))
            emulator.clock.advance(2)
            return begun

        return waiting

    @pytest.mark.parametrize("chosen", [["--dag-id", "guarantees", "--task-id", "fox"], ["--results", "fox"]])
    def test_the_batch_that_it_names_lands_what_is_in_flight_and_the_other_goes_on(
        self,
        chosen: list[str],
        waiting: Callable[..., Any],
        destination: str,
        emulator: Emulator,
        folder: Path,
    ) -> None:
        (fox, its), (owl, others) = waiting("fox", "owl")
        stop(destination, *chosen)
        outcome = fox.run(its)
        assert outcome.state == "success", outcome.error
        assert (outcome.value["count"]["landed"], outcome.value["count"]["skipped"]) == (2, 4)
        assert "Stopped on request by " in outcome.log_text
        assert "Not sent: 4 (stopped on request)." in outcome.log_text
        lines = [json.loads(line) for line in (folder / "fox.jsonl").read_text().splitlines()]
        assert [line["status"] for line in lines] == ["landed"] * 2 + ["skipped"] * 4
        assert "Not sent: stopped on request by " in lines[5]["detail"]
        assert owl.run(others).value["count"]["landed"] == 6
        assert emulator.books.posts_received == 2 + 6

    @pytest.mark.slow
    def test_without_a_name_all_batches_of_the_destination_stop_and_a_clear_goes_on(
        self, waiting: Callable[..., Any], destination: str, emulator: Emulator
    ) -> None:
        begun = waiting("fox", "owl")
        stop(destination)
        assert [runner.run(task).value["count"]["skipped"] for runner, task in begun] == [4, 4]
        assert emulator.books.posts_received == 4
        for runner, task in begun:
            runner.clear(task)
            assert runner.run(task).value["count"]["landed"] == 6
        assert emulator.books.posts_received == 12

    @pytest.mark.slow
    def test_a_batch_that_begins_later_passes_it_over(
        self, waiting: Callable[..., Any], destination: str
    ) -> None:
        waiting("fox")
        stop(destination)
        [(owl, its)] = waiting("owl")
        assert owl.run(its).value["count"]["landed"] == 6

    def test_a_retry_of_a_batch_that_was_killed_before_it_looked_sends_nothing(
        self, waiting: Callable[..., Any], destination: str, emulator: Emulator, folder: Path
    ) -> None:
        [(fox, its)] = waiting("fox", retries=1)
        stop(destination)
        [progress] = folder.glob("_seedream/batch/*/progress.json")
        progress.write_text("{")
        outcome = fox.run(its)
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("success", 2, 2)
        assert outcome.value["count"]["landed"] == 2

    def test_a_batch_that_waits_for_a_turn_of_the_rate_limit_wakes_to_look(
        self, destination: str, emulator: Emulator, connect: Connect
    ) -> None:
        connect(emulator, requests_per_minute=0.05)  # the second turn comes in 20 minutes
        with DAG("guarantees", schedule=None):
            task = SeedreamBatchOperator(
                task_id="fox",
                requests=[{"prompt": "a fox"}, {"prompt": "an owl"}],
                destination=destination,
                deferrable=True,
            )
        runner, now = Runner(), time.time()
        runner.run(task, until="deferred")
        assert runner.deferral(task).kwargs["wake_epoch"] == pytest.approx(
            now + DEFERRED_LOOK_SECONDS, abs=30
        )

    @pytest.mark.slow
    def test_a_batch_that_holds_its_worker_sees_it_within_half_a_minute(
        self, destination: str, emulator: Emulator, connect: Connect
    ) -> None:
        connect(emulator, requests_per_minute=10)
        rows = [{"prompt": f"watch {row}"} for row in range(60)]
        with DAG("guarantees", schedule=None):
            task = SeedreamBatchOperator(
                task_id="batch", requests=rows, destination=destination, poke_interval=POKE_SECONDS
            )

        def ask_for_it() -> None:
            while not emulator.books.posts_received:
                time.sleep(0.1)
            add_stop(Folder(destination), StopRequest(id="1", at="now"))

        person = Thread(target=ask_for_it, daemon=True)
        person.start()
        outcome = Runner().run(task)
        person.join()
        assert outcome.state == "success"
        assert (
            outcome.value["count"]["landed"]
            == emulator.books.posts_received
            == 60 - outcome.value["count"]["skipped"]
            < 20
        )


class TestTheLook:
    @pytest.fixture
    def brakes(self, destination: str) -> tuple[Brakes, Progress]:
        by = TaskRef(dag_id="d", run_id="r", task_id="t", try_number=1)
        folder, progress = Folder(destination), Progress(started_epoch=0.0, rows=9)
        return Brakes(
            progress, Tries(folder, by, max_tries=0), folder=folder, by=by, results="results", rule=None
        ), progress

    def test_it_costs_one_read_in_30_seconds(self, brakes: tuple[Brakes, Progress], destination: str) -> None:
        one, progress = brakes
        one.look(1000.0)
        stop(destination)
        one.look(1029.0)
        assert progress.may_send
        one.look(1030.0)
        assert not progress.may_send

    def test_a_file_that_is_not_ours_stops_nothing_and_is_said(
        self, brakes: tuple[Brakes, Progress], folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (folder / "_seedream").mkdir(parents=True)
        (folder / "_seedream" / "stops.json").write_text("{")
        one, progress = brakes
        one.look(1000.0)
        assert progress.may_send
        assert "Requests to stop cannot be read" in caplog.text

    def test_two_people_at_once_are_both_heard(self, destination: str) -> None:
        folder = Folder(destination)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: add_stop(folder, StopRequest(id=name, at="now")), ["a", "b"]))
        assert {one.id for one in read_stops(folder)} == {"a", "b"}
