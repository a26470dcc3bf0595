"""G18: equal requests share one generation and say so, across runs where asked to; another set is bought
by saying it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger, Reuse
from airflow_provider_seedream.ledger.submit import Request, Submitter
from airflow_provider_seedream.model.names import check_name, uncomposed
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import POKE_SECONDS, Build, Chain, images, records
from tests.unit.values import submission

WARNING = "so both share one generation"
Mapped = Callable[..., Chain]


@pytest.fixture
def mapped(destination: str) -> Mapped:
    """A submission and a landing, both mapped: `mapped({"prompt": [...]}, num_images=2)`."""

    def mapped(expand: dict[str, list[Any]], *, land: dict[str, Any] | None = None, **submit: Any) -> Chain:
        options: dict[str, Any] = {"prompt": "a watch"} if "prompt" not in expand else {}
        with DAG("guarantees", schedule=None) as dag:
            first = SeedreamGenerateOperator.partial(
                task_id="submit", destination=destination, **options, **submit
            ).expand(**expand)
            waiting = SeedreamGenerationSensor.partial(
                task_id="land", poke_interval=POKE_SECONDS, timeout=20, **(land or {})
            )
            second = waiting.expand(generation=first.output)
        return Chain(dag=dag, submit=first, land=second)

    return mapped


def ids(outcomes: list[Outcome]) -> list[str]:
    return [outcome.value["seedream_task_id"] for outcome in outcomes]


class TestEqualRows:
    def test_four_equal_rows_are_one_post_and_a_warning(
        self, mapped: Mapped, emulator: Emulator, folder: Path, deferrable: bool
    ) -> None:
        runner, chain = Runner(), mapped({"prompt": ["a fox"] * 4}, land={"deferrable": deferrable})
        submitted = runner.run_mapped(chain.submit)
        assert len(set(ids(submitted))) == 1
        assert [WARNING in outcome.log_text for outcome in submitted] == [False, True, True, True]
        assert "num_images, seed, name or take" in submitted[1].log_text
        landed = runner.run_mapped(chain.land)
        assert {outcome.state for outcome in landed} == {"success"}
        assert (emulator.books.posts_received, emulator.books.credits_charged, emulator.books.downloads) == (
            1,
            10,
            1,
        )
        assert (len(images(folder)), len(records(folder))) == (1, 1)

    def test_equal_rows_that_wait_themselves_land_once(
        self, mapped: Mapped, emulator: Emulator, deferrable: bool
    ) -> None:
        chain = mapped(
            {"prompt": ["a fox"] * 3}, wait=True, deferrable=deferrable, poke_interval=POKE_SECONDS
        )
        assert len(set(ids(Runner().run_mapped(chain.submit)))) == 1
        assert (emulator.books.posts_received, emulator.books.downloads) == (1, 1)

    def test_a_clear_of_the_row_that_paid_warns_nobody(self, mapped: Mapped) -> None:
        runner, chain = Runner(), mapped({"prompt": ["a fox", "a dog"]})
        runner.run_mapped(chain.submit)
        for index in range(2):
            runner.clear(chain.submit, map_index=index)
        assert not any(WARNING in outcome.log_text for outcome in runner.run_mapped(chain.submit))

    def test_a_refund_of_a_shared_generation_is_submitted_again_once(
        self, mapped: Mapped, emulator: Emulator, folder: Path
    ) -> None:
        chain = mapped({"prompt": ["a fox [fail*1]"] * 3}, wait=True, retries=2, poke_interval=POKE_SECONDS)
        outcomes = Runner().run_mapped(chain.submit)
        assert ({outcome.state for outcome in outcomes}, len(set(ids(outcomes)))) == ({"success"}, 1)
        assert (emulator.books.posts, emulator.books.credits_refunded, len(images(folder))) == (2, 10, 1)

    @pytest.mark.parametrize(("on_unknown_submit", "posts"), [("fail", 1), ("resubmit", 2)])
    def test_a_shared_post_with_an_unknown_outcome_is_unknown_to_all(
        self, on_unknown_submit: str, posts: int, mapped: Mapped, emulator: Emulator
    ) -> None:
        prompts = ["a fox [drop-after-accept*1]"] * 3
        chain = mapped({"prompt": prompts}, on_unknown_submit=on_unknown_submit, retries=1)
        outcomes = Runner().run_mapped(chain.submit)
        assert {outcome.state for outcome in outcomes} == {
            "failed" if on_unknown_submit == "fail" else "success"
        }
        assert emulator.books.posts == posts


class TestAnotherSet:
    def test_take_one_to_four_are_four_posts(self, mapped: Mapped, emulator: Emulator, folder: Path) -> None:
        runner, chain = Runner(), mapped({"take": [1, 2, 3, 4]}, name="hero")
        assert len(set(ids(runner.run_mapped(chain.submit)))) == 4
        runner.run_mapped(chain.land)
        assert images(folder) == ["hero_1.png", "hero_take2_1.png", "hero_take3_1.png", "hero_take4_1.png"]
        assert (emulator.books.posts, emulator.books.credits_charged) == (4, 40)

    def test_a_raised_take_buys_one_more_set_and_keeps_the_first(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        runner = Runner()
        for take in (1, 2):
            chain = build(name="hero", take=take, land={"deferrable": deferrable})
            if take == 2:
                runner.clear(chain.submit)
                runner.clear(chain.land)
            runner.run(chain.submit)
            assert runner.run(chain.land).state == "success"
        assert (images(folder), emulator.books.posts) == (["hero_1.png", "hero_take2_1.png"], 2)

    @pytest.mark.parametrize(
        "change",
        [
            {"num_images": [1, 2]},
            {"seed": [1, 2]},
            {"name": ["one", "two"]},
            {"image_size": ["square", "square_hd"]},
        ],
    )
    def test_what_differs_is_another_request(
        self, change: dict[str, list[Any]], mapped: Mapped, emulator: Emulator
    ) -> None:
        outcomes = Runner().run_mapped(mapped(change).submit)
        assert (len(set(ids(outcomes))), emulator.books.posts) == (2, 2)
        assert not any(WARNING in outcome.log_text for outcome in outcomes)

    def test_another_run_is_another_request(self, emulator: Emulator, build: Build) -> None:
        first, second = (Runner(run_id=f"manual__{day}").run(build().submit) for day in (1, 2))
        assert first.value["seedream_task_id"] != second.value["seedream_task_id"]
        assert emulator.books.posts == 2


class TestReuseByContent:
    """`reuse="content"`: whatever DAG, run or task asks, the same request is paid once in its destination."""

    ROWS = tuple(f"watch {number}" for number in range(10))

    def test_three_backfill_runs_pay_for_ten_rows_once(
        self, mapped: Mapped, emulator: Emulator, folder: Path
    ) -> None:
        first: list[str] = []
        for run_id in ("backfill__1", "backfill__2", "backfill__3"):
            runner, chain = Runner(run_id=run_id), mapped({"prompt": list(self.ROWS)}, reuse="content")
            found = ids(runner.run_mapped(chain.submit))
            first = first or found
            assert found == first
            assert {outcome.state for outcome in runner.run_mapped(chain.land)} == {"success"}
        books = emulator.books
        assert (books.posts_received, books.credits_charged, books.downloads) == (10, 100, 10)
        assert len(images(folder)) == 10

    def test_a_reversed_list_in_another_run_pays_nothing_more(
        self, mapped: Mapped, emulator: Emulator
    ) -> None:
        found = ids(
            Runner(run_id="a").run_mapped(mapped({"prompt": list(self.ROWS)}, reuse="content").submit)
        )
        again = ids(
            Runner(run_id="b").run_mapped(mapped({"prompt": list(self.ROWS[::-1])}, reuse="content").submit)
        )
        assert again == found[::-1]
        assert emulator.books.posts_received == 10

    def test_four_equal_rows_are_one_post_and_a_warning(self, mapped: Mapped, emulator: Emulator) -> None:
        submitted = Runner().run_mapped(mapped({"prompt": ["a fox"] * 4}, reuse="content").submit)
        assert [WARNING in outcome.log_text for outcome in submitted] == [False, True, True, True]
        assert emulator.books.posts_received == 1

    def test_take_one_to_four_are_four_posts_however_often_they_run(
        self, mapped: Mapped, emulator: Emulator
    ) -> None:
        for run_id in ("a", "b"):
            Runner(run_id=run_id).run_mapped(mapped({"take": [1, 2, 3, 4]}, reuse="content").submit)
        assert emulator.books.posts_received == 4

    def test_a_chosen_name_is_kept_across_runs(self, emulator: Emulator, build: Build) -> None:
        for run_id in ("a", "b"):
            runner, chain = Runner(run_id=run_id), build(name="hero", reuse="content")
            assert runner.run(chain.submit).state == "success"
            assert runner.run(chain.land).state == "success"
        assert (emulator.books.posts_received, emulator.books.downloads) == (1, 1)

    def test_a_refunded_request_may_be_bought_by_the_next_run(self, emulator: Emulator, build: Build) -> None:
        emulator.inject("fail", times=1)
        states = []
        for run_id in ("a", "b"):
            runner, chain = Runner(run_id=run_id), build(reuse="content")
            runner.run(chain.submit)
            states.append(runner.run(chain.land).state)
        assert states == ["failed", "success"]
        assert emulator.books.credits_charged - emulator.books.credits_refunded == 10

    def test_another_word_is_refused_when_the_dag_is_parsed(self) -> None:
        with pytest.raises(SeedreamInputError, match="reuse must be 'run' or 'content'"):
            SeedreamGenerateOperator(task_id="submit", prompt="a watch", reuse="always")


class TestOneNameForTwoRequests:
    def test_the_second_is_refused_before_it_is_paid(
        self, mapped: Mapped, emulator: Emulator, folder: Path
    ) -> None:
        runner, chain = Runner(), mapped({"prompt": ["a fox", "a dog"]}, name="hero", retries=3)
        first, second = runner.run_mapped(chain.submit)
        assert (first.state, second.state, second.tries) == ("success", "failed", 1)
        assert isinstance(second.error, SeedreamInputError)
        assert "belongs to another request" in str(second.error)
        assert (emulator.books.posts_received, len(records(folder))) == (1, 1)

    def test_a_refused_request_gives_its_name_back(self, mapped: Mapped, emulator: Emulator) -> None:
        chain = mapped({"prompt": ["a fox [moderation]", "a dog"]}, name="hero")
        outcomes = Runner().run_mapped(chain.submit)
        assert [outcome.state for outcome in outcomes] == ["failed", "success"]
        assert emulator.books.posts == 1


class TestTextInTwoForms:
    """An accented letter is one character, or a letter and an accent: what people see as one request is
    one.
    """

    def test_two_forms_of_a_prompt_and_a_name_are_one_request(
        self, mapped: Mapped, emulator: Emulator, folder: Path
    ) -> None:
        runner, chain = (
            Runner(),
            mapped({"prompt": ["eine grüne Uhr", "eine gru\u0308ne Uhr"]}, name="Gru\u0308n"),
        )
        assert len(set(ids(runner.run_mapped(chain.submit)))) == 1
        runner.run_mapped(chain.land)
        assert (emulator.books.posts_received, images(folder)) == (1, ["Gr\u00fcn_1.png"])

    @pytest.mark.parametrize(
        ("prompt", "name"),
        [
            ("eine gru\u0308ne Uhr", None),
            ("a watch", "\u1109\u1175\u1100\u1168"),
            ("u\u0308", "\u1109\u1175"),
            pytest.param("a watch", "\ufa10", id="a compatibility ideograph"),
            pytest.param("a watch", "\u00e9\u1109\u1175", id="parts beside a whole letter"),
        ],
    )
    @pytest.mark.parametrize("reuse", ["run", "content"])
    def test_what_0_2_paid_for_under_the_text_as_written_is_found(
        self, prompt: str, name: str | None, reuse: Reuse, emulator: Emulator, destination: str
    ) -> None:
        made_by = TaskRef(dag_id="watches", run_id="monday", task_id="submit", try_number=1)
        now = Request(
            submission=submission(prompt=prompt),
            destination=destination,
            name=check_name(name),
            name_as_written=uncomposed(name),
            made_by=made_by,
            reuse=reuse,
        )
        of_0_2 = replace(now, name=name, is_as_written=True)
        assert of_0_2.key != now.key
        submitter = Submitter(SeedreamHook(), Ledger(destination), "fail")
        paid = submitter.submit(of_0_2)
        assert submitter.submit(now).seedream_task_id == paid.seedream_task_id
        assert submitter.find(now) is not None
        assert emulator.books.posts_received == 1

    @pytest.mark.parametrize("task_id", ["submit", "batch"])
    def test_a_task_finds_what_0_2_paid_for_under_a_name_that_unicode_replaces(
        self, task_id: str, emulator: Emulator, destination: str
    ) -> None:
        """No form of the new name is the old one: U+FA10 becomes U+585A for good."""
        name = "\ufa10"
        made_by = TaskRef(dag_id="names", run_id=Runner().api.run_id, task_id=task_id, try_number=1)
        of_0_2 = Request(submission=submission(), destination=destination, name=name, made_by=made_by)
        Submitter(SeedreamHook(), Ledger(destination), "fail").submit(of_0_2)
        asked = {"prompt": of_0_2.submission.prompt, "name": name}
        with DAG("names", schedule=None):
            task = {
                "submit": lambda: SeedreamGenerateOperator(
                    task_id="submit", destination=destination, **asked
                ),
                "batch": lambda: SeedreamBatchOperator(
                    task_id="batch", destination=destination, requests=[asked]
                ),
            }[task_id]()
        assert Runner().run(task).state == "success"
        assert emulator.books.posts_received == 1
