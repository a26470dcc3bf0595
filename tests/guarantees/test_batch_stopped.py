"""A batch that stops before its table is paid: counted at the server, with what is in flight landed and the rest skipped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.bounds import StopWhen
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Connect, images
from tests.guarantees.woken import Woken

Batch = Callable[..., SeedreamBatchOperator]
IN_FLIGHT = 6
OF_LAST = 10


@pytest.fixture
def batch(destination: str, deferrable: bool) -> Batch:
    def batch(requests: Any, **more: Any) -> SeedreamBatchOperator:
        given = {
            "destination": destination,
            "deferrable": deferrable,
            "poke_interval": POKE_SECONDS,
            "max_in_flight": IN_FLIGHT,
            **more,
        }
        with DAG("guarantees", schedule=None):
            return SeedreamBatchOperator(task_id="batch", requests=requests, **given)

    return batch


@pytest.fixture(autouse=True)
def unlimited(emulator: Emulator, connect: Connect) -> None:
    connect(emulator, requests_per_minute=100_000)


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def three_of_five_fail(rows: int) -> list[dict[str, str]]:
    return [{"prompt": f"watch {number} {'[fail]' if number % 5 < 3 else ''}", "sku": f"S{number}"} for number in range(rows)]


class TestTheBrake:
    def test_60_percent_of_failures_stop_the_sending_and_what_is_in_flight_lands(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        task = batch(three_of_five_fail(40), stop_when=StopWhen(share=0.5, of_last=OF_LAST), retries=2, on_error="continue")
        outcome = Runner().run(task)
        assert (outcome.state, outcome.tries) == ("failed", 1), "a retry would pay for the same template"
        posts = emulator.books.posts_received
        assert OF_LAST <= posts <= OF_LAST + IN_FLIGHT
        count = Counter(line["status"] for line in results(folder))
        assert set(count) == {"landed", "failed", "skipped"}
        assert (count["skipped"], count["landed"]) == (40 - posts, len(images(folder)))
        assert sum(line["credits"] for line in results(folder)) == 10 * count["landed"], "failed ones are refunded"
        [skipped] = {line["detail"] for line in results(folder) if line["status"] == "skipped"}
        assert skipped.startswith("Not sent: ")
        assert {line["sku"] for line in results(folder)} == {f"S{number}" for number in range(40)}
        said = str(outcome.error)
        assert said.startswith(f"TOO MANY FAILURES, {10 * count['landed']} credits paid: ")
        assert "of the last 10 rows that ended did not land" in said
        assert f"{count['skipped']} of 40 rows are skipped" in said
        assert "--outcome failed" in said
        assert f"Not sent: {count['skipped']} (stopped)." in outcome.log_text

    def test_a_clear_begins_a_fresh_window_and_sends_what_was_skipped(
        self, batch: Batch, emulator: Emulator, folder: Path, tmp_path: Path
    ) -> None:
        table = tmp_path / "requests.jsonl"
        rows = three_of_five_fail(20)
        table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        runner, task = Runner(), batch(table.as_uri(), stop_when=StopWhen(of_last=OF_LAST))
        assert runner.run(task).state == "failed"
        before, landed = emulator.books.posts_received, len(images(folder))
        table.write_text("".join(f"{json.dumps(row | {'prompt': row['prompt'].replace('[fail]', '')})}\n" for row in rows))
        runner.clear(task)
        outcome = runner.run(task)
        assert (outcome.state, outcome.value["count"]["landed"]) == ("success", 20), outcome.error
        assert emulator.books.posts_received == before + 20 - landed
        assert not list(folder.glob("_seedream/batch/**/*.json*"))

    def test_mapped_instances_stop_each_for_itself(self, destination: str, emulator: Emulator, folder: Path) -> None:
        tables = [[{"prompt": f"watch {number} [moderation]"} for number in range(12)], [{"prompt": "a fox"}]]
        given = {"destination": destination, "poke_interval": POKE_SECONDS, "max_posts_at_once": 1, "on_error": "continue"}
        with DAG("guarantees", schedule=None):
            task = SeedreamBatchOperator.partial(task_id="batch", stop_when=StopWhen(of_last=4), **given).expand(requests=tables)
        outcomes = Runner().run_mapped(task)
        assert [outcome.state for outcome in outcomes] == ["failed", "success"]
        assert emulator.books.posts_received == 4 + 1


def test_it_is_off_below_50_rows_and_with_none(destination: str, emulator: Emulator) -> None:
    for number, (rows, rule) in enumerate([(49, {}), (51, {"stop_when": None})]):
        table = [{"prompt": f"watch {number} {row} [moderation]"} for row in range(rows)]
        with DAG("guarantees", schedule=None):
            task = SeedreamBatchOperator(
                task_id=f"batch{number}", requests=table, destination=destination, results=f"r{number}", on_error="continue", **rule
            )
        assert Runner().run(task).state == "success"
    assert emulator.books.posts_received == 100


def test_a_retry_after_the_stop_lands_what_is_paid_and_sends_nothing(destination: str, emulator: Emulator, folder: Path) -> None:
    with DAG("guarantees", schedule=None):
        task = SeedreamBatchOperator(
            task_id="batch",
            requests=[{"prompt": "a slow fox [takes:100]"}, *[{"prompt": f"watch {number} [fail]"} for number in range(20)]],
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
    assert "What is in flight is landed, and the rest of the table is skipped." in outcome.log_text
    [progress] = folder.glob("_seedream/batch/*/progress.json")
    posts = emulator.books.posts_received
    progress.write_text("{")  # as if the worker had been killed before its next deferral
    emulator.clock.advance(200)
    outcome = runner.run(task)
    assert (outcome.state, outcome.tries) == ("failed", 2)
    assert str(outcome.error).startswith("TOO MANY FAILURES, 10 credits paid")
    assert (emulator.books.posts_received, len(images(folder))) == (posts, 1)
    count = Counter(line["status"] for line in results(folder))
    assert (count["landed"], count["skipped"]) == (1, 20 - count["failed"])  # the one that was in flight when the worker was killed
