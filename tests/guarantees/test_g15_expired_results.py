"""G15: results that are 24 hours old are gone. That is an outcome of its own, final, and never a reason to
pay again.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_seedream.batch.attending import Attendant
from airflow_provider_seedream.batch.progress import InFlight
from airflow_provider_seedream.batch.row_outcomes import ended_row
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamNotFoundError, SeedreamResultsExpiredError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.polling.policy import PollPolicy
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, Chain, images, records

YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=25)


def submit_yesterday(runner: Runner, chain: Chain, emulator: Emulator, folder: Path) -> str:
    """A generation that was submitted 25 hours ago and never landed: dated back where we wrote it, gone at
    the server.
    """
    submitted = runner.run(chain.submit).value
    created_at = YESTERDAY.isoformat().replace("+00:00", "Z")
    runner.push("submit", submitted | {"created_at": created_at}, dag_id="guarantees")
    [file] = folder.glob("_seedream/ledger/*.json")
    file.write_text(
        json.dumps(
            records(folder)[0] | {"created_at": created_at, "intent_at": created_at, "settles_at": created_at}
        )
    )
    emulator.clock.advance(25 * 3600)
    return str(submitted["seedream_task_id"])


def assert_expired(outcome: Outcome, task_id: str) -> None:
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert isinstance(outcome.error, SeedreamResultsExpiredError)
    assert isinstance(outcome.error, AirflowFailException)
    expired_at = (YESTERDAY + timedelta(hours=24)).isoformat().replace("+00:00", "Z")
    assert f"results expired at {expired_at}" in str(outcome.error)
    assert task_id in str(outcome.error)
    assert "Paid: yes." in str(outcome.error)


class TestAGenerationOfYesterday:
    @pytest.mark.parametrize("status", [404, 410, 400, 200])
    def test_a_sensor_fails_without_retries_and_says_when_it_expired(
        self, status: int, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        emulator.configure(expired_status=status)
        runner, chain = Runner(), build(land={"deferrable": deferrable, "retries": 3})
        task_id = submit_yesterday(runner, chain, emulator, folder)
        assert_expired(runner.run(chain.land), task_id)
        assert (emulator.books.posts_received, records(folder)[0]["outcome"], images(folder)) == (
            1,
            "expired",
            [],
        )

    def test_a_sensor_that_was_deferred_when_it_expired_says_the_same(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        runner, chain = (
            Runner(),
            build(prompt="a watch [never-ends]", land={"deferrable": True, "retries": 3}),
        )
        submitted = runner.run(chain.submit).value
        created_at = YESTERDAY.isoformat().replace("+00:00", "Z")
        runner.push("submit", submitted | {"created_at": created_at}, dag_id="guarantees")
        runner.run(chain.land, until="deferred")
        emulator.clock.advance(25 * 3600)
        assert_expired(runner.run(chain.land), submitted["seedream_task_id"])

    def test_links_that_are_dead_after_24_hours_have_expired_too(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(land={"deferrable": deferrable, "retries": 3})
        emulator.configure(result_lifetime_seconds=48 * 3600)  # the status still answers with links
        task_id = submit_yesterday(runner, chain, emulator, folder)
        emulator.inject("refuse", endpoint="download", status=404)
        assert_expired(runner.run(chain.land), task_id)
        assert records(folder)[0]["outcome"] == "expired"

    def test_a_clear_of_the_submission_attaches_and_pays_nothing(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(land={"deferrable": deferrable})
        task_id = submit_yesterday(runner, chain, emulator, folder)
        runner.run(chain.land)
        for task in (chain.submit, chain.land):
            runner.clear(task)
        assert runner.run(chain.submit).value["seedream_task_id"] == task_id
        assert isinstance(runner.run(chain.land).error, SeedreamResultsExpiredError)
        assert emulator.books.posts_received == 1

    def test_an_operator_that_waits_does_not_submit_again(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(retries=3)
        task_id = submit_yesterday(runner, chain, emulator, folder)
        waiting = build(wait=True, deferrable=deferrable, retries=3).submit
        runner.clear(waiting)
        outcome = runner.run(waiting)
        assert (outcome.state, outcome.tries, type(outcome.error)) == (
            "failed",
            2,
            SeedreamResultsExpiredError,
        )
        assert (task_id in str(outcome.error), emulator.books.posts_received) == (True, 1)

    def test_another_take_buys_another_set(self, emulator: Emulator, build: Build, folder: Path) -> None:
        runner, chain = Runner(), build()
        submit_yesterday(runner, chain, emulator, folder)
        again = build(take=2)
        runner.clear(again.submit)
        assert runner.run(again.submit).state == "success"
        assert runner.run(again.land).state == "success"
        assert (emulator.books.posts, len(images(folder))) == (2, 1)

    def test_what_was_landed_in_time_stays_a_success(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(land={"deferrable": deferrable})
        runner.run(chain.submit)
        landed = runner.run(chain.land).value
        emulator.clock.advance(25 * 3600)
        runner.clear(chain.land)
        assert runner.run(chain.land).value == landed


class TestAnIdOfUnknownAge:
    def test_a_bare_id_that_the_api_does_not_know_is_not_called_expired(
        self, emulator: Emulator, build: Build, destination: str, deferrable: bool
    ) -> None:
        bare = {
            "generation": "00000000-0000-0000-0000-000000000000",
            "destination": destination,
            "retries": 3,
        }
        outcome = Runner().run(build(land={"deferrable": deferrable, **bare}).land)
        assert (outcome.state, outcome.tries, type(outcome.error)) == ("failed", 1, SeedreamNotFoundError)
        assert "Paid: unknown." in str(outcome.error)


class TestARowOfABatch:
    @pytest.mark.parametrize("status", [404, 200], ids=["unknown to the API", "FINISHED without links"])
    def test_a_row_whose_results_are_gone_is_expired(
        self, emulator: Emulator, build: Build, folder: Path, status: int
    ) -> None:
        emulator.configure(expired_status=status)
        runner, chain = Runner(), build()
        submit_yesterday(runner, chain, emulator, folder)
        submitted = runner.api.values("guarantees", runner.api.run_id, "submit", "return_value")[0]
        entry = InFlight(
            number=1,
            columns={},
            generation=Generation.from_dict(submitted),
            credits=10,
            may_have_landed=False,
            due_epoch=0.0,
            deadline_epoch=math.inf,
        )
        rules, hook = (
            PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=1.0, num_images=None),
            SeedreamHook(),
        )
        with hook.downloads(max_bytes=1_000_000) as downloads:
            error = (
                Attendant(hook, downloads, rules, landed_by=TaskRef(), embed_metadata=False)
                .attend(entry)
                .error
            )
        assert error is not None
        assert ended_row(1, error, name=None, price=10, columns={}).status == "expired"
        assert records(folder)[0]["outcome"] == "expired"
