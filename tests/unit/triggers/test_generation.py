"""The trigger: what is stored of it, what it sends, what it says, and how 200 of them live on one loop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import time
from itertools import pairwise
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.hooks.async_status import shared_session
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.hooks.settings import USER_AGENT
from airflow_provider_seedream.polling.policy import PollOutcome
from airflow_provider_seedream.polling.schedule import SCHEDULE, Job
from airflow_provider_seedream.triggers.seedream import SeedreamGenerationTrigger, event_from, outcome_from
from tests.unit.api import connection_json
from tests.unit.values import KEY, TASK_ID, submission

JOB = Job(image_size="landscape_16_9", num_images=1, kind="generate")
KNOWN: dict[str, Any] = {"poke_interval": None, "image_size": "landscape_16_9", "kind": "generate"}


def trigger(seedream_task_id: str = TASK_ID, **changes: Any) -> SeedreamGenerationTrigger:
    fields: dict[str, Any] = {
        "seedream_task_id": seedream_task_id,
        "seedream_conn_id": "seedream_default",
        "num_images": 1,
        "first_poll_epoch": 0.0,
        "deadline_epoch": time.time() + 30,
        "poke_interval": 0.1,
        "settling_seconds": 120.0,
        "outage_seconds": 1800.0,
    }
    return SeedreamGenerationTrigger(**{**fields, **changes})


def stored_and_read(original: SeedreamGenerationTrigger) -> SeedreamGenerationTrigger:
    """As it lies in the database and is made again by a triggerer."""
    path, kwargs = original.serialize()
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))  # type: ignore[no-any-return]


async def first_event(watching: SeedreamGenerationTrigger) -> Any:
    events = watching.run()
    event: TriggerEvent = await anext(events)
    await events.aclose()  # type: ignore[attr-defined]
    return event.payload


def said(watching: SeedreamGenerationTrigger) -> Any:
    return asyncio.run(first_event(stored_and_read(watching)))


def submitted(hook: SeedreamHook, prompt: str = "a fox", **fields: Any) -> str:
    return hook.submit(submission(prompt=prompt, **fields)).seedream_task_id


class TestWhatIsStored:
    def test_it_survives_the_database(self) -> None:
        original = trigger(num_images=None, first_poll_epoch=1_772_020_805.25)
        assert stored_and_read(original).serialize() == original.serialize()
        assert stored_and_read(original).policy == original.policy

    def test_a_wait_without_an_interval_survives_it_too(self) -> None:
        original = trigger(**KNOWN, created_epoch=1_772_020_800.5)
        assert stored_and_read(original).serialize() == original.serialize()
        assert stored_and_read(original).policy == original.policy

    def test_a_row_of_version_0_1_is_read(self) -> None:
        original = trigger()
        later = ("image_size", "kind", "created_epoch")
        kwargs = {name: value for name, value in original.serialize()[1].items() if name not in later}
        assert SeedreamGenerationTrigger(**kwargs).policy == original.policy

    def test_every_argument_is_stored_under_its_own_name(self) -> None:
        arguments = set(inspect.signature(SeedreamGenerationTrigger.__init__).parameters) - {"self"}
        assert set(trigger().serialize()[1]) == arguments

    def test_it_is_ids_and_numbers_below_one_kilobyte(self, hook: SeedreamHook) -> None:
        watch = {"finished_epoch": 1_772_020_805.254321, "outage_epoch": 1_772_020_805.254321}
        longest = {
            **KNOWN,
            "seedream_conn_id": "c" * 128,
            "created_epoch": 1_772_020_800.123456,
            "watch": watch,
        }
        row = json.dumps(trigger("x" * 128, **longest).serialize())
        assert len(row) < 1024
        assert KEY not in row
        assert "http" not in row


class TestWhatItSays:
    @pytest.mark.parametrize(
        ("prompt", "changes", "outcome"),
        [
            ("a fox", {}, "done"),
            ("a fox [late-assets:0.3]", {}, "done"),
            ("a fox [status/refuse:503*2]", {}, "done"),
            ("a fox [status/rate-limited:0*2]", {}, "done"),
            ("a fox [status/html*1]", {}, "done"),
            ("a fox [status/bad-json*1]", {}, "done"),
            ("a fox [status/reset*1]", {}, "done"),
            ("a fox [unknown-status*1]", {}, "done"),
            ("a fox [fail]", {}, "failed"),
            ("a fox [safety]", {}, "failed"),
            ("a fox [finished-failed]", {}, "failed"),
            ("a fox [null-assets]", {"settling_seconds": 0.2}, "unsettled"),
            ("a fox [status/drop]", {"outage_seconds": 0.2}, "lost"),
        ],
    )
    def test_it_ends_with_one_event(
        self, hook: SeedreamHook, emulator: Emulator, prompt: str, changes: dict[str, Any], outcome: str
    ) -> None:
        task_id = submitted(hook, prompt)
        event = said(trigger(task_id, **changes))
        assert (event["outcome"], event["seedream_task_id"], event["schema_version"]) == (outcome, task_id, 1)
        assert event["refunded"] is (prompt in ("a fox [fail]", "a fox [safety]"))
        assert len(json.dumps(event)) < 1024

    def test_a_job_that_never_ends_is_late_at_its_deadline(self, hook: SeedreamHook) -> None:
        deadline = time.time() + 0.5
        assert (
            said(trigger(submitted(hook, "a fox [never-ends]"), deadline_epoch=deadline))["outcome"] == "late"
        )
        assert 0 <= time.time() - deadline < 60

    def test_an_id_nobody_knows_is_missing(self, emulator: Emulator) -> None:
        assert said(trigger())["outcome"] == "missing"

    def test_a_key_that_is_refused_ends_it_at_once(
        self, monkeypatch: pytest.MonkeyPatch, emulator: Emulator
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(emulator.url, password="wrong"))
        assert said(trigger())["outcome"] == "refused"

    @pytest.mark.parametrize(
        "connection",
        [
            '{"conn_type": "seedream"}',
            connection_json("ftp://x"),
            connection_json("http://127.0.0.1:1", verify="/no"),
        ],
    )
    def test_it_never_raises(self, monkeypatch: pytest.MonkeyPatch, connection: str) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection)
        event = said(trigger(outage_seconds=0.0))
        assert event["outcome"] == "lost"
        assert event["detail"]
        assert "Paid: no." not in event["detail"]
        assert KEY not in json.dumps(event)


class TestWhatItSends:
    def test_it_only_polls(self, hook: SeedreamHook, emulator: Emulator) -> None:
        task_id = submitted(hook, "a fox [late-assets:0.3]")
        said(trigger(task_id))
        agent = f"{USER_AGENT} (trigger)"
        assert list(emulator.books.methods_by_user_agent[agent]) == ["GET"]
        assert {request.path for request in emulator.books.requests if request.user_agent == agent} == {
            f"/v1/generation-request/{task_id}/status/"
        }
        assert (emulator.books.downloads, emulator.books.key_leaks) == (0, ())

    def test_it_polls_first_when_it_was_told_to(self, hook: SeedreamHook, emulator: Emulator) -> None:
        first = time.time() + 0.4
        task_id = submitted(hook)
        said(trigger(task_id, first_poll_epoch=first))
        polls = [request.at for request in emulator.books.requests if request.area == "status"]
        assert len(polls) == 1
        assert first <= polls[0]

    def test_polls_are_an_interval_apart(self, hook: SeedreamHook, emulator: Emulator) -> None:
        said(
            trigger(submitted(hook, "a fox [never-ends]"), poke_interval=0.2, deadline_epoch=time.time() + 1)
        )
        polls = [request.at for request in emulator.books.requests if request.area == "status"]
        assert all(later - earlier >= 0.17 for earlier, later in pairwise(polls[:-1]))

    def test_without_an_interval_it_polls_first_when_the_job_can_be_ready(
        self, hook: SeedreamHook, emulator: Emulator
    ) -> None:
        created = time.time() + 1.5 - SCHEDULE.plan(JOB).first_seconds
        said(trigger(submitted(hook), **KNOWN, created_epoch=created))
        [poll] = [request.at for request in emulator.books.requests if request.area == "status"]
        assert poll - created >= SCHEDULE.plan(JOB).first_seconds - 0.1

    def test_it_does_not_poll_before_it_may(self, hook: SeedreamHook, emulator: Emulator) -> None:
        first = time.time() + 0.4
        said(trigger(submitted(hook), **KNOWN, created_epoch=time.time() - 1000, first_poll_epoch=first))
        [poll] = [request.at for request in emulator.books.requests if request.area == "status"]
        assert first <= poll

    def test_it_remembers_how_long_the_job_took(self, hook: SeedreamHook, emulator: Emulator) -> None:
        job = Job(image_size="portrait_16_9", num_images=1, kind="edit")
        before = SCHEDULE.plan(job)
        known = {**KNOWN, "image_size": "portrait_16_9", "kind": "edit"}
        said(trigger(submitted(hook), **known, created_epoch=time.time() - 25))
        assert SCHEDULE.plan(job) != before


class TestManyOnOneLoop:
    def test_two_hundred_wait_side_by_side(self, hook: SeedreamHook, emulator: Emulator) -> None:
        task_id = submitted(hook, "a fox [status/refuse:503*200]")
        lag: list[float] = []

        async def run() -> list[Any]:
            watching = [
                asyncio.create_task(first_event(trigger(task_id, poke_interval=0.1))) for _ in range(200)
            ]
            while not all(task.done() for task in watching):
                before = time.monotonic()
                await asyncio.sleep(0.02)
                lag.append(time.monotonic() - before - 0.02)
            return [task.result() for task in watching]

        events = asyncio.run(run())
        assert [event["outcome"] for event in events] == ["done"] * 200
        assert emulator.books.status_calls == 400
        assert sorted(lag)[len(lag) // 2] < 5  # the loop stays responsive, even on a busy machine

    def test_a_wait_holds_few_objects_between_its_polls(self, hook: SeedreamHook, emulator: Emulator) -> None:
        """Python's garbage collection walks them all while no trigger polls: with 5,000 waits that takes
        half of the loop's CPU.
        """
        task_id, waits, most = submitted(hook, "a fox [never-ends]"), 100, 38

        def objects() -> int:
            gc.collect()
            return len(gc.get_objects())

        async def begin(polls: int) -> asyncio.Task[Any]:
            """A wait that has polled once: the next begins after it, so that all use one connection."""
            watching = asyncio.create_task(
                first_event(trigger(task_id, poke_interval=1000.0, deadline_epoch=time.time() + 5000))
            )
            while emulator.books.status_calls < polls:
                await asyncio.sleep(0.001)
            return watching

        async def run() -> None:
            watching = [await begin(1)]
            before = objects()
            watching += [await begin(2 + number) for number in range(waits)]
            async with asyncio.timeout(60):  # what the last polls and the server hold is soon gone
                while objects() > before + most * waits:
                    await asyncio.sleep(0.05)
            for one in watching:
                one.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

        asyncio.run(run())

    def test_users_of_one_loop_share_a_session_that_closes_with_the_last(self) -> None:
        async def run() -> None:
            async with shared_session() as first:
                async with shared_session() as second:
                    assert second is first
                assert not first.closed
            assert first.closed
            async with shared_session() as third:
                assert third is not first

        asyncio.run(run())

    def test_a_cancelled_trigger_gives_its_share_back(self, hook: SeedreamHook) -> None:
        async def run() -> None:
            task_id = submitted(hook, "a fox [never-ends]")
            watching = asyncio.create_task(first_event(trigger(task_id)))
            async with shared_session() as session:
                await asyncio.sleep(0.3)
                watching.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await watching
                assert not session.closed
            assert session.closed

        asyncio.run(run())

    def test_each_loop_has_its_own(self) -> None:
        async def session() -> Any:
            async with shared_session() as mine:
                return mine

        assert asyncio.run(session()) is not asyncio.run(session())


class TestTheEvent:
    @pytest.mark.parametrize("detail", ["", "x" * 5000, "🦊" * 5000, '"\\\n' * 2000])
    @pytest.mark.parametrize(
        "record", [None, "s3://bucket/_seedream/ledger/0.json", "s3://bucket/" + "x" * 1000, "🦊" * 200]
    )
    def test_it_stays_below_one_kilobyte(self, detail: str, record: str | None) -> None:
        event = event_from("x" * 128, PollOutcome(verdict="failed", detail=detail), record=record)
        assert len(json.dumps(event)) < 1024
        assert event["record"] in (None, record)

    def test_it_names_the_record_rather_than_a_long_reason(self) -> None:
        record = "s3://bucket/" + "x" * 500
        assert (
            event_from("x" * 128, PollOutcome(verdict="failed", detail="x" * 5000), record=record)["record"]
            == record
        )

    @pytest.mark.parametrize("outcome", ["done", "failed", "unsettled", "late", "lost", "missing", "refused"])
    def test_it_is_read_back(self, outcome: Any) -> None:
        verdict = PollOutcome(verdict=outcome, detail="why", refunded=True)
        assert outcome_from(json.loads(json.dumps(event_from(TASK_ID, verdict))), TASK_ID) == verdict

    @pytest.mark.parametrize(
        "change",
        [
            {"schema_version": 2},
            {"seedream_task_id": "other"},
            {"outcome": "paid"},
            {"outcome": "wait"},
            {"outcome": None},
            {"outcome": []},
        ],
    )
    def test_one_that_is_not_ours_is_lost_which_costs_a_free_retry(self, change: dict[str, Any]) -> None:
        event = {**event_from(TASK_ID, PollOutcome(verdict="done")), **change}
        assert outcome_from(event, TASK_ID).verdict == "lost"

    @pytest.mark.parametrize("event", [None, "done", [], {}])
    def test_no_event_is_lost(self, event: Any) -> None:
        assert outcome_from(event, TASK_ID).verdict == "lost"

    @pytest.mark.parametrize("refunded", [None, "yes", 1])
    def test_only_true_is_refunded(self, refunded: Any) -> None:
        event = {**event_from(TASK_ID, PollOutcome(verdict="failed")), "refunded": refunded}
        assert outcome_from(event, TASK_ID).refunded is False
