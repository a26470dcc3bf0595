"""The first import of the triggers' client happens beside the event loop, whoever else asks for it meanwhile."""

from __future__ import annotations

import subprocess
import sys
import textwrap

CODE = """
import asyncio, sys, threading
from importlib.abc import MetaPathFinder
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
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.endswith("went on\n"), done.stderr
