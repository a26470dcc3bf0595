"""Twice a thousand triggers that start at once and one right after them, and how often they read their
connection.
"""

from __future__ import annotations

import asyncio
import time

from airflow_provider_seedream.triggers.client import LOOKUP_SECONDS, paced_client
from tests.unit.triggers.counting_backend import CountingBackend


async def one() -> None:
    async with paced_client("seedream_default"):
        pass


async def at_once() -> None:
    first = asyncio.create_task(one())
    others = [asyncio.create_task(one()) for _ in range(999)]
    while not CountingBackend.asked and not first.done():
        await asyncio.sleep(0)
    first.cancel()  # it was the one that asked, and takes the answer from no other
    await asyncio.gather(*others)
    await one()  # one that begins right after them shares the answer, too


if __name__ == "__main__":
    for _ in (1, 2):
        asked, began = CountingBackend.asked, time.monotonic()
        asyncio.run(at_once())
        # Once; and once more for each second that a busy machine takes longer: a lookup serves those that ask
        # within a second.
        assert 1 <= CountingBackend.asked - asked <= 1 + (time.monotonic() - began) // LOOKUP_SECONDS
