"""The stage of each scheduler test, and the choice between deferred and synchronous."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.airflow.cluster import Cluster
from tests.scheduler.stage import Stage


@pytest.fixture(params=[True, False], ids=["deferred", "synchronous"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    """Whether waiting tasks wait in the triggerer."""
    return bool(request.param)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Jobs of 0.2 s, one tiny image for everything, no rate limit."""
    with Emulator(Settings.fast(flat_images=True)) as running:
        yield running


@pytest.fixture
def stage(cluster: Cluster, emulator: Emulator, tmp_path: Path, request: pytest.FixtureRequest) -> Stage:
    name = re.sub(r"\W+", "_", request.node.name).strip("_")
    stage = Stage(cluster=cluster, emulator=emulator, folder=tmp_path / "images", name=name)
    stage.connect()
    return stage
