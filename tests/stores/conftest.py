"""``store``: a test runs on file://, S3, GCS and Azure; ``s3_store`` and its like give one of them.

A server starts once per session, when the first test needs it; every test gets a bucket of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.airflow.postgres import find_binaries, postgres
from tests.stores.servers import STORES, Place, Store, file_place, missing

# Before gcsfs is imported: against an emulator it asks over gRPC first, for a minute, what kind of bucket
# this is.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

GetStore = Callable[[str], Store]


@pytest.fixture(scope="session")
def get_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GetStore]:
    """Start a kind of store, once; its connections are in the environment until the session ends."""
    running: dict[str, Store] = {}
    with pytest.MonkeyPatch.context() as environment, ExitStack() as servers:

        def get(kind: str) -> Store:
            if kind not in running:
                _need(kind)
                running[kind] = servers.enter_context(STORES[kind](tmp_path_factory.mktemp(kind)))
                for name, value in running[kind].environment.items():
                    environment.setenv(name, value)
            return running[kind]

        yield get


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[str]:
    """The address of an empty database on a PostgreSQL server of this module's own."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres(binaries) as address:
        yield address


def _need(kind: str) -> None:
    """A store that is not installed is a failure where all must run, and a skip on a developer's machine."""
    if sentence := missing(kind):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(sentence)


@pytest.fixture
def file_store(tmp_path: Path) -> Place:
    return file_place(tmp_path)


@pytest.fixture
def s3_store(get_store: GetStore) -> Place:
    return get_store("s3").fresh_place()


@pytest.fixture
def gcs_store(get_store: GetStore) -> Place:
    return get_store("gcs").fresh_place()


@pytest.fixture
def azure_store(get_store: GetStore) -> Place:
    return get_store("azure").fresh_place()


@pytest.fixture(params=["file", *(pytest.param(kind, marks=pytest.mark.stores) for kind in STORES)])
def store(request: pytest.FixtureRequest) -> Place:
    place: Place = request.getfixturevalue(f"{request.param}_store")
    return place
