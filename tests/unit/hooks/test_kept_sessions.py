"""The GETs of a task share a connection for a moment; a POST has one of its own. Counted by the ports that
the server sees.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_provider_seedream.hooks.kept_sessions import KEPT_SECONDS
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.model import clock
from tests.unit.api import ACCEPTED, IN_PROGRESS, connection_json
from tests.unit.values import TASK_ID, submission


class Server(ThreadingHTTPServer):
    daemon_threads = True
    ports: list[int]
    hangs_up = False  # close each connection right after its answer

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.closed = threading.Semaphore(0)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.release()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._answer(IN_PROGRESS)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(ACCEPTED)

    def _answer(self, fields: object) -> None:
        self.server.ports.append(self.client_address[1])
        body = json.dumps(fields).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection |= self.server.hangs_up

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        running.ports = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def hook(server: Server, monkeypatch: pytest.MonkeyPatch) -> SeedreamHook:
    monkeypatch.setenv(
        "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(f"http://127.0.0.1:{server.server_port}")
    )
    return SeedreamHook(max_attempts=1)


def test_the_polls_of_a_task_use_one_connection(hook: SeedreamHook, server: Server) -> None:
    for _ in range(3):
        hook.get_generation(TASK_ID)
    assert len(server.ports) == 3
    assert len(set(server.ports)) == 1


def test_a_post_has_a_connection_of_its_own_as_a_kept_one_could_be_closed_while_it_is_on_its_way(
    hook: SeedreamHook, server: Server
) -> None:
    hook.get_generation(TASK_ID)
    hook.submit(submission())
    hook.get_generation(TASK_ID)
    before, post, after = server.ports
    assert before == after != post


def test_a_connection_that_idled_is_not_used_again(hook: SeedreamHook, server: Server) -> None:
    now = [0.0]
    with clock.running(clock.Clock(steady_seconds=lambda: now[0])):
        hook.get_generation(TASK_ID)
        now[0] += KEPT_SECONDS
        hook.get_generation(TASK_ID)
    assert len(set(server.ports)) == 2


def test_a_connection_that_the_server_has_closed_costs_no_poll(hook: SeedreamHook, server: Server) -> None:
    server.hangs_up = True
    for _ in range(3):
        assert hook.get_generation(TASK_ID).status == "IN_PROGRESS"
        assert server.closed.acquire(timeout=30)
    assert len(server.ports) == 3


def test_two_threads_never_share_a_connection_at_once(hook: SeedreamHook) -> None:
    with hook._kept.session() as one, hook._kept.session() as other:
        assert one is not other
    with hook._kept.session() as again:
        assert again in (one, other)
