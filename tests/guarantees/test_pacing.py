"""Turns at the API: a 429 costs no retry and no worker slot, who asked first goes first, and nobody is
starved by a limit.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.rate_limit.limiter import MIN_REFUSED_SECONDS
from tests.airflow.deferral import first_event
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, Connect, records


def mapped(destination: str, prompts: list[str], **fields: Any) -> Any:
    with DAG("paced", schedule=None):
        return SeedreamGenerateOperator.partial(
            task_id="submit", destination=destination, deferrable=True, **fields
        ).expand(prompt=prompts)


class TestA429OnASubmission:
    def test_a_429_on_a_submission_waits_for_a_turn_then_one_post_is_accepted_and_no_retry_is_used(
        self, emulator: Emulator, build: Build, connect: Connect, folder: Path
    ) -> None:
        connect(emulator, requests_per_minute=600)
        emulator.inject("rate-limited", seconds=0, times=2)
        outcome = Runner(trigger_copies=2).run(build(submit={"deferrable": True, "retries": 3}).submit)
        assert (outcome.state, outcome.tries, outcome.max_tries) == ("success", 1, 3)
        assert (emulator.books.posts_received, emulator.books.posts, len(records(folder))) == (3, 1, 1)

        first, second = (deferral.kwargs for deferral in outcome.deferrals)
        assert second["asked_epoch"] == first["asked_epoch"] == first["throttled_epoch"]  # it keeps its place
        assert first["granted_epoch"] is None
        # the turn did not hold
        assert second["granted_epoch"] == outcome.deferrals[0].payload["granted_epoch"]

    def test_a_429_on_a_submission_is_left_to_a_retry_when_no_turn_comes_in_time(
        self, emulator: Emulator, build: Build, connect: Connect
    ) -> None:
        connect(emulator, requests_per_minute=600)
        emulator.inject("rate-limited", seconds=1, times=1)
        runner = Runner()
        task = build(submit={"deferrable": True, "retries": 1, "timeout": 3}).submit
        first = runner.run(task, until="up_for_retry")
        assert (first.state, type(first.error).__name__) == ("up_for_retry", "SeedreamRateLimitError")
        assert "No turn came within" in str(first.error)
        assert (runner.run(task).state, emulator.books.posts) == ("success", 1)

    def test_a_429_on_a_submission_sends_nothing_after_its_execution_timeout_though_airflow_counts_that_anew(
        self, emulator: Emulator, build: Build, connect: Connect
    ) -> None:
        connect(emulator, requests_per_minute=600)
        emulator.inject("rate-limited", seconds=1, times=1)
        runner = Runner()
        task = build(
            submit={"deferrable": True, "retries": 1, "execution_timeout": timedelta(seconds=4)}
        ).submit
        first = runner.run(task, until="up_for_retry")
        assert (first.state, type(first.error), len(first.deferrals)) == (
            "up_for_retry",
            AirflowTaskTimeout,
            1,
        )
        assert "No turn came within `execution_timeout`" in str(first.error)
        assert (emulator.books.posts_received, emulator.books.posts) == (1, 0)
        assert (runner.run(task).state, emulator.books.posts) == ("success", 1)

    @pytest.mark.parametrize(("timeout", "execution_timeout"), [(300, 60), (60, 300), (60, None)])
    def test_a_429_on_a_submission_waits_until_the_earlier_of_both_limits(
        self, emulator: Emulator, build: Build, timeout: float, execution_timeout: float | None
    ) -> None:
        emulator.inject("rate-limited", seconds=1)
        limit = execution_timeout and timedelta(seconds=execution_timeout)
        task = build(submit={"deferrable": True, "timeout": timeout, "execution_timeout": limit}).submit
        runner = Runner()
        runner.run(task, until="deferred")
        kwargs = runner.deferral(task).kwargs
        assert kwargs["deadline_epoch"] - kwargs["asked_epoch"] == pytest.approx(60, abs=40)

    def test_a_429_longer_than_what_is_left_of_either_limit_is_left_to_a_retry(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        emulator.inject("rate-limited", seconds=100, times=1)
        task = build(
            submit={"deferrable": deferrable, "retries": 1, "execution_timeout": timedelta(seconds=60)}
        ).submit
        runner = Runner()
        first = runner.run(task, until="up_for_retry")
        assert (first.state, type(first.error).__name__, first.deferrals) == (
            "up_for_retry",
            "SeedreamRateLimitError",
            [],
        )
        assert (runner.run(task).state, emulator.books.posts) == ("success", 1)


class TestA429ThatAsksForNoTime:
    def test_a_429_that_asks_for_no_time_is_no_tight_loop_on_the_worker_either(
        self, emulator: Emulator, build: Build, connect: Connect
    ) -> None:
        connect(emulator, requests_per_minute=6000)
        emulator.inject("rate-limited", seconds=0, times=2)
        assert Runner().run(build(submit={"deferrable": False}).submit).state == "success"
        first, second, third = [request.at for request in emulator.books.requests if request.method == "POST"]
        assert min(second - first, third - second) >= MIN_REFUSED_SECONDS

    def test_a_429_that_asks_for_no_time_is_refused_for_as_long_as_the_task_may_wait_and_costs_few_posts(
        self, emulator: Emulator, build: Build, connect: Connect
    ) -> None:
        connect(emulator, requests_per_minute=6000)
        emulator.inject("rate-limited", seconds=0)
        outcome = Runner().run(build(submit={"deferrable": False, "timeout": 3}).submit)
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamRateLimitError")
        assert 2 <= emulator.books.posts_received <= 4


class TestPolls:
    @pytest.mark.parametrize("counts", [True, False], ids=["status calls count", "status calls are free"])
    def test_polls_wait_for_their_turn_where_they_count_and_keep_their_deadline_either_way(
        self, emulator: Emulator, build: Build, connect: Connect, counts: bool
    ) -> None:
        connect(emulator, requests_per_minute=4, status_counts_toward_limit=counts)
        runner, chain = Runner(), build(prompt="[never-ends]", land={"deferrable": True, "timeout": 8})
        runner.run(chain.submit)
        runner.run(chain.land, until="deferred")
        emulator.configure(rate_limit_per_minute=4, status_counts=counts)
        before = emulator.books.status_calls
        triggers = [runner.deferral(chain.land).trigger() for _ in range(3)]

        async def one_triggerer() -> list[Any]:
            return await asyncio.gather(*map(first_event, triggers))

        events = asyncio.run(one_triggerer())
        statuses = [request.status for request in emulator.books.requests if request.area == "status"][
            before:
        ]
        assert [event.payload["outcome"] for event in events] == ["late"] * 3
        assert set(statuses) == {200}
        assert len(statuses) == 4 if counts else len(statuses) > 20


class TestAMappedTask:
    def test_a_mapped_task_asks_for_a_turn_first_where_a_429_is_all_but_sure(
        self, emulator: Emulator, connect: Connect, destination: str
    ) -> None:
        emulator.configure(rate_limit_per_minute=2)
        runner = Runner()
        task = mapped(destination, ["one", "two", "three"])
        states = [runner.run(task, map_index=index, until="deferred").state for index in range(3)]
        assert (states, emulator.books.posts_received) == (["success", "success", "deferred"], 2)

        emulator.clock.advance(60)
        third = runner.run(task, map_index=2)
        assert (third.state, third.tries) == ("success", 1)
        assert (emulator.books.posts_received, emulator.books.posts) == (3, 3)

    def test_a_mapped_task_asks_for_nothing_while_the_limit_is_unknown(
        self, emulator: Emulator, connect: Connect, destination: str
    ) -> None:
        emulator.configure(wallet_shows_rate_limit=False)
        outcomes = Runner().run_mapped(mapped(destination, ["one", "two", "three", "four", "five"]))
        assert [len(outcome.deferrals) for outcome in outcomes] == [0] * 5

    def test_a_mapped_task_does_not_wait_for_what_is_paid_for_already(
        self, emulator: Emulator, connect: Connect, destination: str
    ) -> None:
        connect(emulator, requests_per_minute=1)
        task = mapped(destination, ["one", "one"], reuse="content")
        outcomes = Runner().run_mapped(task)
        assert [len(outcome.deferrals) for outcome in outcomes] == [0, 0]
        assert emulator.books.posts_received == 1
