"""A batch that waits in the triggerer: what travels through the database, what survives, what it costs to
be woken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Books, Emulator, Settings
from airflow_provider_seedream.hooks.settings import USER_AGENT
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.rate_limit import limiter
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Connect, images
from tests.guarantees.woken import Woken

Batch = Callable[..., SeedreamBatchOperator]
WATCH = Path(__file__).parents[2] / "example_dags" / "sources" / "watch.jpg"
PACED_ROWS, PER_MINUTE = 30, 20
TOGETHER_SECONDS = 1.5  # of an answer, in which also a busy machine begins eight rows


@pytest.fixture
def batch(destination: str, tmp_path: Path) -> Batch:
    """A batch whose first poll is far away, so that it really defers."""

    def batch(number: int = 4, **more: Any) -> SeedreamBatchOperator:
        given = {"destination": destination, "deferrable": True, "poke_interval": 30, **more}
        with DAG("guarantees", schedule=None):
            return SeedreamBatchOperator(task_id="batch", requests=write(tmp_path, rows(number)), **given)

    return batch


@pytest.fixture(autouse=True)
def unlimited(emulator: Emulator, connect: Connect) -> None:
    emulator.configure(seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0))
    connect(emulator, requests_per_minute=100_000)


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"watch {index}"} for index in range(number)]


def write(folder: Path, table: list[dict[str, Any]]) -> str:
    path = folder / "requests.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in table))
    return path.as_uri()


def progress_file(folder: Path) -> Path:
    return max(folder.glob("_seedream/batch/*/progress.json"), key=lambda path: path.stat().st_mtime)


def change_progress(folder: Path, **fields: Any) -> None:
    """What time would do."""
    file = progress_file(folder)
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def two_rows_put_back(emulator: Emulator) -> Runner:
    """A DAG run in which the API answers 429 to the fourth and the fifth of eight rows, which have begun
    together.
    """
    emulator.configure(latency_seconds=TOGETHER_SECONDS)
    for prompt in ("watch 3", "watch 4"):
        refusing = {
            "status": 429,
            "endpoint": "generate",
            "retry_after_seconds": 20,
            "prompt_contains": prompt,
            "times": 1,
        }
        emulator.inject("refuse", **refusing)
    return Woken()


class TestWhatSurvivesADeferral:
    def test_what_is_in_flight_and_the_place_in_the_table_survive_a_deferral(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        outcome = Woken().run(batch(5, max_in_flight=2))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("success", 1, 5)
        assert len(outcome.deferrals) == 3
        assert outcome.value["count"]["landed"] == len(images(folder)) == 5

    def test_a_row_that_a_429_put_back_survives_a_deferral_while_rows_behind_it_have_begun(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        emulator.configure(latency_seconds=TOGETHER_SECONDS)
        refusing = {
            "status": 429,
            "endpoint": "generate",
            "retry_after_seconds": 20,
            "prompt_contains": "watch 3",
            "times": 1,
        }
        emulator.inject("refuse", **refusing)
        runner, task = Woken(), batch(8)
        assert runner.run(task, until="deferred").state == "deferred"
        progress = json.loads(progress_file(folder).read_text())
        assert (progress["cursor"], progress["waiting"]) == (8, [4])
        assert emulator.books.posts == 7
        limiter._limiters.clear()
        change_progress(folder, pace={})  # the pause is over
        outcome = runner.run(task)
        assert (outcome.state, outcome.value["count"]["landed"]) == ("success", 8)
        assert (emulator.books.posts, emulator.books.posts_received) == (8, 9)

    def test_rows_that_a_429_put_back_survive_every_further_deferral_within_its_pause(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        runner, task = two_rows_put_back(emulator), batch(8)
        for _ in range(3):
            assert runner.run(task, until="deferred").state == "deferred"
            assert json.loads(progress_file(folder).read_text())["waiting"] == [4, 5]
        limiter._limiters.clear()
        change_progress(folder, pace={})  # the pause is over
        outcome = runner.run(task)
        assert (outcome.state, outcome.value["count"]["landed"]) == ("success", 8), outcome.error
        assert (emulator.books.posts, emulator.books.posts_received) == (8, 10)

    def test_rows_put_back_count_as_not_sent_when_the_table_was_changed_meanwhile(
        self, batch: Batch, emulator: Emulator, tmp_path: Path
    ) -> None:
        runner, task = two_rows_put_back(emulator), batch(8)
        runner.run(task, until="deferred")
        write(tmp_path, rows(7))
        assert "The table was changed while it was worked on. 2 of 8 rows were not sent." in str(
            runner.run(task).error
        )
        assert emulator.books.posts == 6

    def test_edits_of_equal_bytes_have_one_price_over_all_deferrals(
        self, destination: str, emulator: Emulator, tmp_path: Path
    ) -> None:
        sources = [tmp_path / f"{number}.jpg" for number in range(3)]
        for source in sources:
            source.write_bytes(WATCH.read_bytes())
        table = [{"prompt": "make it blue", "images": [source.as_uri()]} for source in sources]
        with DAG("guarantees", schedule=None):
            task = SeedreamBatchOperator(
                task_id="batch",
                requests=table,
                destination=destination,
                deferrable=True,
                poke_interval=30,
                max_in_flight=1,
            )
        outcome = Woken().run(task)
        assert (outcome.state, outcome.value["count"]["landed"]) == ("success", 3)
        assert outcome.value["credits"] == emulator.books.credits_charged == 10

    def test_the_progress_of_0_2_is_taken_up(self, batch: Batch, emulator: Emulator, folder: Path) -> None:
        runner, task = Woken(), batch(5, max_in_flight=2)
        runner.run(task, until="deferred")
        file = progress_file(folder)
        since = ("waiting", "post_seconds", "edits")
        file.write_text(
            json.dumps(
                {name: value for name, value in json.loads(file.read_text()).items() if name not in since}
            )
        )
        assert (runner.run(task).state, emulator.books.posts_received) == ("success", 5)

    def test_the_pace_survives_a_deferral(self, batch: Batch, emulator: Emulator, connect: Connect) -> None:
        connect(emulator, requests_per_minute=4)
        emulator.configure(rate_limit_per_minute=4)
        runner, task = Woken(), batch(6)
        runner.run(task, until="deferred")
        limiter._limiters.clear()  # as in another process
        assert runner.run(task, until="deferred").state == "deferred"
        assert emulator.books.posts_received == 4

    def test_an_empty_wallet_survives_a_deferral(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        emulator.configure(balance_credits=30)
        runner, task = Woken(), batch(5, retries=2)
        outcome = runner.run(task)
        assert (outcome.state, outcome.tries, type(outcome.error).__name__) == (
            "failed",
            1,
            "SeedreamInsufficientCreditsError",
        )
        assert "2 of 5 rows were not sent" in str(outcome.error)
        assert (len(images(folder)), len(outcome.deferrals)) == (3, 1)
        emulator.configure(balance_credits=1000)
        runner.clear(task)
        assert (runner.run(task).state, emulator.books.credits_charged) == ("success", 50)

    def test_how_long_the_api_has_been_away_survives_a_deferral(
        self,
        batch: Batch,
        emulator: Emulator,
        connect: Connect,
        folder: Path,
        unused_port: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        there = os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"]
        away = json.loads(there) | {"host": f"http://127.0.0.1:{unused_port}"}
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(away))
        runner, task = Woken(), batch(3)
        assert runner.run(task, until="deferred").state == "deferred"
        change_progress(folder, hold_epoch=0.0, unreachable_epoch=1.0)  # for years
        outcome = runner.run(task)
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamConnectionError")
        assert "3 of 3 rows were not sent" in str(outcome.error)
        assert len(outcome.deferrals) == 1, "once it gives up there is nothing to wait for"
        runner.clear(task)
        assert runner.run(task, until="deferred").state == "deferred"
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", there)
        change_progress(folder, hold_epoch=0.0)
        assert (runner.run(task).state, emulator.books.posts_received) == ("success", 3)


class TestWhatIsLostMeanwhile:
    def test_progress_that_cannot_be_read_costs_a_try_and_no_post(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        runner, task = Woken(), batch(retries=1)
        runner.run(task, until="deferred")
        progress_file(folder).write_text("{")
        outcome = runner.run(task)
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("success", 2, 4)
        assert [type(error).__name__ for error in outcome.errors] == ["SeedreamLedgerError"]

    @pytest.mark.parametrize(
        ("changed", "posts"),
        [
            ([{"prompt": "another"}, *rows(4)[1:]], 5),
            (rows(6), 6),
            (rows(3), 3),
            ([*rows(4)[:2], *rows(6)[4:]], 4),
        ],
        ids=["a row before", "rows more", "a row less", "rows that follow"],
    )
    def test_a_table_that_changes_costs_at_most_a_try(
        self, changed: list[dict[str, Any]], posts: int, batch: Batch, emulator: Emulator, tmp_path: Path
    ) -> None:
        runner, task = Woken(), batch(retries=1, max_in_flight=2)
        runner.run(task, until="deferred")
        write(tmp_path, changed)
        outcome = runner.run(task)
        assert (outcome.state, outcome.value["rows"]) == ("success", len(changed))
        assert emulator.books.posts_received == posts
        assert outcome.tries == (1 if posts == 4 else 2)  # what was not begun yet may change

    def test_a_table_that_is_gone_costs_a_try_and_what_is_in_flight_lands(
        self, batch: Batch, emulator: Emulator, folder: Path, tmp_path: Path
    ) -> None:
        runner, task = Woken(), batch(max_in_flight=2)
        runner.run(task, until="deferred")
        (table,) = tmp_path.glob("*.jsonl")
        kept = table.rename(tmp_path / "kept")
        outcome = runner.run(task)
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamBatchError")
        assert "there is no file" in str(outcome.error)
        assert "2 of 4 rows were not sent" in str(outcome.error)
        assert "Paid: yes. A retry lands for free what is paid for" in str(outcome.error)
        assert len(images(folder)) == 2
        kept.rename(table)
        runner.clear(task)
        assert (runner.run(task).state, emulator.books.posts_received) == ("success", 4)

    @pytest.mark.slow
    def test_execution_timeout_holds_while_nobody_runs_and_lands_what_is_ready(
        self, batch: Batch, folder: Path
    ) -> None:
        # before the first poll, 20 s after the POST
        outcome = Runner().run(batch(execution_timeout=timedelta(seconds=14)))
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "AirflowTaskTimeout")
        assert len(outcome.deferrals) == 1
        assert len(images(folder)) == 4


@pytest.fixture(scope="module")
def paced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Outcome, Books]]:
    """30 rows at 20 a minute, with real triggers, each of them twice, and nothing said about when to poll."""
    settings = Settings.fast(
        rate_limit_per_minute=PER_MINUTE, seconds_per_image=(20.0, 30.0), flat_images=True
    )
    with Emulator(settings) as emulator, pytest.MonkeyPatch.context() as patched:
        connection = json.loads(emulator.airflow_connection_json()) | {
            "extra": {"requests_per_minute": PER_MINUTE}
        }
        patched.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        given: dict[str, Any] = {
            "destination": tmp_path_factory.mktemp("paced").as_uri(),
            "deferrable": True,
            "max_in_flight": 200,
        }
        with DAG("guarantees", schedule=None):
            size = "portrait_16_9"  # of which no other test has taught this process how long it takes
            task = SeedreamBatchOperator(task_id="batch", requests=rows(PACED_ROWS), image_size=size, **given)
        yield Runner(trigger_copies=2, patience_seconds=600).run(task), emulator.books


@pytest.mark.slow
class TestAPacedTable:
    def test_every_row_is_paid_once_and_landed(self, paced: tuple[Outcome, Books]) -> None:
        outcome, books = paced
        assert (outcome.state, outcome.tries) == ("success", 1), outcome.error
        assert (books.posts, outcome.value["count"]["landed"]) == (PACED_ROWS, PACED_ROWS)
        assert (outcome.value["credits"], books.violations) == (books.credits_charged, ())

    def test_nothing_meets_the_rate_limit(self, paced: tuple[Outcome, Books]) -> None:
        _, books = paced
        assert [request for request in books.requests if request.status == 429] == []

    def test_the_triggerer_only_polls(self, paced: tuple[Outcome, Books]) -> None:
        _, books = paced
        assert set(books.methods_by_user_agent[f"{USER_AGENT} (trigger)"]) == {"GET"}

    def test_it_is_woken_a_few_times_with_rows_and_events_that_are_small(
        self, paced: tuple[Outcome, Books]
    ) -> None:
        outcome, _ = paced
        sizes = [(len(one.row), len(one.event or "")) for one in outcome.deferrals]
        print(f"{len(sizes)} deferrals, bytes of rows and events: {sizes}")
        assert 2 <= len(sizes) <= 6
        assert max(row for row, _ in sizes) > 2_000, "all that the rate allows was in flight"
        # an event names the file of the progress as well
        assert all(row < 6_000 and event < 512 for row, event in sizes)


@pytest.mark.slow
@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "synchronous"])
class TestWherePollsCount:
    def test_submissions_and_polls_share_the_rate_and_nothing_waits_for_ever(
        self, deferrable: bool, batch: Batch, emulator: Emulator, connect: Connect
    ) -> None:
        emulator.configure(rate_limit_per_minute=60, status_counts=True, seconds_per_image=(1.0, 3.0))
        connect(emulator, requests_per_minute=60, status_counts_toward_limit=True)
        outcome = Runner(patience_seconds=200).run(batch(45, deferrable=deferrable, poke_interval=1))
        assert (outcome.state, outcome.value["count"]["landed"]) == ("success", 45)
        counted = [request for request in emulator.books.requests if request.area in ("generate", "status")]
        refused = [request for request in counted if request.status == 429]
        print(f"{len(refused)} of {len(counted)} calls met a 429, {len(outcome.deferrals)} deferrals")
        assert emulator.books.posts == 45
        assert len(refused) <= 0.1 * len(counted)
