"""The generations in flight of a batch: polls wait for their answers side by side, and a landing keeps no poll from going."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_provider_seedream.batch.attending import Attendant
from airflow_provider_seedream.batch.flights import LANDING_THREADS, Flights
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.progress import InFlight, Progress
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.polling.policy import PollPolicy
from airflow_provider_seedream.rate_limit.limiter import RateLimiter
from tests.unit.api import connection_json
from tests.unit.values import generation

MANY = LANDING_THREADS + 16
PATIENCE_SECONDS = 60.0


@contextmanager
def answering_together(number: int) -> Iterator[tuple[str, set[str]]]:
    """An API that answers no status call before so many have come; its address, and who called."""
    barrier, agents = threading.Barrier(number, timeout=PATIENCE_SECONDS), set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            agents.add(self.headers["User-Agent"])
            barrier.wait()
            body = json.dumps({"status": "IN_PROGRESS", "progress": 10, "failure_reason": None, "results": []}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 2 * number
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", agents
    finally:
        server.shutdown()
        server.server_close()


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


def test_more_polls_than_there_are_threads_wait_for_their_answers_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(started_epoch=0.0, rows=MANY, in_flight={number: flying(number) for number in range(1, MANY + 1)})
    policy, bell = PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=3600.0, num_images=None), threading.Event()
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
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(url, request_timeout_seconds=3600))
        hook = SeedreamHook()
        with hook.downloads(max_bytes=1000) as downloads:
            attendant = Attendant(hook, downloads, policy, landed_by=TaskRef(), embed_metadata=False)
            with Flights(progress, attendant, pace, threading.Event()) as flights:
                flights.start_due(time.time(), post_epoch=None)
                assert flights.is_busy
    assert not [thread for thread in threading.enumerate() if thread.name == "seedream-polls"]
