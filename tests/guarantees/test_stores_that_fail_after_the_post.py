"""G3: a storage that fails between the POST and its record loses no id: it is written for minutes, and
kept elsewhere meanwhile.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamBadRequestError, SeedreamLedgerError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.keeping import KEEP_SECONDS, Fact
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.submit import Request, Submitted, Submitter
from airflow_provider_seedream.model.clock import Clock
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, Connect
from tests.guarantees.faulty_storage import ERRORS, FOLDER, FaultyFileSystem, faulty_storage
from tests.unit.values import submission

LEDGER = "_seedream/ledger"
MADE_BY = TaskRef(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
HAS_TASK_STATE = pytest.mark.skipif(
    not hasattr(__import__("airflow.sdk.execution_time.context", fromlist=["x"]), "TaskStateStoreAccessor"),
    reason="Airflow keeps the state of tasks from 3.3 on",
)


@pytest.fixture
def storage() -> FaultyFileSystem:
    return faulty_storage()


def record(storage: FaultyFileSystem) -> dict[str, Any]:
    [data] = storage.files(LEDGER).values()
    return dict(json.loads(data))


class Remembering(dict[str, Fact]):
    """What Airflow keeps of a task."""

    def keep(self, key: str, fact: Fact) -> None:
        self[key] = fact

    def recall(self, key: str) -> Fact | None:
        return self.get(key)

    def forget(self, key: str) -> None:
        self.pop(key, None)


@dataclass(slots=True)
class Worker:
    """One try after another, for which sleeps pass at once; when it has slept `heals_after` seconds, the
    storage works again.
    """

    storage: FaultyFileSystem
    memory: Remembering
    heals_after: float = float("inf")
    slept: float = 0.0
    tries: int = 0

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        if self.slept >= self.heals_after:
            self.storage.heal()

    def submit(self, prompt: str = "a watch", on_unknown: Any = "fail") -> Submitted:
        self.tries += 1
        at = Clock(steady_seconds=lambda: time.monotonic() + self.slept, sleep=self.sleep)
        request = Request(
            submission=submission(prompt=prompt),
            destination=FOLDER,
            name=None,
            made_by=replace(MADE_BY, try_number=self.tries),
        )
        return Submitter(SeedreamHook(), Ledger(FOLDER), on_unknown, memory=self.memory, clock=at).submit_row(
            request
        )


@pytest.fixture
def worker(storage: FaultyFileSystem, emulator: Emulator) -> Worker:
    return Worker(storage, Remembering())


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
class TestAStorageThatFailsForMinutes:
    def test_a_storage_that_fails_for_minutes_gets_the_id_when_it_is_back(
        self, error: Exception, worker: Worker, storage: FaultyFileSystem, emulator: Emulator
    ) -> None:
        storage.fail("write", LEDGER, error, after=1)  # after the claim
        worker.heals_after = 200
        paid = worker.submit().generation
        assert (record(storage)["outcome"], record(storage)["seedream_task_id"]) == (
            "submitted",
            paid.seedream_task_id,
        )
        assert (worker.memory, emulator.books.posts_received) == ({}, 1)

    def test_a_storage_whose_answer_to_the_claim_was_lost_keeps_no_claim_of_which_nothing_was_sent(
        self, error: Exception, worker: Worker, storage: FaultyFileSystem, emulator: Emulator
    ) -> None:
        storage.fail("write", LEDGER, error, times=1, late=True)
        # nor can it be asked whether the claim is there
        storage.fail("read", LEDGER, error, times=1, after=1)
        with pytest.raises(SeedreamLedgerError, match="Paid: no"):
            worker.submit()
        assert storage.files(LEDGER) == {}
        assert (worker.submit().is_new, worker.slept, emulator.books.posts_received) == (True, 0, 1)

    def test_a_storage_that_never_comes_back_in_time_leaves_the_id_with_airflow_and_a_clear_finds_it(
        self, error: Exception, worker: Worker, storage: FaultyFileSystem, emulator: Emulator
    ) -> None:
        storage.fail("write", LEDGER, error, after=1)
        paid = worker.submit()
        assert KEEP_SECONDS * 0.9 < worker.slept <= KEEP_SECONDS
        assert (record(storage)["outcome"], [fact.seedream_task_id for fact in worker.memory.values()]) == (
            "intent",
            [paid.generation.seedream_task_id],
        )
        again = worker.submit()  # it can be read, and still not be written
        storage.heal()
        and_again = worker.submit()
        assert again.generation == and_again.generation == paid.generation
        assert (record(storage)["outcome"], record(storage)["seedream_task_id"]) == (
            "submitted",
            paid.generation.seedream_task_id,
        )
        assert (worker.memory, emulator.books.posts_received, again.is_new) == ({}, 1, False)

    def test_a_storage_that_fails_for_everything_leaves_the_id_with_airflow_and_a_clear_waits_with_it(
        self, error: Exception, worker: Worker, storage: FaultyFileSystem, emulator: Emulator
    ) -> None:
        storage.fail("write", LEDGER, error, after=1)
        paid = worker.submit().generation
        storage.fail("read", LEDGER, error)
        assert worker.submit().generation == paid
        assert emulator.books.posts_received == 1

    def test_a_storage_that_fails_after_a_refusal_leaves_no_unknown_outcome(
        self, error: Exception, worker: Worker, storage: FaultyFileSystem, emulator: Emulator
    ) -> None:
        emulator.inject("refuse", status=400, endpoint="generate", times=1)
        storage.fail("delete", LEDGER, error)
        with pytest.raises(SeedreamBadRequestError):
            worker.submit()
        storage.heal()
        assert worker.submit().is_new
        assert (emulator.books.posts, worker.memory) == (1, {})


class TestATryThatCannotReadItsRecord:
    def test_a_try_that_cannot_read_its_record_says_no_where_it_is_the_first(
        self, worker: Worker, storage: FaultyFileSystem
    ) -> None:
        storage.fail("read", LEDGER, ERRORS["500"])
        with pytest.raises(SeedreamLedgerError) as failed:
            worker.submit()
        assert "Paid: no." in str(failed.value)

    def test_a_try_that_cannot_read_its_record_does_not_say_no_where_an_earlier_one_may_have_paid(
        self, worker: Worker, storage: FaultyFileSystem
    ) -> None:
        worker.submit()
        storage.fail("read", LEDGER, ERRORS["500"])
        with pytest.raises(SeedreamLedgerError) as failed:
            worker.submit()
        assert failed.value.paid == "unknown"
        assert "nothing was sent" not in str(failed.value)
        assert "An earlier try may have paid" in str(failed.value)


class TestTheTasks:
    def test_a_task_that_waits_lands_with_the_id_it_knows(
        self, storage: FaultyFileSystem, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        """The storage is away from the POST until the images are ready, for everything."""
        storage.fail("write", LEDGER, ERRORS["500"], after=1, times=2)
        storage.fail("read", "", ERRORS["500"], after=5, times=1)
        outcome = Runner().run(build(destination=FOLDER, wait=True, deferrable=deferrable, retries=0).submit)
        assert (outcome.state, emulator.books.posts_received) == ("success", 1), outcome.error
        assert (record(storage)["outcome"], record(storage)["seedream_task_id"]) == (
            "landed",
            outcome.value["seedream_task_id"],
        )

    def test_a_task_that_lands_waits_for_a_storage_that_is_away(
        self, storage: FaultyFileSystem, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(destination=FOLDER, land={"deferrable": deferrable, "retries": 0})
        runner.run(chain.submit)
        storage.fail("read", "watches/", ERRORS["500"], times=1)
        assert runner.run(chain.land).state == "success"

    @HAS_TASK_STATE
    def test_a_task_that_was_killed_while_the_storage_was_away_is_found_again(
        self, storage: FaultyFileSystem, emulator: Emulator, build: Build
    ) -> None:
        runner, task = (
            Runner(),
            build(destination=FOLDER, execution_timeout=timedelta(seconds=8), retries=0).submit,
        )
        storage.fail("write", LEDGER, ERRORS["500"], after=1)
        killed = runner.run(task)
        paid = emulator.books.submissions[0].seedream_task_id
        assert (killed.state, killed.xcoms.get("seedream_task_id"), record(storage)["outcome"]) == (
            "failed",
            paid,
            "intent",
        )
        storage.heal()
        runner.clear(task)
        cleared = runner.run(task)
        assert (cleared.state, cleared.value["seedream_task_id"], record(storage)["seedream_task_id"]) == (
            "success",
            paid,
            paid,
        )
        assert emulator.books.posts_received == 1

    def test_the_task_of_a_batch_says_what_may_be_paid(
        self, storage: FaultyFileSystem, emulator: Emulator, connect: Connect
    ) -> None:
        connect(emulator, requests_per_minute=100_000)
        with DAG("guarantees", schedule=None):
            task = SeedreamBatchOperator(
                task_id="batch",
                requests=[{"prompt": "a watch"}, {"prompt": "a clock"}],
                destination=FOLDER,
                deferrable=False,
                poke_interval=0.05,
            )
        storage.fail("read", LEDGER, ERRORS["500"], after=3)  # when the first row is paid for and recorded
        outcome = Runner().run(task)
        assert isinstance(outcome.error, SeedreamLedgerError)
        assert outcome.error.paid == "yes"
        assert "nothing was sent" not in str(outcome.error)
        storage.heal()
