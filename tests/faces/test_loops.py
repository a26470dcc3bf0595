"""Tasks in a loop of Airflow 3.4: each round is another instance of the same task, with the same ids and
the same map index.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.api.datamodels import _generated

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Connect

pytestmark = pytest.mark.skipif(
    not hasattr(_generated, "LoopContext"), reason="Airflow has loops from 3.4 on"
)
PROMPTS = [{"prompt": "a leather watch"}, {"prompt": "a brass watch"}]


@pytest.fixture(autouse=True)
def unpaced(emulator: Emulator, connect: Connect) -> None:
    """Else the third round waits for the minute of the rate limit."""
    connect(emulator, requests_per_minute=100_000)


def rounds(operator: type, folder: Path, **arguments: Any) -> list[Outcome]:
    """Three rounds of one task in one DAG run."""
    with DAG("looped", schedule=None):
        task = operator(task_id="draw", destination=folder.as_uri(), **arguments)
    return [Runner(loop_index=index).run(task) for index in range(3)]


class TestOneRequest:
    def test_the_round_as_take_draws_other_images_in_each_round(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        found = rounds(
            SeedreamGenerateOperator, tmp_path, prompt="a watch", take="{{ loop.index + 1 }}", wait=True
        )
        assert emulator.books.posts == 3
        assert len({outcome.value["images"][0]["uri"] for outcome in found}) == 3

    def test_manifests_and_records_say_the_round(self, emulator: Emulator, tmp_path: Path) -> None:
        found = rounds(
            SeedreamGenerateOperator, tmp_path, prompt="a watch", take="{{ loop.index + 1 }}", wait=True
        )
        manifests = [
            json.loads(Path(outcome.value["manifest"].removeprefix("file://")).read_text())
            for outcome in found
        ]
        assert [manifest[by]["loop_index"] for manifest in manifests for by in ("made_by", "landed_by")] == [
            0,
            0,
            1,
            1,
            2,
            2,
        ]
        records = [json.loads(path.read_text()) for path in (tmp_path / "_seedream/ledger").glob("*.json")]
        assert sorted(record["made_by"]["loop_index"] for record in records) == [0, 1, 2]

    def test_the_button_leads_to_the_page_of_the_round(self, emulator: Emulator, tmp_path: Path) -> None:
        found = rounds(SeedreamGenerateOperator, tmp_path, prompt="a watch", take="{{ loop.index + 1 }}")
        links = [outcome.xcoms["_link_SeedreamImagesLink"] for outcome in found]
        assert [link.partition("?")[2] for link in links] == ["loop=0", "loop=1", "loop=2"]

    def test_a_request_that_stays_the_same_is_paid_once_and_the_log_says_what_to_write(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        found = rounds(SeedreamGenerateOperator, tmp_path, prompt="a watch", wait=True)
        assert emulator.books.posts == 1
        warned = ['take="{{ loop.index + 1 }}"' in outcome.log_text for outcome in found]
        assert warned == [False, True, True]


class TestABatch:
    def test_each_round_has_a_table_of_results_of_its_own(self, emulator: Emulator, tmp_path: Path) -> None:
        found = rounds(SeedreamBatchOperator, tmp_path, requests=PROMPTS, take="{{ loop.index + 1 }}")
        assert emulator.books.posts == 6
        assert [Path(outcome.value["results"]).name for outcome in found] == [
            f"results_loop_{index}.jsonl" for index in range(3)
        ]
        lines = [line for path in tmp_path.glob("results_*.jsonl") for line in path.read_text().splitlines()]
        assert len({json.loads(line)["seedream_task_id"] for line in lines}) == 6

    def test_one_name_for_all_rounds_is_refused_in_the_second_before_it_pays(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        found = rounds(
            SeedreamBatchOperator, tmp_path, requests=PROMPTS, take="{{ loop.index + 1 }}", results="night"
        )
        assert [outcome.state for outcome in found] == ["success", "failed", "failed"]
        assert "{{ loop.index }}" in str(found[1].error)
        assert emulator.books.posts == 2

    def test_a_name_with_the_round_in_it_is_taken(self, emulator: Emulator, tmp_path: Path) -> None:
        named = {"results": "night_{{ loop.index }}", "take": "{{ loop.index + 1 }}"}
        found = rounds(SeedreamBatchOperator, tmp_path, requests=PROMPTS, **named)
        assert [Path(outcome.value["results"]).name for outcome in found] == [
            f"night_{index}.jsonl" for index in range(3)
        ]
