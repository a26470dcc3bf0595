"""A DAG that is scheduled on landed images runs by itself, and finds them in the events that started it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.airflow.cluster import Run
from tests.scheduler.stage import WAIT_SECONDS, Stage

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

LANDING = """
from airflow.sdk import Asset, AssetAlias

SeedreamGenerateOperator(
    task_id="draw", prompt="a watch", num_images=2, wait=True, outlets=[Asset("watches"), AssetAlias("watch-images")], **USUAL
)
"""
READING = """
from airflow.sdk import DAG, Asset, AssetAlias, task

with DAG({dag_id!r}, schedule=[{schedule}]):

    @task
    def read(triggering_asset_events=None):
        return [[event.asset.uri, event.extra] for event in triggering_asset_events[{schedule}]]

    read()
"""


def test_dags_on_an_asset_and_on_an_alias_run_once_images_have_landed(stage: Stage) -> None:
    add_reader(stage, "on_asset", 'Asset("watches")')
    add_reader(stage, "on_alias", 'AssetAlias("watch-images")')
    stage.start(LANDING, deferrable=True).wait(timeout_seconds=WAIT_SECONDS)

    [[uri, summary]] = what_was_read(stage, "on_asset")
    assert uri == "watches"
    assert (summary["images_landed"], summary["credits"], summary["manifest"]) == (2, 20, manifest_uri(stage))
    [manifest] = stage.manifests()
    read = sorted(what_was_read(stage, "on_alias"))
    assert [uri for uri, _ in read] == [
        f"file://{stage.folder}/{image['file']}" for image in manifest["images"]
    ]
    for (_, extra), image in zip(read, manifest["images"], strict=True):
        assert (extra["sha256"], extra["size_bytes"]) == (image["sha256"], image["size_bytes"])
        assert (extra["seedream_task_id"], extra["manifest"]) == (
            manifest["seedream_task_id"],
            manifest_uri(stage),
        )
    stage.assert_landed_once(generations=1, num_images=2)


def add_reader(stage: Stage, dag_id: str, schedule: str) -> None:
    stage.cluster.add_dag(dag_id, READING.format(dag_id=dag_id, schedule=schedule))


def what_was_read(stage: Stage, dag_id: str) -> list[Any]:
    """The events of the only run of a DAG that nobody has triggered."""
    query = "select run_id from dag_run where dag_id = :dag_id"
    [row] = stage.cluster.wait(
        f"{dag_id} runs", lambda: stage.cluster.sql(query, dag_id=dag_id), timeout_seconds=WAIT_SECONDS
    )
    run = Run(stage.cluster, dag_id, row["run_id"])
    run.wait(timeout_seconds=WAIT_SECONDS)
    return list(run.xcom("read"))


def manifest_uri(stage: Stage) -> str:
    [path] = stage.folder.glob("*.json")
    return f"file://{path}"
