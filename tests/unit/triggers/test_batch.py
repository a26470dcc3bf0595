"""The batch's trigger: what is stored of it, what it says, when it wakes the worker, and what it sends."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import time
from typing import Any

import pytest

from airflow_provider_seedream.batch.progress import InFlight, Progress
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.hooks.settings import USER_AGENT
from airflow_provider_seedream.triggers.batch import SeedreamBatchTrigger
from tests.unit.api import connection_json
from tests.unit.values import KEY, TASK_ID, generation, submission
from tools.processes import free_port


@pytest.fixture
def hook(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> SeedreamHook:
    monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(emulator.url, key=emulator.key))
    return SeedreamHook()


def trigger(*in_flight: InFlight, **changes: Any) -> SeedreamBatchTrigger:
    fields: dict[str, Any] = {
        "seedream_conn_id": "seedream_default",
        "in_flight": [entry.for_trigger() for entry in in_flight],
        "wake_epoch": None,
        "not_before_epoch": 0.0,
        "poke_interval": 0.1,
        "settling_seconds": 120.0,
        "outage_seconds": 1800.0,
    }
    return SeedreamBatchTrigger(**{**fields, **changes})


def entry(
    number: int = 1, seedream_task_id: str = TASK_ID, *, due_in: float = 0.0, **changes: Any
) -> InFlight:
    now = time.time()
    fields: dict[str, Any] = {
        "number": number,
        "columns": {"prompt": "a watch"},
        "generation": generation(seedream_task_id=seedream_task_id),
        "credits": 10,
        "may_have_landed": False,
        "due_epoch": now + due_in,
        "deadline_epoch": now + 3600,
    }
    return InFlight(**{**fields, **changes})


def said(watching: SeedreamBatchTrigger) -> Any:
    """Its event, as a triggerer that made it from its row would send it."""
    path, kwargs = watching.serialize()
    module, _, name = path.rpartition(".")
    stored = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))

    async def first_event() -> Any:
        events = stored.run()
        event = await anext(events)
        await events.aclose()
        return json.loads(json.dumps(event.payload))

    return asyncio.run(first_event())


def submitted(hook: SeedreamHook, prompt: str, number: int) -> InFlight:
    return entry(number, hook.submit(submission(prompt=prompt)).seedream_task_id)


class TestWhatIsStored:
    def test_every_argument_is_stored_under_its_own_name(self) -> None:
        arguments = set(inspect.signature(SeedreamBatchTrigger.__init__).parameters) - {"self"}
        assert set(trigger().serialize()[1]) == arguments

    def test_a_hundred_in_flight_are_ids_and_numbers_below_13_kilobytes(self) -> None:
        row = json.dumps(trigger(*(entry(number) for number in range(100))).serialize())
        assert len(row) < 13_000
        assert KEY not in row
        assert "http" not in row
        assert "watch" not in row


class TestWhatItSays:
    def test_it_says_what_has_ended_however_it_did(self, hook: SeedreamHook) -> None:
        flying = [
            submitted(hook, prompt, number) for number, prompt in enumerate(("a fox", "a fox [fail]"), 1)
        ]
        assert said(trigger(*flying, progress="progress.json")) == {
            "schema_version": 1,
            "seconds_to_look": [0, 0],
            "silent_seconds": [],
            "turns": [],
            "progress": "progress.json",
        }

    def test_it_says_of_the_others_when_the_next_poll_pays(self, hook: SeedreamHook) -> None:
        flying = [entry(1, TASK_ID, due_in=50), submitted(hook, "a fox", 2)]
        event = said(trigger(*flying, wake_epoch=time.time() + 4))
        polls, silent = event["seconds_to_look"], event["silent_seconds"]
        assert (20 < polls[0] <= 50, polls[1], silent) == (True, 0, [])
        progress = Progress(started_epoch=0, rows=2, in_flight={one.number: one for one in flying})
        progress.hear(polls, silent, 1000.0)
        assert [one.due_epoch for one in progress.in_flight.values()] == [1000.0 + polls[0], 1000.0]

    def test_it_says_since_when_the_api_is_silent_which_the_worker_goes_on_counting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(
            "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(f"http://127.0.0.1:{free_port()}", key=KEY)
        )
        event = said(trigger(entry(1), outage_seconds=0.3))
        assert event["seconds_to_look"] == [0]
        [silent] = event["silent_seconds"]
        assert 1 <= silent < 60
        progress = Progress(started_epoch=0, rows=1, in_flight={1: entry(1)})
        progress.hear([0], [1800], 10_000.0)
        assert progress.in_flight[1].watch["silent_epoch"] == 8200.0
        progress.hear([], [], 20_000.0)  # nobody asked meanwhile
        assert progress.in_flight[1].watch["silent_epoch"] is None

    def test_it_says_less_than_a_kilobyte_about_a_hundred(self) -> None:
        flying = [entry(number, due_in=1800) for number in range(100)]
        event = said(trigger(*flying, wake_epoch=time.time() + 0.1))
        assert len(event["seconds_to_look"]) == 100
        assert len(json.dumps(event)) < 1000 - 256  # a full minute of counted polls is told in 256 bytes

    def test_it_says_how_many_polls_it_has_sent_where_they_count_toward_the_rate_limit(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counts = {"requests_per_minute": 600, "status_counts_toward_limit": True}
        monkeypatch.setenv(
            "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(emulator.url, key=emulator.key, **counts)
        )
        flying = [submitted(SeedreamHook(), "a fox [never-ends]", number) for number in (1, 2)]
        event = said(trigger(*flying, wake_epoch=time.time() + 4))
        paths = [request.path for request in emulator.books.requests if request.area == "status"]
        polls = sum(one.generation.seedream_task_id in path for one in flying for path in paths)
        told = sum(requests for _, requests in event["turns"])
        assert 2 < polls <= told <= polls + len(flying), "one of each may be on its way when the trigger ends"
        assert all(-60 < epoch - time.time() < 6 for epoch, _ in event["turns"])

    def test_nothing_is_lost_when_the_api_cannot_be_asked_at_all(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps({"conn_type": "seedream"}))
        began = time.monotonic()
        assert said(trigger(entry(1), wake_epoch=time.time() + 0.5))["seconds_to_look"] == [1]
        assert time.monotonic() - began > 0.4, "a worker that is woken at once would defer at once"


class TestWhenItWakes:
    def test_it_wakes_when_everything_has_ended(self, hook: SeedreamHook) -> None:
        began = time.monotonic()
        said(trigger(submitted(hook, "a fox", 1), submitted(hook, "a dog", 2)))
        assert time.monotonic() - began < 40

    def test_it_wakes_when_a_row_may_be_submitted_whatever_is_in_flight(self, hook: SeedreamHook) -> None:
        began = time.monotonic()
        said(trigger(entry(due_in=50), wake_epoch=time.time() + 0.5))
        assert 0.4 < time.monotonic() - began < 40

    def test_it_wakes_at_that_time_with_nothing_in_flight_too(self) -> None:
        began = time.monotonic()
        assert said(trigger(wake_epoch=time.time() + 0.5))["seconds_to_look"] == []
        assert 0.4 < time.monotonic() - began < 40

    def test_it_never_wakes_before_airflow_can_take_it(self, hook: SeedreamHook) -> None:
        began = time.monotonic()
        said(trigger(submitted(hook, "a fox", 1), not_before_epoch=time.time() + 1.5))
        assert time.monotonic() - began > 1.4


class TestASlowAnswer:
    def test_a_slow_answer_delays_no_other_poll(self, hook: SeedreamHook, emulator: Emulator) -> None:
        slow, quick = submitted(hook, "a fox [status/stall:8*1]", 1), submitted(hook, "a dog [never-ends]", 2)
        said(trigger(slow, quick, wake_epoch=time.time() + 5))
        polls = [request.path for request in emulator.books.requests if request.area == "status"]
        assert sum(quick.generation.seedream_task_id in path for path in polls) > 3


class TestWhatItSends:
    def test_it_polls_only_what_is_due(self, hook: SeedreamHook, emulator: Emulator) -> None:
        said(trigger(submitted(hook, "a fox", 1), entry(2, due_in=50), wake_epoch=time.time() + 1))
        agent = f"{USER_AGENT} (trigger)"
        sent = [
            (request.method, request.area)
            for request in emulator.books.requests
            if request.user_agent == agent
        ]
        assert set(sent) == {("GET", "status")}
