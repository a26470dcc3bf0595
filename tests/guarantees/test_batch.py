"""A table of requests in one task: what is paid, what lands, what the table of results says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.rate_limit import limiter
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Batch, Connect, images, records, results
from tests.guarantees.faulty_storage import ERRORS, FOLDER, faulty_storage

WATCH = Path(__file__).parents[2] / "example_dags" / "sources" / "watch.jpg"
pytestmark = pytest.mark.usefixtures("unlimited")


def prompts(number: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"watch {index}", "sku": f"S{index}", **more} for index in range(number)]


class TestATable:
    def test_every_row_is_paid_once_and_landed_and_has_its_line(
        self, batch: Batch, emulator: Emulator, folder: Path, price: int
    ) -> None:
        outcome = Runner().run(batch(prompts(12, num_images=2)))
        assert outcome.state == "success", outcome.error
        assert (emulator.books.posts_received, emulator.books.credits_charged) == (12, 24 * price)
        assert len(images(folder)) == 24
        table = results(folder)
        assert [line["row"] for line in table] == list(range(1, 13))
        assert {line["status"] for line in table} == {"landed"}
        assert [line["sku"] for line in table] == [f"S{index}" for index in range(12)]
        assert all(Path(uri.removeprefix("file://")).exists() for line in table for uri in line["images"])
        assert outcome.value["count"]["landed"] == outcome.value["rows"] == 12
        assert outcome.value["credits"] == sum(line["credits"] for line in table) == 24 * price
        assert outcome.value["images"] == 24
        assert len(records(folder)) == 12

    def test_an_invalid_row_amid_posts_under_way_is_refused_and_holds_up_no_other(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        # so that rows are under way when the next ones come to their turn
        emulator.configure(latency_seconds=0.2)
        rows = [{"prompt": "" if number % 3 == 2 else f"watch {number}"} for number in range(9)]
        outcome = Runner().run(batch(rows, on_error="continue", max_posts_at_once=4))
        assert outcome.state == "success", outcome.error
        assert [line["status"] for line in results(folder)] == ["landed", "landed", "invalid"] * 3
        assert emulator.books.posts_received == 6

    def test_nothing_of_the_work_in_between_stays_behind(self, batch: Batch, folder: Path) -> None:
        Runner().run(batch(prompts(3)))
        assert not list(folder.glob("_seedream/batch/**/*.json*"))

    def test_a_file_is_read_where_it_lies_and_a_template_makes_the_prompts(
        self, batch: Batch, emulator: Emulator, folder: Path, tmp_path: Path
    ) -> None:
        table = tmp_path / "requests.csv"
        table.write_text("colour,num_images,name\nred,2,first\nblue,,second\n")
        outcome = Runner().run(batch(str(table), template="a {{ colour }} watch, {{ ds }}"))
        assert outcome.state == "success", outcome.error
        assert {entry.prompt for entry in emulator.books.submissions} == {
            "a red watch, 2026-03-01",
            "a blue watch, 2026-03-01",
        }
        assert [(line["name"], line["colour"], len(line["images"])) for line in results(folder)] == [
            ("first", "red", 2),
            ("second", "blue", 1),
        ]

    @pytest.mark.parametrize(
        ("below", "more", "says"),
        [
            (
                "requests.jsonl",
                {"results": "requests"},
                "results 'requests' would overwrite the table of requests",
            ),
            ("", {}, "lies in the folder of the requests"),
            ("requests.jsonl", {}, None),
        ],
        ids=["its name", "its folder", "beside it"],
    )
    def test_a_batch_does_not_write_into_its_own_table(
        self,
        below: str,
        more: dict[str, Any],
        says: str | None,
        batch: Batch,
        emulator: Emulator,
        folder: Path,
    ) -> None:
        folder.mkdir()
        table = folder / "requests.jsonl"
        table.write_text('{"prompt": "a watch"}\n')
        outcome = Runner().run(batch(f"{folder}/{below}", **more))
        assert table.read_text() == '{"prompt": "a watch"}\n'
        assert (outcome.state, emulator.books.posts_received) == (("failed", 0) if says else ("success", 1))
        assert (says or "None") in str(outcome.error)

    def test_a_row_with_images_is_an_edit(self, batch: Batch, emulator: Emulator, folder: Path) -> None:
        Runner().run(batch(prompts(1)))
        source = results(folder)[0]["images"][0]
        outcome = Runner(run_id="second").run(
            batch([{"prompt": "make it blue", "images": [source]}], results="edits")
        )
        assert outcome.state == "success", outcome.error
        assert [entry.kind for entry in emulator.books.submissions] == ["generate", "edit"]
        assert results(folder, "edits")[0]["sources"] == [source]

    def test_an_empty_table_is_an_empty_result(self, batch: Batch, emulator: Emulator, folder: Path) -> None:
        outcome = Runner().run(batch([]))
        assert (outcome.state, outcome.value["rows"], results(folder)) == ("success", 0, [])
        assert emulator.books.posts_received == 0

    def test_no_more_than_max_in_flight_wait_at_once(self, batch: Batch, emulator: Emulator) -> None:
        outcome = Runner().run(batch(prompts(12), max_in_flight=3))
        assert outcome.state == "success"
        assert most_in_flight(emulator) <= 3

    def test_equal_rows_share_one_generation_and_one_price(
        self, batch: Batch, emulator: Emulator, folder: Path, price: int
    ) -> None:
        outcome = Runner().run(batch([{"prompt": "a fox", "page": page} for page in range(4)]))
        assert (outcome.state, emulator.books.posts_received, outcome.value["credits"]) == (
            "success",
            1,
            price,
        )
        assert len({line["seedream_task_id"] for line in results(folder)}) == 1
        assert [line["page"] for line in results(folder)] == [0, 1, 2, 3]

    def test_edits_of_equal_bytes_have_one_price_also_when_it_is_unknown_whether_it_was_paid(
        self, batch: Batch, emulator: Emulator, tmp_path: Path
    ) -> None:
        emulator.configure(latency_seconds=0.2)  # so that all three are under way
        sources = [tmp_path / f"{number}.jpg" for number in range(3)]
        for source in sources:
            source.write_bytes(WATCH.read_bytes())
        edits = [
            {"prompt": "make it blue [drop-after-accept]", "images": [source.as_uri()]} for source in sources
        ]
        outcome = Runner().run(batch([*prompts(3), *edits], on_error="continue", max_posts_at_once=4))
        assert (outcome.state, outcome.value["count"]["unknown"]) == ("success", 3), outcome.error
        assert outcome.value["credits"] == emulator.books.credits_charged == 40
        assert "UNKNOWN OUTCOME, up to 10 credits at risk" in outcome.log_text


class TestShards:
    @pytest.fixture
    def mapped(self, destination: str, deferrable: bool, tmp_path: Path) -> Callable[..., Any]:
        """Two tables of three rows, worked off by two instances of one task."""

        def mapped(**more: Any) -> Any:
            uris = []
            for shard in range(2):
                path = tmp_path / f"shard{shard}.jsonl"
                path.write_text(
                    "".join(json.dumps({"prompt": f"watch {shard} {row}"}) + "\n" for row in range(3))
                )
                uris.append(path.as_uri())
            given = {
                "destination": destination,
                "deferrable": deferrable,
                "poke_interval": POKE_SECONDS,
                **more,
            }
            with DAG("guarantees", schedule=None):
                return SeedreamBatchOperator.partial(task_id="batch", **given).expand(requests=uris)

        return mapped

    def test_each_has_a_table_of_results(
        self, mapped: Callable[..., Any], emulator: Emulator, folder: Path
    ) -> None:
        outcomes = Runner().run_mapped(mapped())
        assert {outcome.state for outcome in outcomes} == {"success"}
        assert [outcome.value["results"].rpartition("/")[2] for outcome in outcomes] == [
            "results_0.jsonl",
            "results_1.jsonl",
        ]
        assert [len(results(folder, f"results_{shard}")) for shard in range(2)] == [3, 3]
        assert emulator.books.posts_received == 6

    @pytest.mark.parametrize("field", ["max_credits", "max_credits_per_run"])
    def test_they_share_a_budget(self, field: str, mapped: Callable[..., Any], emulator: Emulator) -> None:
        outcomes = Runner().run_mapped(mapped(**{field: 40}))
        assert [outcome.value["count"]["landed"] for outcome in outcomes] == [3, 1]
        assert emulator.books.credits_charged == sum(outcome.value["credits"] for outcome in outcomes) == 40


class TestReuse:
    def test_g18_ten_rows_in_three_runs_are_ten_posts_and_ten_prices(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        outcomes = [
            Runner(run_id=f"run{run}").run(
                batch(prompts(10)[:: 1 if run < 2 else -1], reuse="content", results=f"results{run}")
            )
            for run in range(3)
        ]
        assert {outcome.state for outcome in outcomes} == {"success"}
        assert (emulator.books.posts_received, emulator.books.downloads) == (10, 10)
        assert [outcome.value["credits"] for outcome in outcomes] == [100, 0, 0]
        assert [outcome.value["images"] for outcome in outcomes] == [10, 10, 10]
        assert results(folder, "results2")[0]["images"] == results(folder, "results0")[9]["images"]

    def test_g18_takes_one_to_four_are_four_sets(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        rows = [{"prompt": "a fox", "name": "fox", "take": take} for take in range(1, 5)]
        assert Runner().run(batch(rows)).state == "success"
        assert emulator.books.posts_received == 4
        assert images(folder) == ["fox_1.png", "fox_take2_1.png", "fox_take3_1.png", "fox_take4_1.png"]


class TestWhatARetryPaysFor:
    def test_a_retry_pays_for_nothing_when_the_results_are_lost(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        runner, task = Runner(), batch(prompts(5))
        runner.run(task)
        (folder / "results.jsonl").unlink()
        runner.clear(task)
        outcome = runner.run(task)
        assert (outcome.state, emulator.books.posts_received, emulator.books.downloads) == ("success", 5, 5)
        assert {line["status"] for line in results(folder)} == {"landed"}
        assert outcome.value["credits"] == 50

    def test_equal_rows_have_one_price_in_every_try(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        runner, task = Runner(), batch([{"prompt": "a fox"}, {"prompt": "a dog"}, {"prompt": "a fox"}])
        for _ in range(2):
            outcome = runner.run(task)
            assert (outcome.state, outcome.value["credits"]) == ("success", 20)
            assert [line["credits"] for line in results(folder)] == [10, 10, 0]
            runner.clear(task)
        assert emulator.books.posts_received == 2

    def test_a_retry_pays_for_nothing_and_takes_no_turn_where_polls_count_when_all_has_landed(
        self, batch: Batch, emulator: Emulator, connect: Connect
    ) -> None:
        runner, task = Runner(), batch(prompts(8))
        runner.run(task)
        emulator.configure(rate_limit_per_minute=1, status_counts=True)
        connect(emulator, requests_per_minute=1, status_counts_toward_limit=True)
        runner.clear(task)
        calls = len(emulator.books.requests)
        assert runner.run(task).state == "success"
        assert len(emulator.books.requests) == calls

    def test_a_retry_pays_only_for_the_new_rows_when_the_table_is_reordered_and_has_grown(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        runner, task = Runner(), batch(prompts(5))
        runner.run(task)
        runner.clear(task)
        outcome = runner.run(batch([*reversed(prompts(7))]))
        assert (outcome.state, emulator.books.posts_received, outcome.value["count"]["landed"]) == (
            "success",
            7,
            7,
        )

    def test_a_retry_pays_nothing_for_a_partial_row_which_stays_so_when_the_results_are_gone(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        runner, task = Runner(), batch([{"prompt": "few [partial]", "num_images": 2}], on_partial="accept")
        for _ in range(2):
            outcome = runner.run(task)
            assert (outcome.state, outcome.value["count"]["partial"]) == ("success", 1), outcome.error
            assert len(results(folder)[0]["images"]) == 1
            assert [record["outcome"] for record in records(folder)] == ["partial"]
            emulator.clock.advance(25 * 3600)
            runner.clear(task)
        assert emulator.books.posts_received == 1

    def test_a_retry_pays_only_for_what_was_refunded(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        rows = [*prompts(3), {"prompt": "a watch [fail*1]"}]
        outcome = Runner().run(batch(rows, retries=1))
        assert (outcome.state, outcome.tries) == ("success", 2)
        assert (
            emulator.books.posts_received,
            emulator.books.credits_charged,
            emulator.books.credits_refunded,
        ) == (5, 50, 10)
        assert {line["status"] for line in results(folder)} == {"landed"}


class TestRowsThatDoNotLand:
    ROWS: ClassVar = [
        {"prompt": "a watch"},
        {"prompt": "a gun [safety]"},
        {"prompt": "broken [fail]"},
        {"prompt": "few [partial]", "num_images": 2},
    ]

    def test_rows_that_do_not_land_fail_the_task_when_all_others_have_landed(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        outcome = Runner().run(batch(self.ROWS))
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamBatchError")
        assert [line["status"] for line in results(folder)] == ["landed", "moderated", "failed", "partial"]
        assert [line["paid"] for line in results(folder)] == ["yes", "refunded", "refunded", "yes"]
        assert [line["credits"] for line in results(folder)] == [10, 0, 0, 20]
        assert "results.jsonl" in str(outcome.error)

    def test_one_that_is_refused_at_submit_by_moderation_is_moderated_and_free(
        self, batch: Batch, folder: Path
    ) -> None:
        Runner().run(batch([{"prompt": "a watch"}, {"prompt": "a gun [moderation]"}]))
        ends = [(line["status"], line["paid"], line["credits"]) for line in results(folder)]
        assert ends == [("landed", "yes", 10), ("moderated", "no", 0)]

    def test_rows_that_do_not_land_only_show_in_the_table_on_request(
        self, batch: Batch, folder: Path
    ) -> None:
        outcome = Runner().run(batch(self.ROWS, on_error="continue", on_partial="accept"))
        assert (outcome.state, outcome.value["count"]["landed"], outcome.value["count"]["failed"]) == (
            "success",
            1,
            1,
        )

    def test_retries_end_where_no_row_can_gain_by_one(self, batch: Batch, emulator: Emulator) -> None:
        outcome = Runner().run(batch([{"prompt": "a gun [safety]"}], retries=3))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 1, 1)

    def test_what_is_paid_and_not_landed_fails_the_task_even_with_continue(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        rows = [*prompts(2), {"prompt": "slow [never-ends]"}]
        outcome = Runner().run(batch(rows, on_error="continue", timeout=1.5))
        assert (outcome.state, outcome.tries) == ("failed", 1)
        assert [line["status"] for line in results(folder)] == ["landed", "landed", "failed"]
        assert results(folder)[2]["paid"] == "yes"

    def test_a_post_without_an_answer_is_unknown_and_the_others_go_on(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        rows = [*prompts(2), {"prompt": "lost [drop-after-accept]"}, {"prompt": "a cat"}]
        outcome = Runner().run(batch(rows, on_error="continue", retries=2))
        assert (outcome.state, emulator.books.posts_received) == ("success", 4)
        assert [line["status"] for line in results(folder)] == ["landed", "landed", "unknown", "landed"]
        assert (results(folder)[2]["paid"], results(folder)[2]["credits"]) == ("unknown", 10)

    def test_three_posts_in_a_row_without_an_answer_stop_the_sending(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        rows = [*prompts(2), *({"prompt": f"lost {index} [error-after-accept]"} for index in range(5))]
        outcome = Runner().run(batch(rows, on_error="continue", max_posts_at_once=1))
        assert (outcome.state, emulator.books.posts_received) == ("failed", 5)
        assert "2 of 7 rows were not sent" in str(outcome.error)
        assert len(images(folder)) == 2

    @pytest.mark.parametrize("at_once", [8, 16])
    def test_posts_without_an_answer_stop_the_sending_when_several_are_under_way(
        self, at_once: int, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        """The count of unknown outcomes begins anew with each accepted POST, and answers come in any order:
        so one row is accepted first, and alone, as its price is measured.
        """
        emulator.configure(latency_seconds=0.1)
        rows = [*prompts(1), *({"prompt": f"lost {index} [error-after-accept]"} for index in range(40))]
        outcome = Runner().run(batch(rows, on_error="continue", max_posts_at_once=at_once))
        lost = emulator.books.posts_received - 1
        assert (outcome.state, len(images(folder))) == ("failed", 1)
        assert 3 <= lost <= at_once, (
            "those under way at the first; or one after the other, until three are unknown"
        )
        assert f"{40 - lost} of 41 rows were not sent" in str(outcome.error)

    def test_accepted_posts_amid_lost_ones_let_two_more_be_lost_each(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        """However late their answers come: each begins the count anew after two lost ones at most."""
        emulator.configure(latency_seconds=0.1)
        rows = [*prompts(3), *({"prompt": f"lost {index} [error-after-accept]"} for index in range(40))]
        outcome = Runner().run(batch(rows, on_error="continue", max_posts_at_once=8))
        lost = emulator.books.posts_received - 3
        assert (outcome.state, len(images(folder))) == ("failed", 3)
        assert 3 <= lost <= 8 + 2 * 2, "the first was accepted alone, before any was lost"


ANSWER_SECONDS = 0.3
# where a test needs several POSTs under way: a busy machine begins them with pauses in between
LONG_ANSWER_SECONDS = 1.0


@pytest.fixture
def slow(emulator: Emulator) -> Emulator:
    """An API that takes its time: so several POSTs are under way."""
    emulator.configure(latency_seconds=ANSWER_SECONDS)
    return emulator


@pytest.fixture
def slower(emulator: Emulator) -> Emulator:
    emulator.configure(latency_seconds=LONG_ANSWER_SECONDS)
    return emulator


def most_under_way(emulator: Emulator, area: str = "generate") -> int:
    """The most requests whose answers were due at the same time."""
    seconds = emulator.settings.latency_seconds[0]
    began = [request.at for request in emulator.books.requests if request.area == area]
    return max(sum(0 <= at - other < seconds for other in began) for at in began)


class TestSeveralPostsAtOnce:
    def test_as_many_generations_land_at_once_as_their_bytes_allow(
        self, batch: Batch, slower: Emulator
    ) -> None:
        outcome = Runner().run(batch(prompts(20), deferrable=False))
        assert outcome.state == "success"
        assert most_under_way(slower, "status") > 4, "not four threads alone"

    @pytest.mark.parametrize(("at_once", "rows"), [(1, 3), (4, 10)])
    def test_no_more_posts_are_under_way_than_allowed(
        self, at_once: int, rows: int, batch: Batch, slower: Emulator
    ) -> None:
        outcome = Runner().run(batch(prompts(rows), max_posts_at_once=at_once))
        assert (outcome.state, slower.books.posts) == ("success", rows)
        assert most_under_way(slower) == at_once

    def test_a_slow_key_sends_one_at_a_time(self, batch: Batch, slow: Emulator, connect: Connect) -> None:
        connect(slow, requests_per_minute=10)  # a second POST would be of use where one takes more than 5 s
        outcome = Runner().run(batch(prompts(6)))
        assert (outcome.state, slow.books.posts, most_under_way(slow)) == ("success", 6, 1)

    def test_equal_rows_in_flight_make_one_post_and_pay_once(
        self, batch: Batch, slow: Emulator, folder: Path
    ) -> None:
        rows = [{"prompt": f"watch {index % 5}"} for index in range(20)]
        outcome = Runner().run(batch(rows))
        assert (outcome.state, slow.books.posts_received, outcome.value["credits"]) == ("success", 5, 50)
        assert [line["credits"] for line in results(folder)] == [*[10] * 5, *[0] * 15]

    def test_edits_of_equal_bytes_make_one_post_and_pay_once(
        self, batch: Batch, slow: Emulator, folder: Path, tmp_path: Path
    ) -> None:
        """Their rows differ, so only the ledger tells that they are one request."""
        for index in range(6):
            (tmp_path / f"{index}.jpg").write_bytes(WATCH.read_bytes())
        edits = [
            {"prompt": "make it blue", "images": [(tmp_path / f"{index}.jpg").as_uri()]} for index in range(6)
        ]
        outcome = Runner().run(batch([*prompts(2), *edits]))
        assert (outcome.state, slow.books.posts_received, outcome.value["credits"]) == ("success", 3, 30)
        assert sorted(line["credits"] for line in results(folder)) == [*[0] * 5, *[10] * 3]

    @pytest.mark.parametrize("limit", ["max_credits", "max_credits_per_run"])
    def test_g16_the_first_rows_get_the_budget_and_not_a_credit_more_is_spent(
        self, limit: str, batch: Batch, slow: Emulator, folder: Path
    ) -> None:
        outcome = Runner().run(batch(prompts(40), **{limit: 255}))
        assert (outcome.state, slow.books.credits_charged) == ("success", 250)
        assert [line["status"] for line in results(folder)] == [*["landed"] * 25, *["skipped_budget"] * 15]
        assert most_under_way(slow) > 4

    def test_g16_a_row_that_fits_when_another_is_refused_is_not_skipped(
        self, batch: Batch, slow: Emulator, folder: Path
    ) -> None:
        """The wallet's budget has room for three. The API refuses two of the first, and their price is
        there again.
        """
        rows = [{"prompt": "a"}, {"prompt": "b [moderation]"}, {"prompt": "c [moderation]"}, *prompts(3)]
        outcome = Runner().run(batch(rows, max_credits=30, on_error="continue"))
        statuses = [line["status"] for line in results(folder)]
        assert statuses == ["landed", "moderated", "moderated", "landed", "landed", "skipped_budget"]
        assert (outcome.state, slow.books.credits_charged) == ("success", 30)

    def test_429s_of_several_at_once_slow_down_once(self, batch: Batch, slower: Emulator) -> None:
        refused = [{"prompt": f"clock {index} [refuse:429*1]"} for index in range(6)]
        outcome = Runner().run(batch([*prompts(4), *refused]))
        [used] = limiter._limiters.values()
        assert (outcome.state, slower.books.posts, slower.books.posts_received) == ("success", 10, 16)
        assert 0.85**3 < used.share < 1, "each 429 alone would have left a share of 0.85 to the sixth"

    def test_an_error_of_the_storage_loses_no_answer_that_was_on_its_way(
        self, batch: Batch, slow: Emulator
    ) -> None:
        storage = faulty_storage()
        task = batch(prompts(12), destination=FOLDER, retries=1, max_posts_at_once=8)
        storage.fail("write", "_seedream/names/bad", ERRORS["500"], times=1)
        task.requests[6]["name"] = "bad"
        outcome = Runner().run(task)
        assert (outcome.state, outcome.tries, slow.books.posts_received) == ("success", 2, 12)

    def test_execution_timeout_while_posts_are_under_way_loses_none_of_them(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        emulator.configure(latency_seconds=1.0)
        runner, task = (
            Runner(),
            batch(prompts(40), max_posts_at_once=8, execution_timeout=timedelta(seconds=4)),
        )
        assert type(runner.run(task).error).__name__ == "AirflowTaskTimeout"
        sent = emulator.books.posts_received
        assert {record["outcome"] for record in records(folder)} <= {"submitted", "landed"}
        assert len(records(folder)) == sent < 40
        emulator.configure(latency_seconds=0.0)
        task = batch(prompts(40))
        runner.clear(task)
        assert (runner.run(task).state, emulator.books.posts_received) == ("success", 40)


class TestBeforeAnythingIsSent:
    def test_a_bad_row_is_named_by_its_line(self, batch: Batch, emulator: Emulator, tmp_path: Path) -> None:
        table = tmp_path / "requests.jsonl"
        table.write_text('{"prompt": "a"}\n{"prompt": "b", "num_images": 7}\n{"prompt": "c"}\n')
        outcome = Runner().run(batch(str(table), retries=2))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 1, 0)
        assert "line 2 of requests.jsonl" in str(outcome.error)
        assert "num_images" in str(outcome.error)

    def test_a_name_of_two_requests_is_found_before_either_is_sent(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        rows = [
            {"prompt": "a", "name": "hero"},
            {"prompt": "a", "name": "hero"},
            {"prompt": "b", "name": "hero"},
        ]
        outcome = Runner().run(batch(rows, retries=2))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 1, 0)
        assert "requests[2]: name 'hero' is that of another row" in str(outcome.error)
        outcome = Runner(run_id="second").run(batch(rows, on_error="continue"))
        assert (outcome.state, emulator.books.posts_received, outcome.value["count"]["invalid"]) == (
            "success",
            1,
            1,
        )

    def test_a_parquet_that_nobody_can_write_is_found_before_anything_is_paid(
        self, batch: Batch, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # what Python holds for a module that cannot be imported
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        outcome = Runner().run(batch(prompts(2), parquet=True, retries=2))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 1, 0)
        assert "airflow-provider-seedream[parquet]" in str(outcome.error)

    def test_a_bad_row_costs_nothing_and_the_others_go_on_on_request(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        outcome = Runner().run(batch([{"prompt": "a"}, {"prompt": " ", "sku": 7}], on_error="continue"))
        assert (outcome.state, emulator.books.posts_received) == ("success", 1)
        assert [(line["status"], line["paid"]) for line in results(folder)] == [
            ("landed", "yes"),
            ("invalid", "no"),
        ]
        assert results(folder)[1]["sku"] == 7

    def test_a_dry_run_prices_the_table_and_sends_nothing(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        outcome = Runner().run(
            batch([*prompts(3, num_images=4), {"prompt": ""}], dry_run=True, on_error="continue")
        )
        assert outcome.state == "success"
        assert (outcome.value["rows"], outcome.value["invalid"], outcome.value["credits"]) == (4, 1, 120)
        assert (emulator.books.requests, folder.exists()) == ((), False)

    def test_results_of_another_run_are_not_overwritten(self, batch: Batch, emulator: Emulator) -> None:
        Runner().run(batch(prompts(1)))
        outcome = Runner(run_id="another").run(batch(prompts(1)))
        assert (outcome.state, emulator.books.posts_received) == ("failed", 1)
        assert "results 'results'" in str(outcome.error)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"requests": "rows.txt"},
            {"requests": 7},
            {"max_in_flight": 0},
            {"on_error": "ignore"},
            {"max_credits": -1},
        ],
    )
    def test_static_mistakes_fail_when_the_dag_is_parsed(self, batch: Batch, wrong: dict[str, Any]) -> None:
        with pytest.raises(SeedreamInputError, match=next(iter(wrong))):
            batch(**{"requests": prompts(1), **wrong})


class TestMoney:
    def test_g16_the_budget_holds_and_an_unknown_outcome_counts_as_spent(
        self, batch: Batch, emulator: Emulator, folder: Path, price: int
    ) -> None:
        rows = prompts(10, num_images=2)
        rows[2]["prompt"] += " [drop-after-accept]"
        outcome = Runner().run(batch(rows, max_credits=10 * price, on_error="continue"))
        assert (outcome.state, emulator.books.posts_received, emulator.books.credits_charged) == (
            "success",
            5,
            10 * price,
        )
        statuses = [line["status"] for line in results(folder)]
        assert statuses == ["landed", "landed", "unknown", "landed", "landed", *["skipped_budget"] * 5]

    def test_g16_the_budget_holds_over_retries_and_clears(
        self, batch: Batch, emulator: Emulator, price: int
    ) -> None:
        runner, task = Runner(), batch(prompts(10, num_images=2), max_credits=10 * price)
        for _ in range(2):
            outcome = runner.run(task)
            assert (outcome.state, outcome.value["count"]["skipped_budget"], outcome.value["credits"]) == (
                "success",
                5,
                10 * price,
            )
            runner.clear(task)
        assert emulator.books.credits_charged == 10 * price

    def test_an_empty_wallet_says_what_is_paid_and_not_landed(self, batch: Batch, emulator: Emulator) -> None:
        emulator.configure(balance_credits=20)
        rows = [{"prompt": "slow [never-ends]"}, *prompts(3)]
        outcome = Runner().run(batch(rows, timeout=1.5))
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamInsufficientCreditsError")
        assert "2 of 4 rows were not sent. 1 row is paid for and not landed" in str(outcome.error)
        assert "Paid: yes." in str(outcome.error)

    def test_an_empty_wallet_is_no_end_while_a_retry_can_bring_a_row_further(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        # The fox fails, and is refunded, when the wallet has been empty for a row: not before, also on a slow
        # machine.
        emulator.configure(balance_credits=20, seconds_per_image=(3.0, 3.0))
        outcome = Runner().run(
            batch([{"prompt": "a fox [fail*1]"}, *prompts(4)], retries=3, max_posts_at_once=1)
        )
        assert (outcome.state, outcome.tries) == ("failed", 2), (
            "the second try pays for the fox again, and for no other"
        )
        assert [entry.prompt for entry in emulator.books.submissions].count("a fox [fail*1]") == 2

    def test_an_empty_wallet_ends_the_sending_and_lands_what_is_paid(
        self, batch: Batch, emulator: Emulator, folder: Path
    ) -> None:
        emulator.configure(balance_credits=30)
        runner, task = Runner(), batch(prompts(5), retries=2)
        outcome = runner.run(task)
        assert (outcome.state, outcome.tries, type(outcome.error).__name__) == (
            "failed",
            1,
            "SeedreamInsufficientCreditsError",
        )
        assert "2 of 5 rows were not sent" in str(outcome.error)
        assert len(images(folder)) == 3
        emulator.configure(balance_credits=1000)
        runner.clear(task)
        outcome = runner.run(task)
        assert (outcome.state, emulator.books.credits_charged, outcome.value["count"]["landed"]) == (
            "success",
            50,
            5,
        )


def most_in_flight(emulator: Emulator) -> int:
    """The most generations that were accepted and not yet downloaded, by the order of the server's
    requests.
    """
    flying, most = 0, 0
    for request in emulator.books.requests:
        flying += (request.method == "POST" and request.status == 200) - (
            request.area == "download" and request.status == 200
        )
        most = max(most, flying)
    return most


class TestStorageThatFails:
    @pytest.mark.parametrize("what", ["_seedream/names", "_seedream/ledger"])
    def test_a_ledger_that_does_not_answer_is_not_written_past(
        self, what: str, batch: Batch, emulator: Emulator
    ) -> None:
        storage = faulty_storage()
        storage.fail("write", what, ERRORS["500"], times=1)
        outcome = Runner().run(batch(prompts(3), destination=FOLDER, retries=1))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("success", 2, 3)
        assert [type(error).__name__ for error in outcome.errors] == ["SeedreamLedgerError"]

    def test_a_record_that_cannot_be_read_is_not_taken_for_none(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        storage = faulty_storage()
        storage.fail("read", "_seedream/ledger", ERRORS["403"])
        outcome = Runner().run(batch(prompts(3), destination=FOLDER, retries=1))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("failed", 2, 0)

    def test_results_that_cannot_be_written_cost_a_try_and_nothing_else(
        self, batch: Batch, emulator: Emulator
    ) -> None:
        storage = faulty_storage()
        storage.fail("write", "results.jsonl", ERRORS["500"], times=1)
        outcome = Runner().run(batch(prompts(3), destination=FOLDER, retries=1))
        assert (outcome.state, outcome.tries, emulator.books.posts_received) == ("success", 2, 3)
        assert emulator.books.downloads == 3


class TestProvenance:
    def test_every_row_says_inside_its_files_that_ai_made_them(self, batch: Batch, folder: Path) -> None:
        assert Runner().run(batch(prompts(2), embed_metadata=True)).state == "success"
        assert all(b"trainedAlgorithmicMedia" in (folder / name).read_bytes() for name in images(folder))
        assert [told["embed_metadata"] for told in records(folder)] == [True, True]
