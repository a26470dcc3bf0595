"""Subject: waiting generations on one event loop, as in a triggerer, by our trigger or by one of the usual
ways.

Prints when each poll was due, the CPU it cost, and how long the loop was blocked. When polls arrived is the
server's to say.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import ssl
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp
import requests

try:
    import greenback
except ImportError:  # older Airflow
    greenback = None

from airflow_provider_seedream.generations import GenerationStatus
from airflow_provider_seedream.polling import poller
from airflow_provider_seedream.polling.decision import Step, decide
from airflow_provider_seedream.polling.loops import wait_async
from airflow_provider_seedream.polling.policy import PollPolicy
from airflow_provider_seedream.triggers import seedream
from tests.benchmarks.measuring import held_up_seconds, peak_memory, reset_peak_memory
from tests.benchmarks.server import job_id

WATCHDOG_SECONDS = 0.1  # how Airflow's triggerer watches its loop,
WARNING_SECONDS = 0.2  # and from when on it warns
STARTS_PER_SECOND = 500  # as many triggers the triggerer starts in a second, 50 in one go
Due = dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is measured. The first polls are due evenly over ``spread_seconds``.

    :param poke_interval: seconds; None: the default schedule, for jobs of the documented durations that are
        replaced as they end.
    """

    way: str
    url: str
    bundle: str
    waiting: int
    poke_interval: float | None
    spread_seconds: float
    seconds: float

    def ids(self) -> list[str]:
        return [job_id(number) for number in range(self.waiting)]


def noting(due: Due, decide: Callable[..., Step]) -> Callable[..., Step]:
    """The decision core, and a note of when it wants the next poll."""

    def decide_and_note(*args: Any, now_epoch: float, **more: Any) -> Step:
        outcome, state = decide(*args, now_epoch=now_epoch, **more)
        current = asyncio.current_task()
        assert current is not None
        if outcome.verdict == "wait":
            due[current.get_name()].append(now_epoch + outcome.wait_seconds)
        return outcome, state

    return decide_and_note


async def by_trigger(task: Task, seedream_task_id: str, first_epoch: float, policy: PollPolicy) -> None:
    trigger = seedream.SeedreamGenerationTrigger(
        seedream_task_id=seedream_task_id,
        seedream_conn_id="seedream_default",
        num_images=1,
        first_poll_epoch=first_epoch,
        deadline_epoch=policy.deadline_epoch,
        poke_interval=policy.poke_interval_seconds,
        settling_seconds=policy.settling_seconds,
        outage_seconds=policy.outage_seconds,
    )
    async for event in trigger.run():
        raise RuntimeError(f"nothing was to happen: {event}")


def by_default_schedule(due: Due) -> Callable[[Task, str, float, PollPolicy], Awaitable[None]]:
    """One generation after another, each with a trigger of its own, as in a triggerer that stays busy."""
    numbers = count(1)

    async def one(created: float) -> None:
        # [doc], and links that follow [seen]
        ready_at = created + random.uniform(20, 40) + random.uniform(3, 12)
        trigger = seedream.SeedreamGenerationTrigger(
            seedream_task_id=job_id(next(numbers), ready_at),
            seedream_conn_id="seedream_default",
            num_images=1,
            first_poll_epoch=time.time() + 5,
            deadline_epoch=created + 3600,
            poke_interval=None,
            settling_seconds=120,
            outage_seconds=1800,
            image_size="auto_2K",
            kind="generate",
            created_epoch=created,
        )
        now, first = time.time(), poller.Poller(trigger.policy)
        planned = now + first.seconds_before_first_poll(now_epoch=now)
        due[trigger.seedream_task_id].append(max(trigger.first_poll_epoch, planned))

        async def run() -> None:
            async for event in trigger.run():
                if event.payload["outcome"] != "done":
                    raise RuntimeError(f"only successes were to happen: {event}")

        await asyncio.create_task(in_portal(run()), name=trigger.seedream_task_id)

    async def wait(task: Task, seedream_task_id: str, first_epoch: float, policy: PollPolicy) -> None:
        await one(time.time() - random.uniform(0, task.spread_seconds))
        while True:
            await one(time.time())

    return wait


def by_threads(task: Task) -> Callable[[Task, str, float, PollPolicy], Awaitable[None]]:
    """The naive way: one requests session, a thread per poll."""
    session = requests.Session()
    session.headers["Authorization"] = "Bearer benchmark"

    async def wait(task: Task, seedream_task_id: str, first_epoch: float, policy: PollPolicy) -> None:
        url = f"{task.url}/v1/generation-request/{seedream_task_id}/status/"

        async def poll() -> GenerationStatus:
            answer = await asyncio.to_thread(session.get, url, verify=task.bundle, timeout=60)
            return GenerationStatus.from_wire(answer.json())

        await wait_async(poller.Poller(policy, due_epoch=first_epoch), poll)

    return wait


