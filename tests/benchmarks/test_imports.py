"""What do the operators and the sensor add to parsing a DAG?"""

from __future__ import annotations

import pytest

from tests.benchmarks.imports import measure_imports
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
OUR_GROUPS = list(GROUPS)[:4]


def test_importing_the_operators_costs_less_than_any_http_client(report: Report) -> None:
    found = measure_imports(GROUPS, rounds=3)
    for name, cost in found.items():
        values = {"CPU": f"{cost.cpu_seconds * 1000:.0f} ms", "modules": str(cost.modules)}
        ratio = cost.cpu_seconds / found[OURS].cpu_seconds
        report.add("Imported with every DAG, beyond airflow.sdk (ratio: CPU)", name, ratio=ratio, ours=name in OUR_GROUPS, **values)
    assert found[OURS].cpu_seconds < found["requests and tenacity alone"].cpu_seconds
    assert found[OURS].modules < found["requests and tenacity alone"].modules
