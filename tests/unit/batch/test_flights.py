"""The generations in flight of a batch: polls wait for their answers side by side, and a landing keeps no
poll from going.
"""

from __future__ import annotations

import gc
import json
import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from airflow_provider_seedream.batch import flights as flights_module
from airflow_provider_seedream.batch.attending import Attendant
from airflow_provider_seedream.batch.flights import LANDING_THREADS, MAX_COUNTED_POLLS, Flights
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.progress import InFlight, Progress
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.polling.policy import PollPolicy
from airflow_provider_seedream.rate_limit.limiter import RateLimiter
from tests.unit.api import IN_PROGRESS, connection_json
from tests.unit.values import generation, png

MANY = LANDING_THREADS + 16
PATIENCE_SECONDS = 60.0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextmanager
def serving(handler: type[Handler]) -> Iterator[str]:
    """A server with this handler; its address."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 2 * MANY
        daemon_threads = True

    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def answering_together(number: int) -> Iterator[tuple[str, set[str]]]:
    """An API that answers no status call before so many have come; its address, and who called."""
    barrier, agents = threading.Barrier(number, timeout=PATIENCE_SECONDS), set()

    class Together(Handler):
        def do_GET(self) -> None:
            agents.add(self.headers["User-Agent"])
            barrier.wait()
            self.answer(json.dumps(IN_PROGRESS).encode())

    with serving(Together) as url:
        yield url, agents


def flying(number: int) -> InFlight:
    return InFlight(
        number=number,
        columns={},
        generation=replace(generation(), seedream_task_id=f"0b8c1f0e-5a63-4b0e-9b0c-{number:012d}"),
        credits=10,
        may_have_landed=False,
        due_epoch=0.0,
        deadline_epoch=math.inf,
    )


def test_more_polls_than_there_are_threads_wait_for_their_answers_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    progress = Progress(
        started_epoch=0.0, rows=MANY, in_flight={number: flying(number) for number in range(1, MANY + 1)}
    )
    policy, bell = (
        PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=3600.0, num_images=None),
        threading.Event(),
    )
    pace = Pace(limiter=RateLimiter(60), counts_polls=False, max_in_flight=MANY, timeout_seconds=3600)
    heard, until = [], time.monotonic() + PATIENCE_SECONDS
    with answering_together(MANY) as (url, agents):
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(url))
        hook = SeedreamHook()
        with hook.downloads(max_bytes=1000) as downloads:
            attendant = Attendant(hook, downloads, policy, landed_by=TaskRef(), embed_metadata=False)
            with Flights(progress, attendant, pace, bell) as flights:
                flights.start_due(time.time(), post_epoch=None)
                while flights.is_busy and time.monotonic() < until:
                    bell.wait(1.0)
                    bell.clear()
                    heard += list(flights.ended())
                for attended in heard:
                    flights.add(attended.entry)
                assert flights.next_epoch(time.time()) > time.time() + 3000
    assert sorted(attended.entry.number for attended in heard) == list(range(1, MANY + 1))
    assert not any(attended.error for attended in heard)
    assert not any(agent.endswith("(trigger)") for agent in agents)


def test_polls_whose_answers_do_not_come_are_dropped_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(started_epoch=0.0, rows=1, in_flight={1: flying(1)})
    policy = PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=3600.0, num_images=None)
    pace = Pace(limiter=RateLimiter(60), counts_polls=False, max_in_flight=1, timeout_seconds=3600)
    with answering_together(2) as (url, _):
        monkeypatch.setenv(
            "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(url, request_timeout_seconds=3600)
        )
        hook = SeedreamHook()
        with hook.downloads(max_bytes=1000) as downloads:
            attendant = Attendant(hook, downloads, policy, landed_by=TaskRef(), embed_metadata=False)
            with Flights(progress, attendant, pace, threading.Event()) as flights:
                flights.start_due(time.time(), post_epoch=None)
                assert flights.is_busy
    assert not [thread for thread in threading.enumerate() if thread.name == "seedream-polls"]


class Timeout(Exception):
    """As Airflow's timeout of a task: a signal raises it between any two lines of the main thread."""