def by_bare_session(task: Task, due: Due) -> Callable[[Task, str, float, PollPolicy], Awaitable[None]]:
    """The least that such GETs can cost: one aiohttp session, the body read and parsed; no error is
    caught, nothing is decided.
    """
    context = ssl.create_default_context(cafile=task.bundle)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=300, ssl=context), cookie_jar=aiohttp.DummyCookieJar()
    )
    headers = {"Authorization": "Bearer benchmark"}

    async def wait(task: Task, seedream_task_id: str, first_epoch: float, policy: PollPolicy) -> None:
        url = f"{task.url}/v1/generation-request/{seedream_task_id}/status/"
        await asyncio.sleep(first_epoch - time.time())
        while True:
            async with session.get(url, headers=headers) as answer:
                json.loads(await answer.read())
            seconds = (policy.poke_interval_seconds or 0) * random.uniform(0.9, 1.1)
            due[seedream_task_id].append(time.time() + seconds)
            await asyncio.sleep(seconds)

    return wait


def choose(task: Task, due: Due) -> Callable[[Task, str, float, PollPolicy], Awaitable[None]]:
    if task.way == "http":
        from tests.benchmarks.polling_http import by_http_sensor

        chosen: Callable[[Task, str, float, PollPolicy], Awaitable[None]] = by_http_sensor(task, due)
        return chosen
    if task.way == "default schedule":
        return by_default_schedule(due)
    if task.way == "bare":
        return by_bare_session(task, due)
    return by_trigger if task.way == "trigger" else by_threads(task)


async def watchdog(gaps: list[tuple[float, float]]) -> None:
    """As Airflow's own: what is longer than the pause, the loop was busy. The second number is the part of it
    in which the loop was ready to run, and other work had the processors.
    """
    while True:
        before, held_up = time.monotonic(), held_up_seconds()
        await asyncio.sleep(WATCHDOG_SECONDS)
        gaps.append((time.monotonic() - before, held_up_seconds() - held_up))


async def in_portal(work: Awaitable[None]) -> None:
    """Airflow's triggerer runs every trigger in a greenback portal, which has its price."""
    if greenback is not None:
        await greenback.ensure_portal()
    await work


async def measure(task: Task) -> dict[str, Any]:
    due: Due = defaultdict(list)
    poller.decide = noting(due, decide)  # the one thing that is patched
    wait = choose(task, due)
    start = time.time() + 2.0 + 2 * task.waiting / STARTS_PER_SECOND
    policy = PollPolicy(num_images=1, deadline_epoch=start + 3600, poke_interval_seconds=task.poke_interval)
    gc.freeze()  # Airflow's own modules: walking them all stops the loop for 0.15 s, whoever waits in it
    gaps: list[tuple[float, float]] = []
    baseline = reset_peak_memory()
    tasks = [asyncio.create_task(watchdog(gaps))]
    for number, name in enumerate(task.ids()):
        first = start + task.spread_seconds * number / task.waiting
        if task.poke_interval is not None:
            due[name].append(first)
        await asyncio.sleep(0 if number % 50 else 0.1)  # at least that long apart
        tasks.append(asyncio.create_task(in_portal(wait(task, name, first, policy)), name=name))
    await asyncio.sleep(start - time.time())
    cpu, held_up = time.process_time(), held_up_seconds()
    await asyncio.sleep(task.seconds)
    found = {
        "due": due,
        "start": start,
        "end": time.time(),
        "cpu_share": (time.process_time() - cpu) / task.seconds,
        "held_up_share": (held_up_seconds() - held_up) / task.seconds,
        "longest_block_seconds": max(gap for gap, _ in gaps) - WATCHDOG_SECONDS,
        "warnings": sum(gap > WARNING_SECONDS for gap, _ in gaps),
        "own_warnings": sum(gap - held_up > WARNING_SECONDS for gap, held_up in gaps),
        "memory_bytes": peak_memory() - baseline,
    }
    if broken := [one.exception() for one in tasks if one.done()]:
        raise RuntimeError(f"{len(broken)} ended early: {broken[:3]}")
    return found


def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    connection = {
        "conn_type": "seedream",
        "host": task.url,
        "password": "benchmark",
        "extra": {"verify": task.bundle},
    }
    os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"] = json.dumps(connection)
    print(json.dumps(asyncio.run(measure(task))), flush=True)
    os._exit(0)  # threads that still wait for an answer are not worth waiting for


if __name__ == "__main__":
    main()
