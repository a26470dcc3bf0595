"""What do the operators and the sensor add to parsing a DAG, and what does a task's process load when it
opens its storage?
"""

from __future__ import annotations

import pytest

from tests.benchmarks.imports import measure_code, measure_imports
from tests.benchmarks.report import Report

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

OURS = "our operators and sensor"
GROUPS: dict[str, tuple[str, ...]] = {
    OURS: ("airflow_provider_seedream.operators.seedream", "airflow_provider_seedream.sensors.seedream"),
    "and the batch operator": (
        "airflow_provider_seedream.operators.seedream",
        "airflow_provider_seedream.sensors.seedream",
        "airflow_provider_seedream.operators.batch",
    ),
    "our decorators": ("airflow_provider_seedream.decorators.seedream",),
    "our plugin, once in each component": ("airflow_provider_seedream.plugins.seedream",),
    "standard: BashOperator": ("airflow.providers.standard.operators.bash",),
    "http: HttpOperator": ("airflow.providers.http.operators.http",),
    "amazon: S3 operators": ("airflow.providers.amazon.aws.operators.s3",),
    "requests and tenacity alone": ("requests", "tenacity"),
    "aiohttp alone": ("aiohttp",),
}
AIRFLOWS = ", Airflow's own"
COLLECTOR = "airflow.providers.common.compat.lineage.hook"
OPENED = {
    "a path on a disk": "from airflow_provider_seedream.storage.airflow_paths import airflow_path; "
    "airflow_path('file:///tmp').fs",
    "a path on a disk, Airflow's own": "ObjectStoragePath('file:///tmp').fs",
    "lineage without a reader": "from airflow_provider_seedream.observability.lineage import report; "
    "report(None, writes=['/a'])",
    "lineage without a reader, Airflow's own": f"import {COLLECTOR} as compat; "
    "compat.get_hook_lineage_collector()",
}
OUR_GROUPS = list(GROUPS)[:4]


def test_importing_the_operators_costs_less_than_any_http_client(report: Report) -> None:
    found = measure_imports(GROUPS, rounds=3)
    for name, cost in found.items():
        values = {"CPU": f"{cost.cpu_seconds * 1000:.0f} ms", "modules": str(cost.modules)}
        ratio = cost.cpu_seconds / found[OURS].cpu_seconds
        report.add(
            "Imported with every DAG, beyond airflow.sdk (ratio: CPU)",
            name,
            ratio=ratio,
            ours=name in OUR_GROUPS,
            **values,
        )
    assert found[OURS].cpu_seconds < found["requests and tenacity alone"].cpu_seconds
    assert found[OURS].modules < found["requests and tenacity alone"].modules


def test_a_task_loads_less_than_half_of_what_airflow_would_for_its_storage_and_its_lineage(
    report: Report,
) -> None:
    found = measure_code(OPENED, rounds=3)
    for name, cost in found.items():
        values = {"CPU": f"{cost.cpu_seconds * 1000:.0f} ms", "modules": str(cost.modules)}
        theirs = found[f"{name.removesuffix(AIRFLOWS)}{AIRFLOWS}"]
        ratio = cost.cpu_seconds / theirs.cpu_seconds
        report.add(
            "Loaded by a task's process (ratio: CPU)", name, ratio=ratio, ours=cost is not theirs, **values
        )
        assert cost is theirs or (ratio < 0.5 and cost.modules < 0.5 * theirs.modules)
