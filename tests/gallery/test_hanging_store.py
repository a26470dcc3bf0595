"""A storage that hangs stops nothing but itself: Airflow's own pages answer while a hundred pictures wait.

A named pipe that nobody writes to is a file whose reader hangs: the real file system, and a real wait.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from airflow_provider_seedream.gallery.stores import Reads, StoreHangsError, store_of
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.conftest import Visitor, cookies_of
from tests.gallery.stage import Database, land
from tools.processes import wait_until

REQUESTS = 100


@pytest.fixture
def address(visitor: Visitor, web_server: Any) -> Iterator[str]:
    """The web server on a socket of its own: one event loop and Airflow's 40 shared threads, as in
    production.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(web_server, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started, what="the web server", timeout_seconds=120)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def hanging(database: Database, roots: Path) -> Iterator[list[str]]:
    """Tasks whose manifests are pipes; their pictures' addresses."""
    pipes, paths = [], []
    for number in range(REQUESTS):
        place = TaskRef(dag_id="watches", run_id="manual__1", task_id="land", map_index=number)
        value = land(roots / "watches", place, name=f"n{number}", images=1, size=(8, 8))
        database.returned(place, value)
        pipe = roots / "watches" / f"n{number}.json"
        pipe.unlink()
        os.mkfifo(pipe)
        pipes.append(pipe)
        paths.append(place.address("thumb", 1, sha256=value["images"][0]["sha256"]))
    yield paths
    for pipe in pipes:  # whoever reads it still is let go
        os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
    store_of(roots.as_uri()).reads = Reads()


def test_a_hundred_hanging_pictures_hold_up_no_page_of_airflow(address: str, hanging: list[str]) -> None:
    session = requests.Session()
    session.cookies.update(cookies_of("viewer"))
    with ThreadPoolExecutor(REQUESTS) as browsers:
        pictures = [browsers.submit(session.get, f"{address}/{path}", timeout=300) for path in hanging]
        waited = []
        while not all(picture.done() for picture in pictures):
            began = time.monotonic()
            assert requests.get(f"{address}/api/v2/monitor/health", timeout=120).status_code == 200
            waited.append(time.monotonic() - began)
    assert {picture.result().status_code for picture in pictures} == {404}
    assert len(waited) > 1  # it did answer while they waited
    waited.sort()
    # On a quiet machine hundredths of a second, and seven minutes before; other tests want the same cores.
    assert waited[len(waited) // 2] < 10.0, waited
    assert waited[-1] < 60.0, waited


class TestReads:
    def test_one_that_takes_too_long_is_given_up_and_the_store_is_left_alone_for_a_while(self) -> None:
        now, release = [0.0], threading.Event()
        # a thread may start late on a busy machine
        reads = Reads(read_seconds=2.0, down_seconds=10.0, clock=lambda: now[0])
        with pytest.raises(StoreHangsError):
            reads.ask(lambda: release.wait(60))
        with pytest.raises(StoreHangsError):
            reads.ask(lambda: pytest.fail("a store that hangs was asked again"))
        now[0] = 10.0
        assert reads.ask(lambda: "back") == "back"
        release.set()

    def test_threads_that_hang_are_bounded(self) -> None:
        release = threading.Event()
        reads = Reads(read_seconds=0.05, down_seconds=0.0, at_once=2)
        for _ in range(5):
            with pytest.raises(StoreHangsError):
                reads.ask(lambda: release.wait(60))
        hanging = [thread for thread in threading.enumerate() if thread.name == "seedream-gallery-read"]
        assert len(hanging) == 2
        release.set()

    def test_an_error_of_the_store_comes_through_its_own_timeouts_too(self) -> None:
        def act() -> None:
            raise TimeoutError("of the store")

        with pytest.raises(TimeoutError, match="of the store"):
            Reads().ask(act)
