"""How pytest-xdist shares the tests out to its workers: one by one, but all that use one slow thing to one
worker.

By their ids, as the controller knows no more of them; marks would need ``--dist loadgroup``, which pytest 9.2
breaks.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

# What takes seconds to start, and where it is used. Real Airflows share a line: two at once slow each other
# down until deadlines pass.
STARTED_ONCE = {
    "Airflows of their own, in no hurry": r"tests/scheduler/test_(chaos|celery)\.py",
    "a real Airflow": r"tests/scheduler/|tests/airflow/test_cluster\.py|tests/gallery/test_browser\.py",
    "a full PostgreSQL": r"tests/gallery/test_rows\.py",
    "Airflow's web server": r"tests/gallery/",
    "a process that tells StatsD": r"tests/observability/test_metrics\.py::TestStatsD",
    "a process that tells OpenTelemetry": r"tests/observability/test_metrics\.py::TestOpenTelemetry",
    "a Python that lists imports": r"tests/unit/test_import_cost\.py|tests/faces/.*(TestRegistration|heavy_library)",
    "a paced table": r"tests/guarantees/test_batch_deferred\.py::TestAPacedTable",
    "a table of thousands of rows": r"tests/guarantees/test_g17_tables\.py",
    "a Python that forks commands": r"tests/cli/.*::(TestInATerminal|TestUnderAirflows|TestAPerson|TestAScript)::",
    "a Python that forks workers": r"tests/guarantees/.*::(TestAWorkerStoppedInItsPost|TestAWorkerThatIsKilledBetween"
    r"|TestAPostThatIsStillInFlight|TestProcesses|TestTwoLiveBatchesOfOneTask)",
    "the built pages": r"tests/test_site\.py",
    "a wheel": r"tests/unit/test_packaging\.py",
    "s3": r"tests/stores/.*\[s3",
    "gcs": r"tests/stores/.*\[gcs",
    "azure": r"tests/stores/.*\[azure",
}


def group_of(nodeid: str) -> str:
    """The name of what a test shares with others; its own id where it shares nothing."""
    return next((group for group, where in STARTED_ONCE.items() if re.match(where, nodeid)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A scheduler that hands out groups, the largest first, then single tests."""
    from xdist.scheduler import LoadScopeScheduling

    class InGroups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return InGroups(config, log)
