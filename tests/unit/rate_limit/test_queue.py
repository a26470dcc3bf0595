"""Turns: who gets the next one, when, at what cost; and the trigger that waits for one."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout
from airflow.triggers.base import TriggerEvent

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamRateLimitError
from airflow_provider_seedream.polling.policy import FailedPoll
from airflow_provider_seedream.rate_limit.limiter import MAX_POLL_WAIT_SECONDS, RateLimiter
from airflow_provider_seedream.rate_limit.queue import TurnQueue, queue_for
from airflow_provider_seedream.tasks.queue_position import Place
from airflow_provider_seedream.triggers.client import paced_client
from airflow_provider_seedream.triggers.paced_client import PacedClient
from airflow_provider_seedream.triggers.turns import SeedreamTurnTrigger, turn_from
from tests.unit.api import connection_json
from tests.unit.virtual_time import run_in_virtual_time

Clock = Callable[[], float]


def trigger(**changes: Any) -> SeedreamTurnTrigger:
    now = time.time()
    fields: dict[str, Any] = {
        "seedream_conn_id": "seedream_default",
        "requests_per_minute": 60.0,
        "asked_epoch": now,
        "not_before_epoch": now,
        "deadline_epoch": now + 30,
    }
    return SeedreamTurnTrigger(**{**fields, **changes})


def stored_and_read(original: SeedreamTurnTrigger) -> SeedreamTurnTrigger:
    """As it lies in the database and is made again by a triggerer."""
    path, kwargs = original.serialize()
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))  # type: ignore[no-any-return]


async def said(waiting: SeedreamTurnTrigger) -> Any:
    events = [event async for event in stored_and_read(waiting).run()]
    assert [type(event) for event in events] == [TriggerEvent]
    return events[0].payload


class TestTheQueue:
    def test_a_request_knows_how_many_are_ahead_and_about_how_long_it_takes(self) -> None:
        async def waiting(clock: Clock) -> list[tuple[int, float]]:
            queue = TurnQueue(RateLimiter(3.0), clock=clock)
            tasks = [
                asyncio.create_task(queue.turn("submit", asked_epoch=float(number))) for number in range(7)
            ]
            await asyncio.sleep(0)
            told = [queue.outlook(asked_epoch=6.5), queue.outlook(asked_epoch=-1.0)]
            for task in tasks:
                task.cancel()
            return told

        last, first = run_in_virtual_time(waiting)
        assert (last[0], first[0]) == (4, 0)  # of seven, three were granted at once
        assert 80 <= last[1] - first[1] <= 81

    def test_5000_turns_are_granted_in_order_at_the_limit_and_with_one_timer(self) -> None:
        async def night(clock: Clock) -> tuple[list[tuple[float, int]], int]:
            queue, granted, most_timers = TurnQueue(RateLimiter(600), clock=clock), [], 0
            loop: Any = asyncio.get_running_loop()

            async def waits(asked: int) -> None:
                nonlocal most_timers
                granted.append((await queue.turn("submit", asked_epoch=asked), asked))
                most_timers = max(most_timers, sum(not timer.cancelled() for timer in loop._scheduled))

            await asyncio.gather(*(waits(asked) for asked in range(5000)))
            return granted, most_timers

        granted, most_timers = run_in_virtual_time(night)
        assert [asked for _, asked in granted] == list(range(5000))
        assert all(
            later - earlier > 60 for (earlier, _), (later, _) in zip(granted, granted[600:], strict=False)
        )
        assert granted[-1][0] < 5000 / 600 * 61
        assert most_timers == 1

    def test_who_asked_first_goes_first_though_he_came_later(self) -> None:
        async def day(clock: Clock) -> list[str]:
            queue, order = TurnQueue(RateLimiter(1), clock=clock), []

            async def waits(name: str, asked_epoch: float) -> None:
                await queue.turn("submit", asked_epoch=asked_epoch)
                order.append(name)

            await asyncio.gather(
                waits("takes the first turn", 0), waits("asked at 9", 9), waits("asks again, first at 3", 3)
            )
            return order

        assert run_in_virtual_time(day) == ["takes the first turn", "asks again, first at 3", "asked at 9"]

    @pytest.mark.parametrize(
        "leaves_after", [1, 5 + 1e-10], ids=["while it waits", "after its turn was granted, before it knows"]
    )
    def test_who_leaves_leaves_no_hole(self, leaves_after: float) -> None:
        async def day(clock: Clock) -> list[float]:
            queue = TurnQueue(RateLimiter(1), clock=clock)
            queue.throttled(0, retry_after_seconds=5, granted_epoch=None)
            leaving, *others = [
                asyncio.create_task(queue.turn("submit", asked_epoch=asked)) for asked in (0, 1, 2)
            ]
            asyncio.get_running_loop().call_later(leaves_after, leaving.cancel)
            turns = [await other for other in others]
            assert leaving.cancelled()
            return turns

        assert run_in_virtual_time(day) == pytest.approx([5, 66])

    def test_submissions_come_before_polls_and_a_poll_that_waits_too_long_before_them(self) -> None:
        async def day(clock: Clock) -> list[tuple[str, float]]:
            queue, order = TurnQueue(RateLimiter(1), clock=clock), []

            async def waits(purpose: Any, name: str) -> None:
                order.append((name, await queue.turn(purpose)))

            polls = [waits("poll", "poll")]
            submits = [waits("submit", f"submit {number}") for number in range(6)]
            await asyncio.gather(waits("submit", "first"), *polls, *submits)
            return order

        order = run_in_virtual_time(day)
        names = [name for name, _ in order]
        assert names.index("poll") == math.ceil(MAX_POLL_WAIT_SECONDS / 61)
        assert names[:3] == ["first", "submit 0", "submit 1"]

    def test_a_429_holds_everybody_back(self) -> None:
        async def day(clock: Clock) -> list[float]:
            queue = TurnQueue(RateLimiter(60), clock=clock)
            queue.throttled(0, retry_after_seconds=17, granted_epoch=None)
            return await asyncio.gather(*(queue.turn("submit") for _ in range(3)))

        assert run_in_virtual_time(day) == [17, 17, 17]

    def test_a_429_that_is_told_twice_counts_once(self) -> None:
        async def day(clock: Clock) -> tuple[float, float]:
            queue = TurnQueue(RateLimiter(60), clock=clock)
            granted = await queue.turn("submit")
            await asyncio.sleep(3)
            queue.throttled(2, retry_after_seconds=0, granted_epoch=granted)
            once = queue.limiter.share
            queue.throttled(2, retry_after_seconds=0, granted_epoch=granted)
            return once, queue.limiter.share

        once, twice = run_in_virtual_time(day)
        assert once == twice < 1

    def test_turns_of_an_earlier_process_are_not_held_against_this_one(self) -> None:
        async def day(clock: Clock) -> float:
            await asyncio.sleep(1000)
            queue = TurnQueue(RateLimiter(60), clock=clock)
            for granted in range(10):
                queue.throttled(900 + granted, retry_after_seconds=0, granted_epoch=800 + granted)
            return queue.limiter.share

        assert run_in_virtual_time(day) == 1

    def test_there_is_one_for_each_connection_and_loop(self) -> None:
        async def loop() -> Any:
            assert queue_for("one", 3) is queue_for("one", 3)
            assert queue_for("one", 3) is not queue_for("other", 3)
            return queue_for("one", 3)

        assert asyncio.run(loop()) is not asyncio.run(loop())

    def test_a_changed_limit_is_taken_over_and_an_unknown_one_changes_nothing(self) -> None:
        async def loop() -> list[float]:
            return [queue_for("one", limit).limiter.requests_per_minute for limit in (None, 60, None, 30)]

        assert asyncio.run(loop()) == [3, 60, 60, 30]


class TestPolls:
    """Eight polls at once through a connection that allows five requests a minute."""

    @pytest.fixture
    def statuses(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
        """What the server answered to the polls whose turn came in time."""

        async def eight(until_epoch: float) -> None:
            async with paced_client("seedream_default") as client:
                await asyncio.gather(
                    *(client.poll(f"job-{number}", until_epoch=until_epoch) for number in range(8))
                )

        def statuses(*, counts: bool, **extra: Any) -> list[int]:
            emulator.configure(rate_limit_per_minute=5, status_counts=counts)
            monkeypatch.setenv(
                "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(emulator.url, requests_per_minute=5, **extra)
            )
            asyncio.run(eight(time.time() + 10))
            # the emulator serves other tests too, whose last requests may still come in
            return [request.status or 0 for request in emulator.books.requests if "job-" in request.path]

        return statuses

    def test_they_wait_for_their_turn_where_the_connection_says_that_they_count(
        self, statuses: Callable[..., list[int]]
    ) -> None:
        assert statuses(counts=True, status_counts_toward_limit=True) == [404] * 5

    def test_they_are_sent_when_they_are_due_where_it_does_not(
        self, statuses: Callable[..., list[int]]
    ) -> None:
        assert statuses(counts=False) == [404] * 8

    def test_a_poll_without_a_turn_is_throttled_and_keeps_its_place(self) -> None:
        async def day(clock: Clock) -> tuple[Any, list[str]]:
            queue, sent = TurnQueue(RateLimiter(1), clock=clock), []

            class Client:
                async def poll(self, seedream_task_id: str) -> str:
                    sent.append(seedream_task_id)
                    return "answer"

            polls, others = PacedClient(Client(), queue), PacedClient(Client(), queue)  # type: ignore[arg-type]
            await queue.turn("poll")
            refused = await polls.poll("first", until_epoch=time.time() - 1)
            await asyncio.gather(others.poll("second"), polls.poll("first"))
            return refused, sent

        refused, sent = run_in_virtual_time(day)
        assert (refused.trouble, sent) == ("throttled", ["first", "second"])

    def test_a_429_on_a_poll_slows_the_queue_down(self) -> None:
        async def day(clock: Clock) -> float:
            queue = TurnQueue(RateLimiter(60))

            class Client:
                async def poll(self, _: str) -> FailedPoll:
                    return FailedPoll(trouble="throttled", detail="429", retry_after_seconds=0)

            await PacedClient(Client(), queue).poll("one")  # type: ignore[arg-type]
            return queue.limiter.share

        assert run_in_virtual_time(day) < 1


class TestTheTrigger:
    def test_it_survives_the_database(self) -> None:
        original = trigger(throttled_epoch=1.5, retry_after_seconds=20.0, granted_epoch=0.5)
        assert stored_and_read(original).serialize() == original.serialize()

    def test_every_argument_is_stored_under_its_own_name(self) -> None:
        arguments = set(inspect.signature(SeedreamTurnTrigger.__init__).parameters) - {"self"}
        assert set(trigger().serialize()[1]) == arguments

    def test_it_is_an_id_and_numbers_below_one_kilobyte(self) -> None:
        row = json.dumps(
            trigger(
                throttled_epoch=time.time(), retry_after_seconds=20.0, granted_epoch=time.time()
            ).serialize()
        )
        assert len(row) < 1024

    def test_it_says_when_its_turn_was_granted(self) -> None:
        before = time.time()
        event = asyncio.run(said(trigger()))
        granted, is_late = turn_from(json.loads(json.dumps(event)))
        assert granted is not None and before <= granted <= time.time()
        assert not is_late and len(json.dumps(event)) < 1024

    def test_it_waits_for_its_moment(self) -> None:
        moment = time.time() + 0.3
        granted, _ = turn_from(asyncio.run(said(trigger(not_before_epoch=moment))))
        assert granted is not None and granted >= moment

    def test_it_waits_out_what_the_429_asked_for(self) -> None:
        now = time.time()
        granted, _ = turn_from(asyncio.run(said(trigger(throttled_epoch=now, retry_after_seconds=0.4))))
        assert granted is not None and granted >= now + 0.4

    def test_it_is_late_at_its_deadline(self) -> None:
        now = time.time()
        slow = trigger(throttled_epoch=now, retry_after_seconds=60.0, deadline_epoch=now + 0.2)
        assert turn_from(asyncio.run(said(slow))) == (None, True)
        assert 0.2 <= time.time() - now < 50

    def test_a_deadline_that_has_passed_is_late_at_once(self) -> None:
        assert turn_from(asyncio.run(said(trigger(deadline_epoch=time.time() - 10)))) == (None, True)

    def test_it_never_raises(self) -> None:
        assert turn_from(asyncio.run(said(trigger(requests_per_minute=-1.0)))) == (None, False)

    def test_two_copies_each_get_a_turn_and_nobody_is_harmed(self) -> None:
        async def both() -> tuple[Any, Any]:
            waiting = trigger()
            return await asyncio.gather(said(waiting), said(waiting))

        assert all(turn_from(event)[0] for event in asyncio.run(both()))

    @pytest.mark.parametrize(
        "event", [None, "turn", {}, {"schema_version": 2, "granted_epoch": 1.0}, {"schema_version": 1}]
    )
    def test_an_event_that_is_not_ours_is_no_turn(self, event: Any) -> None:
        assert turn_from(event) == (None, False)


class TestThePlaceOfATaskThatWasWoken:
    """Its limits count from the start of the try, which was 100 s ago."""

    @staticmethod
    def place(*, is_late: bool = False, timeout: float = 3600, execution_timeout: float = math.inf) -> Place:
        now = time.time()
        event = {"schema_version": 1, "granted_epoch": None if is_late else now, "is_late": is_late}
        return Place.from_event(
            event,
            started_epoch=now - 100,
            asked_epoch=now - 99,
            timeout=timeout,
            execution_timeout=execution_timeout,
        )

    def test_the_place_of_a_task_that_was_woken_has_the_turn_that_came_in_time(self) -> None:
        place = self.place(execution_timeout=200)
        assert place.granted_epoch == pytest.approx(place.started_epoch + 100)

    def test_the_place_of_a_task_that_was_woken_is_lost_with_its_execution_timeout_though_a_turn_came(
        self,
    ) -> None:
        """The worker came late: Airflow's own clock begins anew with it."""
        with pytest.raises(AirflowTaskTimeout, match="nothing was bought"):
            self.place(execution_timeout=60)

    @pytest.mark.parametrize(
        ("execution_timeout", "error"), [(101, AirflowTaskTimeout), (7200, SeedreamRateLimitError)]
    )
    def test_the_place_of_a_task_that_was_woken_without_a_turn_ends_by_the_limit_that_was_the_earlier_one(
        self, execution_timeout: float, error: type[Exception]
    ) -> None:
        with pytest.raises(error, match="No turn came within"):
            self.place(is_late=True, execution_timeout=execution_timeout)
