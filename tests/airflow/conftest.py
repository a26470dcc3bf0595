"""The fixtures around a real Airflow; only tests that ask for `cluster` start one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.airflow.cluster import Cluster
from tests.airflow.postgres import find_binaries, postgres


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One Airflow for the whole session."""
    with ExitStack() as stack:
        binaries = find_binaries()
        database = stack.enter_context(postgres(binaries)) if binaries else None
        home: Path = tmp_path_factory.mktemp("airflow-home")
        yield stack.enter_context(Cluster(home, database=database))


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The session's Airflow; after each test nothing runs on and there is one triggerer again."""
    yield running_cluster
    running_cluster.end_runs()
    running_cluster.restore()
