"""Settings every test runs under: an Airflow home of its own, and no database that could be used by
accident.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.sharing_out import pytest_xdist_make_scheduler  # noqa: F401 - a hook of pytest-xdist

pytest_plugins = ["tests.airflow.fixtures"]  # one Airflow for all folders of tests, not one for each

if "AIRFLOW_HOME" not in os.environ or not os.environ.get("SEEDREAM_TEST_HOME"):
    home = tempfile.mkdtemp(prefix="seedream-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    # Before anything imports Airflow, which reads its settings once.
    os.environ.update(
        SEEDREAM_TEST_HOME=home,
        AIRFLOW_HOME=home,
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home}/no-database-in-unit-tests.db",
        AIRFLOW__LOGGING__LOGGING_LEVEL="INFO",
        AIRFLOW__SEEDREAM__POKE_INTERVAL="0.2",  # the emulator's jobs end long before a poll would pay
    )


@pytest.fixture(autouse=True)
def a_process_that_has_sent_nothing_yet() -> Iterator[None]:
    """A process remembers its requests for a minute and makes the next one wait: no test may wait for
    those of another.
    """
    yield
    limiter = sys.modules.get("airflow_provider_seedream.rate_limit.limiter")
    if limiter:
        limiter._limiters.clear()
