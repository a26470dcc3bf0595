"""G3: a recorded POST is found again, whatever Airflow forgets; a ledger that does not answer is never
taken for an empty one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, images, records
from tests.guarantees.faulty_storage import ERRORS, FOLDER, FaultyFileSystem, faulty_storage

LEDGER = "_seedream/ledger"


class TestWhatAirflowForgets:
    @pytest.mark.parametrize("key", ["return_value", "seedream_task_id"])
    def test_an_xcom_that_cannot_be_pushed_after_the_post_costs_nothing(
        self, key: str, emulator: Emulator, build: Build
    ) -> None:
        runner, chain = Runner(), build(retries=2)
        runner.fail_xcom_pushes(key)
        outcome = runner.run(chain.submit)
        assert (outcome.state, outcome.tries) == ("success", 2)
        assert outcome.xcoms["seedream_task_id"] == outcome.value["seedream_task_id"]
        assert emulator.books.posts_received == 1
        assert runner.run(chain.land).state == "success"

    def test_wiped_tables_between_the_tries_cost_nothing(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, task = Runner(), build(wait=True, deferrable=deferrable, retries=2).submit
        runner.fail_xcom_pushes("return_value")
        runner.run(task, until="up_for_retry")
        runner.wipe()
        outcome = runner.run(task)
        assert (outcome.state, outcome.tries) == ("success", 2)
        assert (emulator.books.posts_received, emulator.books.downloads) == (1, 1)

    def test_a_clear_while_it_is_deferred_attaches_again(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        runner, task = Runner(), build(wait=True, deferrable=True).submit
        assert runner.run(task, until="deferred").state == "deferred"
        runner.clear(task)
        runner.wipe()
        outcome = runner.run(task)
        assert (outcome.state, outcome.tries) == ("success", 2)
        assert (emulator.books.posts_received, images(folder)) == (
            1,
            [f"{outcome.xcoms['seedream_task_id']}_1.png"],
        )

    def test_a_clear_of_a_deferred_sensor_waits_again(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        runner, chain = Runner(), build(land={"deferrable": True})
        runner.run(chain.submit)
        runner.run(chain.land, until="deferred")
        runner.clear(chain.land)
        assert runner.run(chain.land).state == "success"
        assert (emulator.books.posts_received, len(images(folder))) == (1, 1)

    def test_a_clear_after_success_returns_the_same_and_downloads_nothing(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(num_images=2, land={"deferrable": deferrable})
        submitted, landed = runner.run(chain.submit).value, runner.run(chain.land).value
        before, [record] = emulator.books.counters(), records(folder)
        for task in (chain.submit, chain.land):
            runner.clear(task)
        runner.wipe()
        assert runner.run(chain.submit).value == submitted
        assert runner.run(chain.land).value == landed
        assert emulator.books.counters() == before
        assert records(folder) == [record]
        assert record["outcome"] == "landed"

    def test_a_second_try_in_the_same_task_lands_again_without_a_download(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, task = Runner(), build(wait=True, deferrable=deferrable).submit
        landed = runner.run(task).value
        runner.clear(task)
        assert runner.run(task).value == landed
        assert (
            emulator.books.posts_received,
            emulator.books.downloads,
            emulator.books.thumbnail_downloads,
        ) == (1, 1, 1)


class TestAReorderedMapping:
    @pytest.fixture
    def mapped(self, destination: str) -> Any:
        def mapped(prompts: list[str]) -> Any:
            with DAG("guarantees", schedule=None):
                return SeedreamGenerateOperator.partial(task_id="submit", destination=destination).expand(
                    prompt=prompts
                )

        return mapped

    def test_each_prompt_finds_its_own_record_and_only_new_ones_are_paid(
        self, mapped: Any, emulator: Emulator
    ) -> None:
        runner, before, after = Runner(), ["a cat", "a dog", "a fox"], ["a fox", "an owl", "a dog", "a cat"]
        first = {
            prompt: outcome.value
            for prompt, outcome in zip(before, runner.run_mapped(mapped(before)), strict=True)
        }
        for index in range(3):
            runner.clear(mapped(before), map_index=index)
        second = {
            prompt: outcome.value
            for prompt, outcome in zip(after, runner.run_mapped(mapped(after)), strict=True)
        }
        assert {prompt: second[prompt] for prompt in before} == first
        assert sorted(submission.prompt for submission in emulator.books.submissions) == sorted(after)


class TestALedgerThatDoesNotAnswer:
    @pytest.fixture
    def storage(self) -> FaultyFileSystem:
        return faulty_storage()

    @pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
    @pytest.mark.parametrize("operation", ["read", "write"])
    def test_nothing_is_sent_and_a_later_try_pays_once(
        self, operation: Any, error: Exception, storage: FaultyFileSystem, emulator: Emulator, build: Build
    ) -> None:
        runner, task = Runner(), build(destination=FOLDER, retries=2).submit
        storage.fail(operation, LEDGER, error)
        outcome = runner.run(task, until="up_for_retry")
        assert (outcome.state, type(outcome.error)) == ("up_for_retry", SeedreamLedgerError)
        assert "Paid: no." in str(outcome.error)
        assert emulator.books.posts_received == 0
        storage.heal()
        assert runner.run(task).state == "success"
        assert emulator.books.posts_received == 1

    @pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
    def test_a_paid_request_is_not_paid_again_because_its_record_cannot_be_read(
        self, error: Exception, storage: FaultyFileSystem, emulator: Emulator, build: Build
    ) -> None:
        runner, task = Runner(), build(destination=FOLDER, retries=1).submit
        paid = runner.run(task).value
        storage.fail("read", LEDGER, error)
        runner.clear(task)
        runner.wipe()
        outcome = runner.run(task)
        assert (outcome.state, type(outcome.error), outcome.tries) == ("failed", SeedreamLedgerError, 3)
        storage.heal()
        runner.clear(task)
        assert runner.run(task).value == paid
        assert emulator.books.posts_received == 1

    @pytest.mark.adds_up_not("its record cannot be read")
    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b'{"schema_version": 99}', b'{"schema_version": 1}', b"\xff"]
    )
    def test_a_record_that_cannot_be_understood_is_not_overwritten(
        self, content: bytes, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        runner, task = Runner(), build(retries=1).submit
        runner.run(task)
        [file] = folder.glob(f"{LEDGER}/*.json")
        file.write_bytes(content)
        runner.clear(task)
        outcome = runner.run(task)
        assert (outcome.state, type(outcome.error), outcome.tries) == ("failed", SeedreamLedgerError, 3)
        assert (emulator.books.posts_received, file.read_bytes()) == (1, content)

    def test_a_claim_whose_answer_was_lost_is_still_ours(
        self, storage: FaultyFileSystem, emulator: Emulator, build: Build
    ) -> None:
        storage.fail("write", LEDGER, ERRORS["500"], times=1, late=True)
        outcome = Runner().run(build(destination=FOLDER).submit)
        assert (outcome.state, emulator.books.posts_received) == ("success", 1)

    def test_a_claim_of_which_nobody_knows_whether_it_was_written_sends_nothing(
        self, storage: FaultyFileSystem, emulator: Emulator, build: Build
    ) -> None:
        storage.fail("write", LEDGER, ERRORS["500"], times=1, late=True)
        # the first read finds no record, the next would say who won
        storage.fail("read", LEDGER, ERRORS["500"], after=1)
        outcome = Runner().run(build(destination=FOLDER).submit)
        assert (outcome.state, type(outcome.error)) == ("failed", SeedreamLedgerError)
        assert emulator.books.posts_received == 0

    def test_a_storage_that_fails_right_after_the_post_does_not_fail_the_task(
        self, storage: FaultyFileSystem, emulator: Emulator, build: Build
    ) -> None:
        """The id still travels in XCom; once the storage answers again, landing completes the record."""
        runner, chain = Runner(), build(destination=FOLDER, retries=2)
        # after the claim, and as often as it is tried
        storage.fail("write", LEDGER, ERRORS["500"], after=1, times=4)
        submitted = runner.run(chain.submit)
        assert (submitted.state, submitted.tries) == ("success", 1)
        assert submitted.value["seedream_task_id"] in submitted.log_text
        assert runner.run(chain.land).state == "success"
        [record] = map(json.loads, storage.files(LEDGER).values())
        assert (record["outcome"], record["seedream_task_id"]) == (
            "landed",
            submitted.value["seedream_task_id"],
        )
        runner.clear(chain.submit)
        assert runner.run(chain.submit).value["seedream_task_id"] == record["seedream_task_id"]
        assert emulator.books.posts_received == 1

    @pytest.mark.parametrize("status", [400, 402, 429])
    def test_a_claim_that_cannot_be_deleted_at_once_after_a_refusal_leaves_no_unknown_outcome(
        self, status: int, storage: FaultyFileSystem, emulator: Emulator, build: Build
    ) -> None:
        runner, task = Runner(), build(destination=FOLDER, timeout=0).submit
        emulator.inject("refuse", status=status, endpoint="generate", times=1)
        storage.fail("delete", LEDGER, ERRORS["500"], times=1)
        assert runner.run(task).state == "failed"
        assert storage.files(LEDGER) == {}
        runner.clear(task)
        assert runner.run(task).state == "success"
        assert (emulator.books.posts_received, emulator.books.posts) == (2, 1)
