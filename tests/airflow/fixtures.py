"""The fixtures around a real Airflow, for every folder of tests; only tests that ask for `cluster` start
one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.airflow.cluster import Cluster, start_cluster
from tools.signals import ending_cleanly


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One Airflow for the whole session; it ends with it, also when pytest itself is ended by a signal."""
    with ending_cleanly(), start_cluster(tmp_path_factory.mktemp("airflow-home")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The session's Airflow; after each test nothing runs on and there is one triggerer again."""
    yield running_cluster
    running_cluster.end_runs()
    running_cluster.restore()
