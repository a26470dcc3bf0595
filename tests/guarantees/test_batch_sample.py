"""A sample of a batch: its rows are paid and landed, a person is asked, and what a yes, a no and no answer
cost.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseNotifier, task

from airflow_provider_seedream.bounds import Sample
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Batch, Connect, images, results

YES, NO = ["Approve"], ["Reject"]


@pytest.fixture
def batch(destination: str) -> Batch:
    def batch(requests: Any, sample: Any = 3, **more: Any) -> SeedreamBatchOperator:
        given = {"destination": destination, "poke_interval": POKE_SECONDS, "sample": sample, **more}
        with DAG("guarantees", schedule=None):
            return SeedreamBatchOperator(task_id="batch", requests=requests, **given)

    return batch


@pytest.fixture(autouse=True)
def unlimited(emulator: Emulator, connect: Connect) -> None:
    emulator.configure(flat_images=True)
    connect(emulator, requests_per_minute=600)


def watches(rows: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"watch {row}", "sku": f"S{row}", **more} for row in range(1, rows + 1)]


class Told(BaseNotifier):
    """Keeps what it was told, and when: how many images had been paid by then."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self.notes = notes

    def notify(self, context: Any) -> None:
        self.notes.append(context["ti"].task_id)


class TestTheQuestion:
    def test_only_the_sample_is_paid_and_the_question_says_what_a_yes_costs(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        rows = watches(30, num_images=2)
        rows[1]["prompt"] += " [safety]"
        question = Runner().ask(batch(rows, on_error="continue"))
        assert (emulator.books.posts_received, len(images(folder))) == (3, 4)
        assert question["subject"] == "Send the other 27 rows of batch?"
        assert question["options"] == ["Approve", "Reject"]
        body = question["body"]
        assert "A sample of 3 rows: 2 landed, 1 moderated. 40 credits." in body
        assert (
            "**A yes sends 27 requests for 54 images: up to 540 credits, about 3 s at 600 requests a "
            "minute.**" in body
        )
        assert "A no ends the batch: only this sample is paid." in body
        assert body.count("[![Image") == 4
        assert "seedream/thumb/guarantees/" in body
        assert "sku: S1" in body
        assert "Row 2: moderated: " in body
        assert [line["row"] for line in results(folder, "results_sample")] == [1, 2, 3]
        assert not (folder / "results.jsonl").exists()

    @pytest.mark.slow
    def test_the_rest_costs_what_the_ledger_and_the_budget_leave(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        rows = [*watches(10), *watches(2), {"prompt": ""}]
        body = Runner().ask(batch(rows, max_credits=60, on_error="continue"))["body"]
        assert "**A yes sends 3 requests for 3 images: up to 30 credits" in body
        assert "Of the other rows, these cost nothing: 4 over budget, 2 landed, 1 invalid." in body

    @pytest.mark.slow
    def test_many_pictures_stay_below_what_a_database_keeps_and_the_gallery_has_the_rest(
        self, batch: Batch
    ) -> None:
        long = [{"prompt": f"watch {row} {'x' * 3000}", "note": "y" * 3000} for row in range(30)]
        body = Runner().ask(batch(long, 28))["body"]
        assert len(body.encode()) < 64 * 1024
        assert body.count("[![Image") == 24
        assert "[4 more pictures are in the gallery.](seedream/task/guarantees/" in body

    def test_a_table_that_is_not_longer_than_the_sample_needs_no_question(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        # two rows repeat earlier ones, so a yes would cost nothing
        outcome = Runner().run(batch([*watches(3), *watches(2)]))
        assert (outcome.state, outcome.value["count"]["landed"], emulator.books.posts_received) == (
            "success",
            5,
            3,
        )

    @pytest.mark.slow
    def test_a_seed_picks_random_rows_and_the_same_ones_in_each_try(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        picked = []
        for name in ("first", "second"):
            Runner(run_id=name).ask(batch(watches(40), Sample(rows=4, seed=7), results=name))
            picked.append([line["row"] for line in results(folder, f"{name}_sample")])
        assert picked[0] == picked[1] != [1, 2, 3, 4]
        assert len(picked[0]) == 4
        assert emulator.books.posts_received == 8

    def test_the_person_is_told_and_may_be_named(self, batch: Batch) -> None:
        notes: list[str] = []
        anna = {"id": "1", "name": "anna"}
        question = Runner().ask(
            batch(watches(9), Sample(rows=2, notifiers=[Told(notes)], assigned_users=[anna]))
        )
        assert (notes, question["assigned_users"]) == (["batch"], [anna])

    def test_a_notifier_that_fails_does_not_take_the_question_back(self, batch: Batch) -> None:
        class Away(BaseNotifier):
            def notify(self, context: Any) -> None:
                raise OSError("the mail server is away")

        notes: list[str] = []
        runner, its = Runner(), batch(watches(4), Sample(rows=2, notifiers=[Away(), Told(notes)]))
        runner.ask(its)
        outcome = runner.answer(its, YES)
        assert (notes, outcome.state, outcome.tries) == (["batch"], "success", 1)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"notifiers": Told([])},
            {"notifiers": ["mail"]},
            {"assigned_users": ["anna"]},
            {"assigned_users": [{"id": 1, "name": "a"}]},
        ],
        ids=["one notifier", "a text", "a name", "a number"],
    )
    def test_what_is_used_when_the_sample_is_paid_is_checked_in_the_dag(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(SeedreamInputError, match=f"sample: {next(iter(wrong))} must be a list"):
            Sample(**wrong)


class TestAYes:
    @pytest.mark.parametrize(
        ("sample", "deferrable"),
        [(3, True), (Sample(rows=3, seed=7), False)],
        ids=["the first rows, deferred", "random rows"],
    )
    def test_the_rest_is_sent_and_every_row_has_its_line_and_its_price_once(
        self, sample: Any, deferrable: bool, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        runner, its = Runner(), batch([*watches(12), *watches(4)], sample, deferrable=deferrable)
        runner.ask(its)
        assert emulator.books.posts_received == 3
        outcome = runner.answer(its, YES)
        assert (outcome.state, outcome.value["count"]["landed"]) == ("success", 16), outcome.error
        assert "Approved by a person: going on." in outcome.log_text
        assert emulator.books.posts_received == len(images(folder)) == 12
        assert (
            outcome.value["credits"]
            == sum(line["credits"] for line in results(folder))
            == emulator.books.credits_charged
            == 120
        )
        assert [line["row"] for line in results(folder)] == list(range(1, 17))
        assert not list(folder.glob("_seedream/batch/**/*.json*"))

    def test_a_retry_after_it_does_not_ask_again(self, batch: Batch, emulator: Emulator) -> None:
        rows = [
            *watches(3),
            *({"prompt": f"an owl {row} [drop-after-accept]"} for row in range(3)),
            *watches(9)[3:],
        ]
        runner, its = Runner(), batch(rows, retries=1, max_posts_at_once=1)
        runner.ask(its)
        # three unknown outcomes in a row stop the try, and the next one goes on
        outcome = runner.answer(its, YES)
        assert outcome.tries == 2
        assert emulator.books.posts_received == 12

    @pytest.mark.slow
    def test_each_mapped_instance_asks_about_its_own_rows(self, destination: str, emulator: Emulator) -> None:
        tables = [[{"prompt": f"{kind} {row}"} for row in range(6)] for kind in ("watch", "fox")]
        with DAG("guarantees", schedule=None):
            its = SeedreamBatchOperator.partial(
                task_id="batch", destination=destination, poke_interval=POKE_SECONDS, sample=2
            ).expand(requests=tables)
        runner = Runner()
        subjects = [runner.ask(its, map_index=index)["subject"] for index in range(2)]
        assert subjects == ["Send the other 4 rows of batch?"] * 2
        assert runner.answer(its, NO, map_index=0).state == "skipped"
        assert runner.answer(its, YES, map_index=1).value["count"]["landed"] == 6
        assert emulator.books.posts_received == 2 + 6

    @pytest.mark.slow
    def test_a_decorated_batch_asks_too(self, destination: str, emulator: Emulator) -> None:
        with DAG("guarantees", schedule=None) as dag:

            @task.seedream_batch(
                task_id="batch", destination=destination, poke_interval=POKE_SECONDS, sample=2
            )
            def batch() -> list[dict[str, Any]]:
                return watches(5)

            batch()
        runner, its = Runner(), dag.get_task("batch")
        runner.ask(its)
        assert emulator.books.posts_received == 2
        assert runner.answer(its, YES).value["count"]["landed"] == 5

    @pytest.mark.slow
    def test_an_answer_that_comes_without_the_arguments_of_the_wait_finds_the_progress(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        runner, its = Runner(keeps_kwargs=False), batch(watches(5))
        runner.ask(its)
        assert runner.answer(its, YES).value["count"]["landed"] == 5

    @pytest.mark.slow
    def test_the_time_of_the_person_is_no_part_of_execution_timeout(self, batch: Batch, folder: Path) -> None:
        runner, its = Runner(), batch(watches(5), execution_timeout=timedelta(seconds=60))
        runner.ask(its)
        [file] = folder.glob("_seedream/batch/*/progress.json")
        progress = json.loads(file.read_text())
        for field in ("started_epoch", "asked_epoch"):
            progress[field] -= 3600
        file.write_text(json.dumps(progress))
        assert runner.answer(its, YES).state == "success"


class TestANo:
    def test_a_broken_template_costs_the_sample_and_the_rest_is_skipped(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        runner, its = Runner(), batch(watches(60), retries=2)
        runner.ask(its)
        outcome = runner.answer(its, NO)
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("skipped", 1, 3)
        assert Counter(line["status"] for line in results(folder)) == {"landed": 3, "skipped": 57}
        assert {line["detail"] for line in results(folder)[3:]} == {"Not sent: the sample was rejected."}
        assert "Not sent: 57 (sample rejected)." in outcome.log_text
        assert outcome.xcoms["results"].endswith("/results.jsonl")

    @pytest.mark.slow
    def test_a_clear_asks_again_and_the_sample_is_not_paid_again(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        runner, its = Runner(), batch(watches(9))
        runner.ask(its)
        runner.answer(its, NO)
        runner.clear(its)
        assert "A sample of 3 rows: 3 landed." in runner.ask(its)["body"]
        assert emulator.books.posts_received == 3
        assert runner.answer(its, YES).value["count"]["landed"] == 9
        assert emulator.books.posts_received == 9

    @pytest.mark.slow
    def test_rows_of_the_sample_that_failed_change_nothing(self, batch: Batch, emulator: Emulator) -> None:
        runner, its = Runner(), batch([{"prompt": f"watch {row} [fail]"} for row in range(9)], retries=2)
        runner.ask(its)
        outcome = runner.answer(its, NO)
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("skipped", 1, 3)

    @pytest.mark.parametrize("event", [{"chosen_options": ["Approve", "Reject"]}, "yes"])
    def test_an_answer_that_is_not_understood_is_no_permission(
        self, event: Any, batch: Batch, emulator: Emulator
    ) -> None:
        runner, its = Runner(), batch(watches(5))
        runner.ask(its)
        assert runner.resume_asked(its, event).state == "skipped"
        assert emulator.books.posts_received == 3


class TestNoAnswer:
    def test_a_timeout_fails_without_retries_and_a_clear_asks_again(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        runner, its = (
            Runner(),
            batch(watches(9), Sample(rows=3, response_timeout=timedelta(hours=8)), retries=2),
        )
        assert "A no, or no answer within 8 h, ends the batch" in runner.ask(its)["body"]
        outcome = runner.resume_asked(its, {"error": "The timeout has passed", "error_type": "timeout"})
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 1, 3)
        assert str(outcome.error).startswith("NO ANSWER IN TIME, 30 credits paid: ")
        assert "6 of 9 rows are skipped" in str(outcome.error)
        assert Counter(line["status"] for line in results(folder)) == {"landed": 3, "skipped": 6}
        runner.clear(its)
        runner.ask(its)
        assert emulator.books.posts_received == 3

    @pytest.mark.slow
    def test_a_retry_before_the_answer_asks_about_the_same_rows_and_pays_nothing(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        runner, its = Runner(), batch(watches(9), Sample(rows=3, seed=1), retries=1)
        runner.ask(its)
        before = results(folder, "results_sample")
        # as the scheduler does with a task whose process died before it waited
        runner.instance(its).state = "up_for_retry"
        runner.ask(its)
        assert emulator.books.posts_received == 3
        assert [line["row"] for line in results(folder, "results_sample")] == [line["row"] for line in before]
