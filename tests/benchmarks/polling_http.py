"""What the http provider offers for waiting: ``HttpSensor(deferrable=True)``, that is ``HttpSensorTrigger``.

It fires at the first answer that is not 404. The API answers 200 while it works, so this trigger cannot wait
for it (and with a ``response_check`` the sensor does not defer at all); here it asks a route that answers
404, to see what its polls cost.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from types import SimpleNamespace
from typing import Any

from airflow.providers.http.triggers import http

from airflow_provider_seedream.polling.policy import PollPolicy


def by_http_sensor(task: Any, due: dict[str, list[float]]) -> Any:
    os.environ["AIRFLOW_CONN_HTTP_DEFAULT"] = json.dumps({"conn_type": "http", "host": task.url})

    async def sleep(seconds: float) -> None:
        current = asyncio.current_task()
        assert current is not None
        due[current.get_name()].append(time.time() + seconds)
        await asyncio.sleep(seconds)

    http.asyncio = SimpleNamespace(sleep=sleep)  # type: ignore[attr-defined]

    async def wait(task: Any, seedream_task_id: str, first_epoch: float, policy: PollPolicy) -> None:
        await asyncio.sleep(first_epoch - time.time())
        trigger = http.HttpSensorTrigger(
            endpoint=f"missing/{seedream_task_id}", poke_interval=policy.poke_interval_seconds
        )
        async for event in trigger.run():
            raise RuntimeError(f"nothing was to happen: {event}")

    return wait
