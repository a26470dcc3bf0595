"""What do ten, a hundred and (with ``--full``) a thousand images cost beside credits, by each of our ways,
on several machines?
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.airflow.celery import start_celery_cluster
from tests.airflow.postgres import find_binaries
from tests.benchmarks.costs import Cost, Cpu, idle_cpu, measure_cost
from tests.benchmarks.report import Report

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

REQUESTS_PER_MINUTE = 60
CHAIN, WAIT, BATCH = "submission and sensor, mapped", "wait=True, mapped", "one batch, deferred"
FEW, FULL = (10, 100), (10, 100, 1000)
AS_USERS_HAVE_IT = {
    "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True",
    "AIRFLOW__SEEDREAM__POKE_INTERVAL": "",  # by the poll schedule: the tests' own Airflow polls every 4 s
}


@pytest.mark.skipif(
    not (find_binaries() and shutil.which("redis-server")),
    reason="needs Debian's postgresql and redis-server",
)
def test_a_batch_costs_one_task_instance_and_a_fraction_of_the_rows(
    report: Report, tmp_path: Path, full: bool
) -> None:
    found: dict[tuple[int, str], Cost] = {}
    with start_celery_cluster(tmp_path / "airflow", settings=AS_USERS_HAVE_IT) as cluster:
        for images in FULL if full else FEW:
            for name in (CHAIN, WAIT, BATCH):
                dag_id = f"costs{len(found)}"
                settings = Settings(
                    balance_credits=10 * images,
                    rate_limit_per_minute=REQUESTS_PER_MINUTE,
                    flat_images=True,
                    latency_seconds=(0, 0),
                )
                with Emulator(settings) as emulator:
                    extra = {
                        "destination": f"file://{tmp_path / dag_id}",
                        "requests_per_minute": REQUESTS_PER_MINUTE,
                    }
                    connection = {"host": emulator.url, "password": emulator.key, "extra": json.dumps(extra)}
                    cluster.add_connection(dag_id, conn_type="seedream", **connection)
                    found[images, name] = measure_cost(
                        cluster, emulator, tmp_path / dag_id, name, dag_id, images=images
                    )
        idle = idle_cpu(cluster)  # at the end: what has just started is not idle yet
    for (images, name), cost in found.items():
        _report(report, name, images, cost, idle, found[images, CHAIN])
    for images in {images for images, _ in found}:
        batch, chain = found[images, BATCH], found[images, CHAIN]
        assert (batch.posts, batch.task_instances) == (images, 1)
        assert (chain.posts, chain.task_instances) == (images, 2 * images)
        assert batch.rows < chain.rows / 5
        assert batch.slot_seconds < chain.slot_seconds


def _report(report: Report, name: str, images: int, cost: Cost, idle: Cpu, of_chain: Cost) -> None:
    cpu = cost.cpu_without(idle)
    report.add(
        f"What {images} images cost, CeleryExecutor, {REQUESTS_PER_MINUTE} requests a minute (ratio: slot "
        "seconds)",
        name,
        ratio=cost.slot_seconds / of_chain.slot_seconds,
        ours=True,
        **{
            "POSTs": str(cost.posts),
            "429s": str(cost.refused),
            "status calls": str(cost.status_calls),
            "task instances": str(cost.task_instances),
            "starts": str(cost.starts),
            "rows": str(cost.rows),
            "slot s": f"{cost.slot_seconds:.1f}",
            "CPU s of workers": f"{cpu.workers:.1f}",
            "of triggerers": f"{cpu.triggerers:.1f}",
            "run": f"{cost.seconds:.0f} s",
        },
    )
