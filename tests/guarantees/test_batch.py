"""A table of requests in one task: what is paid, what lands, what the table of results says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Connect, images, records

Batch = Callable[..., SeedreamBatchOperator]


@pytest.fixture
def batch(destination: str, deferrable: bool) -> Batch:
    def batch(requests: Any, **more: Any) -> SeedreamBatchOperator:
        given = {"destination": destination, "deferrable": deferrable, "poke_interval": POKE_SECONDS, **more}
        with DAG("guarantees", schedule=None):
            return SeedreamBatchOperator(task_id="batch", requests=requests, **given)

    return batch


@pytest.fixture(autouse=True)
def unlimited(emulator: Emulator, connect: Connect) -> None:
    connect(emulator, requests_per_minute=100_000)


def results(folder: Path, name: str = "results") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def prompts(number: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"watch {index}", "sku": f"S{index}", **more} for index in range(number)]


class TestATable:
    def test_every_row_is_paid_once_and_landed_and_has_its_line(self, batch: Batch, emulator: Emulator, folder: Path) -> None:
        outcome = Runner().run(batch(prompts(12, num_images=2)))
        assert outcome.state == "success", outcome.error
        assert (emulator.books.posts_received, emulator.books.credits_charged) == (12, 240)
        assert len(images(folder)) == 24
        table = results(folder)
        assert [line["row"] for line in table] == list(range(1, 13))
        assert {line["status"] for line in table} == {"landed"}
        assert [line["sku"] for line in table] == [f"S{index}" for index in range(12)]
        assert all(Path(uri.removeprefix("file://")).exists() for line in table for uri in line["images"])
        assert outcome.value["count"]["landed"] == outcome.value["rows"] == 12
        assert outcome.value["credits"] == 240
        assert outcome.value["images"] == 24
        assert len(records(folder)) == 12
