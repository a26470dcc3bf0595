"""Fixtures of the unit layer: an emulator of the API, a connection to it, and folders in two kinds of
storage.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from tests.unit.servers import write_certificate
from tests.unit.stores import attached_store
from tests.unit.values import KEY


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What HTTP libraries read of the machine they run on, taken away: a test that wants it puts it there."""
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in (*names, *map(str.upper, names), "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, which is its own CA bundle."""
    return write_certificate(tmp_path_factory.mktemp("tls") / "self-signed.pem")


@pytest.fixture(scope="session")
def running_emulator() -> Iterator[Emulator]:
    """One for the whole session; starting it costs more than a test."""
    with Emulator(
        Settings.fast(key=KEY, seconds_per_image=0.0, late_assets_seconds=0.0, quirks=False, flat_images=True)
    ) as running:
        yield running


@pytest.fixture
def emulator(running_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator with empty books whose jobs end at once, and the connection ``seedream_default`` to it."""
    monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", running_emulator.airflow_connection_json())
    before = running_emulator.settings.to_dict()
    yield running_emulator
    running_emulator.reset()
    running_emulator.configure(**before)


@pytest.fixture
def hook(emulator: Emulator) -> SeedreamHook:
    return SeedreamHook(max_attempts=2)


@pytest.fixture(params=["file", "object store"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that does not exist yet, on a disk and in an object store."""
    return f"file://{tmp_path}/watches" if request.param == "file" else attached_store()[0]