@contextmanager
def striking(at: int) -> Iterator[list[str]]:
    """Raise it before the line of this number that `flights.py` runs in this thread; the lines so far."""
    lines: list[str] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != flights_module.__file__ or frame.f_code.co_name == "__exit__":
            return None
        if event == "line":
            lines.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
            if len(lines) == at:
                raise Timeout(lines[-1])
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


@pytest.mark.filterwarnings("error:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # where that one is raised
def test_a_timeout_at_any_line_of_the_first_poll_ends_as_that_timeout_and_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=3600.0, num_images=None)
    struck: list[str] = []
    with answering_together(2) as (url, _):
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(url))
        hook = SeedreamHook()
        with hook.downloads(max_bytes=1000) as downloads:
            attendant = Attendant(hook, downloads, policy, landed_by=TaskRef(), embed_metadata=False)
            while True:
                progress = Progress(started_epoch=0.0, rows=1, in_flight={1: flying(1)})
                pace = Pace(
                    limiter=RateLimiter(60), counts_polls=False, max_in_flight=1, timeout_seconds=3600
                )
                flights = Flights(progress, attendant, pace, threading.Event())
                try:
                    with flights, striking(len(struck) + 1):
                        flights.start_due(time.time(), post_epoch=None)
                        break
                except Timeout as timeout:
                    struck.append(str(timeout))
                gc.collect()  # a coroutine that was never awaited warns when it is collected
                assert not [thread for thread in threading.enumerate() if thread.name == "seedream-polls"]
    assert {line.split(":")[0] for line in struck} == {
        "start_due",
        "_is_next",
        "_has_room",
        "_start",
        "_opened",
        "_run",
    }


def test_where_polls_count_slow_landings_hold_none_of_them_back_and_a_429_holds_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """More images than polls may be unanswered are on their way, none arrives before a poll has met a 429."""
    many = 2 * MAX_COUNTED_POLLS
    images, is_over = threading.Semaphore(0), threading.Event()

    class SlowImages(Handler):
        def do_GET(self) -> None:
            if self.path == "/image.png":
                images.release()
                assert is_over.wait(PATIENCE_SECONDS)
                return self.answer(png(), **{"Content-Type": "image/png"})
            if f"{many + 1:012d}" in self.path:
                return self.answer(b"{}", 429, **{"Retry-After": "600"})
            asset = f"http://{self.headers['Host']}/image.png"
            return self.answer(
                json.dumps({**IN_PROGRESS, "status": "FINISHED", "results": [{"asset": asset}]}).encode()
            )

    entries = {number: replace(flying(number), due_epoch=float(number)) for number in range(1, many + 3)}
    for number, entry in entries.items():
        entries[number] = replace(
            entry, generation=replace(entry.generation, destination=f"file://{tmp_path}", record=None)
        )
    progress = Progress(started_epoch=0.0, rows=len(entries), in_flight=entries)
    policy, bell = (
        PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=3600.0, num_images=None),
        threading.Event(),
    )
    pace = Pace(limiter=RateLimiter(60), counts_polls=True, max_in_flight=MANY, timeout_seconds=3600)
    with serving(SlowImages) as url:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(url))
        hook = SeedreamHook()
        with hook.downloads(max_bytes=1000) as downloads:
            attendant = Attendant(hook, downloads, policy, landed_by=TaskRef(), embed_metadata=False)
            with Flights(progress, attendant, pace, bell) as flights:
                try:
                    while not (refused := list(flights.throttled())):
                        flights.start_due(time.time(), post_epoch=None)
                        assert bell.wait(PATIENCE_SECONDS)
                        bell.clear()
                    assert all(images.acquire(timeout=PATIENCE_SECONDS) for _ in range(many))
                    pace.throttled(refused[0])
                    assert flights.next_epoch(time.time()) > time.time() + 500
                finally:
                    is_over.set()
