"""A pytest plugin: name it in ``pytest_plugins`` of the root ``conftest.py``.

The fixture ``seedream_emulator`` is a fresh emulator with fast settings, and the Airflow connection
``seedream_default`` points at it. Tasks without a ``poke_interval`` look as often as such fast jobs deserve.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from airflow_provider_seedream.emulator.server import Emulator
from airflow_provider_seedream.emulator.settings import Settings

_UNPACED = 6000  # else a batch paces itself to the API's 3 a minute, and waits for what the tests before it have sent


@pytest.fixture
def seedream_emulator_settings() -> Settings:
    """The settings ``seedream_emulator`` starts with; override this fixture to change them."""
    return Settings.fast()


@pytest.fixture
def seedream_emulator(seedream_emulator_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A running emulator with empty books, reachable through the connection ``seedream_default``."""
    with Emulator(seedream_emulator_settings) as emulator:
        connection = json.loads(emulator.airflow_connection_json())
        if not seedream_emulator_settings.rate_limit_per_minute:
            connection["extra"] = {**connection.get("extra", {}), "requests_per_minute": _UNPACED}
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
        monkeypatch.setenv("AIRFLOW__SEEDREAM__POKE_INTERVAL", "0.2")
        yield emulator
