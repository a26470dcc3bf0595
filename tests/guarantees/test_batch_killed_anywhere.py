"""G2, G3, G17: the worker of a batch dies by SIGKILL before acts on disk or network from its first to its
last; a retry follows.

Threads land beside the one that submits, so an act's number is not always the same act: a sample over all of
them it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Connect, records
from tests.guarantees.test_killed_anywhere import (
    assert_nothing_is_half_written,
    let_claims_settle,
    run_in_child,
)
from tests.guarantees.woken import Woken
from tests.unit.stores import store_on_disk

SAMPLES = 30
ROWS = {1: 4, 8: 12, 16: 24}  # by the number of POSTs under way
WATCH = Path(__file__).parents[2] / "example_dags" / "sources" / "watch.jpg"


def rows(act: int, number: int = 4) -> list[dict[str, Any]]:
    return [
        {"prompt": f"a watch {act}", "name": f"hero{act}", "num_images": 2},
        {"prompt": f"a clock {act}"},
        {"prompt": f"a blue watch {act}", "images": [WATCH.as_uri()]},
        *({"prompt": f"sundial {index} {act}"} for index in range(number - 3)),
    ]


@pytest.fixture
def batch(emulator: Emulator, connect: Connect, destination: str) -> Callable[..., SeedreamBatchOperator]:
    connect(emulator, requests_per_minute=100_000)

    def batch(act: int, at_once: int = 1, **more: Any) -> SeedreamBatchOperator:
        given = {
            "destination": destination,
            "max_in_flight": 2 * at_once,
            "poke_interval": 0.05,
            "on_error": "continue",
            **more,
        }
        table = {
            "requests": rows(act, ROWS[at_once]),
            "results": f"results{act}",
            "max_posts_at_once": at_once,
        }
        with DAG("guarantees", schedule=None):
            return SeedreamBatchOperator(task_id="batch", **table, **given)

    return batch


def sample(acts: int, samples: int = SAMPLES) -> list[int]:
    """Acts from the first to the last, evenly spread."""
    return sorted({1 + round(number * (acts - 1) / (samples - 1)) for number in range(samples)})


def assert_all_is_well(act: int, outcome: Outcome, emulator: Emulator, folder: Path, at_once: int = 1) -> int:
    """What must hold of a batch once it was killed and retried. Returns how many rows are unknown."""
    number = ROWS[at_once]
    assert outcome.state == "success", f"killed before act {act}: {outcome.error}"
    table = [json.loads(line) for line in (folder / f"results{act}.jsonl").read_text().splitlines()]
    counted = Counter(line["status"] for line in table)
    assert [line["row"] for line in table] == list(range(1, number + 1))
    assert counted["landed"] + counted["unknown"] == number
    assert counted["unknown"] <= at_once, f"killed before act {act}: {counted['unknown']} rows unknown"
    assert all("It was sent at" in line["detail"] for line in table if line["status"] == "unknown")
    prompts = Counter(
        entry.prompt for entry in emulator.books.submissions if entry.prompt.endswith(f" {act}")
    )
    assert all(number == 1 for number in prompts.values()), f"killed before act {act}: paid twice"
    assert number - counted["unknown"] <= len(prompts) <= number
    charged = sum(entry.credits for entry in emulator.books.submissions if entry.prompt.endswith(f" {act}"))
    assert charged <= outcome.value["credits"] <= 10 * (number + 1)
    assert_nothing_is_half_written(folder)
    return counted["unknown"]


@pytest.mark.slow
class TestABatchKilledBeforeItsActs:
    @pytest.mark.parametrize(
        ("at_once", "samples", "is_bucket"),
        [(1, SAMPLES, False), (8, SAMPLES, False), (8, SAMPLES, True), (16, SAMPLES // 2, False)],
        ids=["one by one", "eight at once", "eight at once, a store with versions", "sixteen at once"],
    )
    def test_a_batch_killed_before_its_acts_never_pays_twice_and_leaves_no_more_rows_unknown_than_were_under_way(
        self,
        at_once: int,
        samples: int,
        is_bucket: bool,
        emulator: Emulator,
        batch: Callable[..., SeedreamBatchOperator],
        folder: Path,
    ) -> None:
        """With a store that has versions, claims are made unread, and the retry is a first try that meets
        records all the same.
        """
        place = {"destination": store_on_disk(folder)} if is_bucket else {}
        emulator.configure(latency_seconds=0.05 * (at_once > 1))  # else no two POSTs would be under way
        # Each generation is polled once: else a slow run counts many more acts than those after it have.
        emulator.configure(seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0))

        def work(act: int) -> Callable[[], object]:
            return lambda: Runner(run_id=f"r{act}").run(batch(act, at_once, deferrable=False, **place))

        acts = run_in_child(work(0), folder=folder, die_before_act=None)
        killed, unknown = 0, 0
        for act in sample(acts, samples):
            killed += run_in_child(work(act), folder=folder, die_before_act=act) == -1
            assert_nothing_is_half_written(folder)
            let_claims_settle(folder)
            outcome = Runner(run_id=f"r{act}").run(batch(act, at_once, deferrable=False, **place))
            unknown += assert_all_is_well(act, outcome, emulator, folder, at_once)
        print(f"{killed} kills over {acts} acts, {unknown} rows unknown")
        assert killed > samples * 0.8
        assert not emulator.books.violations

    def test_a_batch_killed_after_a_deferral_does_not_pay_twice_either(
        self, emulator: Emulator, batch: Callable[..., SeedreamBatchOperator], folder: Path
    ) -> None:
        # What is woken at once finds its images ready: else it defers again and again, and a fast machine
        # counts twice the acts.
        emulator.configure(seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0))

        def deferred(act: int) -> tuple[Runner, SeedreamBatchOperator]:
            runner, task = Woken(run_id=f"r{act}"), batch(act, deferrable=True, poke_interval=30, retries=1)
            assert runner.run(task, until="deferred").state == "deferred"
            return runner, task

        runner, task = deferred(0)
        acts = run_in_child(lambda: runner.run(task), folder=folder, die_before_act=None)
        killed, unknown = 0, 0
        for act in sample(acts)[::2]:
            runner, task = deferred(act)
            killed += run_in_child(lambda: runner.run(task), folder=folder, die_before_act=act) == -1  # noqa: B023 - called here
            let_claims_settle(folder)
            runner.clear(task)  # Airflow's next try
            unknown += assert_all_is_well(act, runner.run(task), emulator, folder)
        print(f"{killed} kills over {acts} acts after a deferral, {unknown} rows unknown")
        assert killed > SAMPLES / 2 * 0.8
        assert len(records(folder)) >= 4 * killed
