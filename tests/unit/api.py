"""Both ways to poll a generation, the worker's and the triggerer's, so that what holds for one is shown of
the other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from airflow_provider_seedream.generations import GenerationStatus
from airflow_provider_seedream.hooks.async_status import StatusClient, shared_session
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.hooks.settings import SeedreamSettings
from airflow_provider_seedream.polling.policy import FailedPoll
from tests.unit.values import KEY, TASK_ID

Poll = Callable[[], GenerationStatus | FailedPoll]
IN_PROGRESS = {"status": "IN_PROGRESS", "progress": 5, "failure_reason": None, "results": []}
ACCEPTED = {"task_id": TASK_ID, "created_at": "2026-02-25T12:00:00Z"}


def connection_json(host: str, *, password: str = KEY, **extra: Any) -> str:
    """A value for ``AIRFLOW_CONN_SEEDREAM_DEFAULT``."""
    return json.dumps({"conn_type": "seedream", "host": host, "password": password, "extra": extra})


def settings(**changes: Any) -> SeedreamSettings:
    fields: dict[str, Any] = {
        "conn_id": "c",
        "host": None,
        "port": None,
        "schema": None,
        "password": KEY,
        "extra_dejson": {},
    }
    return SeedreamSettings.from_connection(SimpleNamespace(**{**fields, **changes}))


def poll_as_a_worker() -> GenerationStatus | FailedPoll:
    return SeedreamHook().poll(TASK_ID)


def poll_as_a_trigger() -> GenerationStatus | FailedPoll:
    return poll_as_a_trigger_with(SeedreamHook().settings)


def poll_as_a_trigger_with(settings: SeedreamSettings) -> GenerationStatus | FailedPoll:
    async def poll() -> GenerationStatus | FailedPoll:
        async with shared_session() as session:
            return await StatusClient(session, settings).poll(TASK_ID)

    return asyncio.run(poll())
