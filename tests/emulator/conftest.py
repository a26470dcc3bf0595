"""An emulator whose jobs take realistic times: tests move its clock instead of waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.emulator.client import Client


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    settings = Settings(
        rate_limit_per_minute=0,
        seconds_per_image=(30, 30),
        late_assets_seconds=(6, 6),
        latency_seconds=(0, 0),
        image_scale=0.125,
        quirks=False,
        link_names="plain",  # requests, which these tests use, rewrites some escapes
    )
    with Emulator(settings) as running:
        yield running


@pytest.fixture
def client(emulator: Emulator) -> Client:
    return Client(emulator)
