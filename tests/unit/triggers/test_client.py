"""The triggers' client: its first import happens beside the event loop, and triggers of one connection
share it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap

import pytest

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.triggers.client import paced_client
from tests.airflow.warm import start
from tests.unit.api import connection_json

CODE = """
import asyncio, sys, threading
from importlib.abc import MetaPathFinder
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.triggers.client import load_client

class Slow(MetaPathFinder):  # an import of aiohttp that takes until the loop says so
    asked, go_on = threading.Event(), threading.Event()
    def find_spec(self, name, path=None, target=None):
        if name == "aiohttp":
            self.asked.set()
            assert self.go_on.wait(60), "the loop never came to say so"

async def main():
    sys.modules.pop("aiohttp", None)
    sys.meta_path.insert(0, Slow())
    first = asyncio.create_task(load_client())
    while not Slow.asked.is_set():
        await asyncio.sleep(0.001)
    second = asyncio.create_task(load_client())
    for _ in range(10):  # it has begun, and the loop goes on
        await asyncio.sleep(0.001)
    assert not first.done() and not second.done()
    Slow.go_on.set()
    await asyncio.gather(first, second)
    assert "airflow_provider_seedream.hooks.async_status" in sys.modules

asyncio.run(main())
print("went on")
"""


def test_a_second_trigger_does_not_block_the_loop_while_the_first_one_imports() -> None:
    argv = [sys.executable, "-c", textwrap.dedent(CODE)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=400, check=False)
    assert done.stdout.endswith("went on\n"), done.stderr


def test_triggers_of_one_connection_share_a_client_until_its_key_or_the_environment_can_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def connect(key: str) -> None:
        monkeypatch.setenv(
            "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json("http://127.0.0.1:1", password=key)
        )

    async def client() -> object:
        async with paced_client("seedream_default") as paced:
            return paced._client

    async def clients() -> list[object]:
        async with paced_client("seedream_default") as first:
            second = await client()
            connect("rotated-key-4712")
            while (third := await client()) is first._client:
                # a lookup serves those that ask within a second
                await asyncio.sleep(0.05)
        # the last user before it has closed the session
        return [first._client, second, third, await client()]

    connect("first-key-4711")
    first, second, third, later = asyncio.run(clients())
    assert first is second
    assert len({id(first), id(third), id(later)}) == 3


def test_a_connection_that_was_mended_serves_the_next_trigger_that_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask() -> None:
        async with paced_client("seedream_default"):
            pass

    async def fail_and_ask_again() -> None:
        with pytest.raises(SeedreamInputError, match="no password"):
            await ask()
        monkeypatch.setenv(
            "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json("http://127.0.0.1:1", password="the-key-4711")
        )
        await ask()

    monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json("http://127.0.0.1:1", password=""))
    asyncio.run(fail_and_ask_again())


def test_a_thousand_triggers_that_start_at_once_read_their_connection_once() -> None:
    backend = {"AIRFLOW__SECRETS__BACKEND": "tests.unit.triggers.counting_backend.CountingBackend"}
    # In a process of its own, as Airflow keeps a backend that it has made.
    assert start("tests.unit.triggers.starting_at_once", env={**os.environ, **backend}).wait() == 0
