"""A pytest plugin for projects that use this provider: name it in ``pytest_plugins`` of the ``conftest.py``
at the root.

The fixture ``seedream_emulator`` starts a fresh emulator with fast settings for each test, and the Airflow
connection ``seedream_default`` leads to it. The connection's destination is the test's ``tmp_path``, so
images land there unless the task names a folder of its own. Tasks without a ``poke_interval`` poll as often
as such fast jobs deserve::

    # conftest.py
    pytest_plugins = ["airflow_provider_seedream.emulator.pytest_plugin"]

    # test_watches.py
    def test_a_run_pays_for_each_image_once(seedream_emulator, tmp_path):
        watches.test()
        assert seedream_emulator.books.credits_charged == 20
        assert len(list(tmp_path.glob("hero_?.png"))) == 2
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_seedream.emulator.server import Emulator
from airflow_provider_seedream.emulator.settings import Settings

# Else a batch paces itself to the API's 3 requests a minute, and waits for the turns of the tests before it
# in this process.
_UNPACED = 6000


@pytest.fixture
def seedream_emulator_settings() -> Settings:
    """The settings that ``seedream_emulator`` starts with; override this fixture to change them.

    Example::

        @pytest.fixture
        def seedream_emulator_settings():
            return Settings.fast(balance_credits=30)  # an almost empty wallet
    """
    return Settings.fast()


@pytest.fixture
def seedream_emulator(
    seedream_emulator_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """A running emulator with empty books, reachable through the connection ``seedream_default``."""
    with Emulator(seedream_emulator_settings) as emulator:
        connection = json.loads(emulator.airflow_connection_json())
        extra = {**connection.get("extra", {}), "destination": tmp_path.as_uri()}
        if not seedream_emulator_settings.rate_limit_per_minute:
            extra["requests_per_minute"] = _UNPACED
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps({**connection, "extra": extra}))
        monkeypatch.setenv("AIRFLOW__SEEDREAM__POKE_INTERVAL", "0.2")
        yield emulator
