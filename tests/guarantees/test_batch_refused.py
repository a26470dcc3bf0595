"""A batch at an API that refuses and asks to come again at once."""

from __future__ import annotations

import time
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Connect, images

REFUSING_SECONDS = 2.5


def test_a_429_that_asks_for_no_time_is_no_tight_loop(
    emulator: Emulator, connect: Connect, destination: str, folder: Path
) -> None:
    connect(emulator, requests_per_minute=6000)
    until = time.time() + REFUSING_SECONDS
    emulator.inject("rate-limited", endpoint="submit", seconds=0.0, until_epoch=until)
    with DAG("guarantees", schedule=None):
        task = SeedreamBatchOperator(
            task_id="batch",
            requests=[{"prompt": "a watch"}],
            destination=destination,
            poke_interval=POKE_SECONDS,
        )
    assert Runner().run(task).state == "success"
    assert (emulator.books.posts, len(images(folder))) == (1, 1)
    assert emulator.books.posts_received <= 4, "now, a second later, two more seconds later"
