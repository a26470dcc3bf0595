"""Labels stand in record and manifest, are rendered and checked before anything is sent, and never make
another request.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Build, records


def test_labels_stand_in_record_and_manifest_and_another_label_pays_nothing(
    emulator: Emulator, build: Build, folder: Path
) -> None:
    runner = Runner()
    first = build(name="hero", labels={"team": "{{ dag.dag_id }}", "product": "watch"})
    runner.run(first.submit)
    assert runner.run(first.land).state == "success"
    runner.clear(first.submit)
    assert runner.run(build(name="hero", labels={"team": "another"}).submit).state == "success"
    manifest = json.loads((folder / "hero.json").read_text())
    assert (
        [one["labels"] for one in records(folder)]
        == [manifest["labels"]]
        == [{"product": "watch", "team": "guarantees"}]
    )
    assert emulator.books.posts_received == 1


def test_labels_of_a_batch_stand_in_each_of_its_records(
    emulator: Emulator, destination: str, folder: Path
) -> None:
    with DAG("guarantees", schedule=None):
        batch = SeedreamBatchOperator(
            task_id="batch",
            requests=[{"prompt": "a"}, {"prompt": "b"}],
            destination=destination,
            labels={"team": "{{ 40 + 2 }}"},
            deferrable=False,
            poke_interval=POKE_SECONDS,
        )
    assert Runner().run(batch).state == "success"
    assert [one["labels"] for one in records(folder)] == [{"team": "42"}] * 2


@pytest.mark.parametrize("labels", [{"team": "{{ none }}"}, {"team": "{{ 'x' * 64 }}"}], ids=["none", "long"])
def test_labels_that_are_wrong_after_rendering_send_nothing(
    labels: Any, emulator: Emulator, build: Build
) -> None:
    outcome = Runner().run(build(labels=labels).submit)
    assert isinstance(outcome.error, SeedreamInputError)
    assert (outcome.tries, emulator.books.posts_received) == (1, 0)


def test_labels_that_are_wrong_fail_when_the_dag_is_parsed() -> None:
    with pytest.raises(SeedreamInputError, match="labels: a key"):
        SeedreamGenerateOperator(task_id="submit", prompt="a watch", labels={"te am": "shop"})
