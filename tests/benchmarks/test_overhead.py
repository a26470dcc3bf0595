"""How long does a ready image wait, and what does it hold meanwhile? In a real Airflow, beside what one
would write instead.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.airflow.cluster import start_cluster
from tests.benchmarks.overhead import (
    LATE_SECONDS,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    Overhead,
    measure_overhead,
)
from tests.benchmarks.overhead_dags import DAGS
from tests.benchmarks.report import Report

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1200)]

IMAGES = 12
OUR_WAYS = list(DAGS)[:4]
OURS = OUR_WAYS[0]
# by the poll schedule: the tests' own Airflow polls every 4 s
AS_USERS_HAVE_IT = {"AIRFLOW__SEEDREAM__POKE_INTERVAL": ""}


def test_a_batch_holds_fewer_slots_than_a_polling_loop(report: Report, tmp_path: Path) -> None:
    settings = Settings.fast(
        flat_images=True, late_assets_seconds=(LATE_SECONDS, LATE_SECONDS), link_names="plain"
    )
    with (
        Emulator(settings) as emulator,
        start_cluster(tmp_path / "airflow", settings=AS_USERS_HAVE_IT) as cluster,
    ):
        found: dict[str, Overhead] = {}
        for number, name in enumerate(DAGS):
            dag_id, folder = f"overhead{number}", tmp_path / f"images{number}"
            extra = json.dumps({"destination": f"file://{folder}", "requests_per_minute": 100_000})
            cluster.add_connection(
                dag_id, conn_type="seedream", host=emulator.url, password=emulator.key, extra=extra
            )
            host, port = emulator.url.removeprefix("http://").split(":")
            cluster.add_connection(f"http_{dag_id}", conn_type="http", host=host, port=int(port))
            found[name] = measure_overhead(cluster, emulator, folder, name, dag_id, images=IMAGES)
            _report(report, name, found)
    assert found["one batch"].all_slot_seconds < found["@task with a polling loop, mapped"].all_slot_seconds


def _report(report: Report, name: str, found: dict[str, Overhead]) -> None:
    overhead, takes = found[name], f"{SHORTEST_SECONDS} to {LONGEST_SECONDS} s"
    report.add(
        f"From ready to landed, {IMAGES} images, jobs of {takes} (ratio: slot seconds of the run)",
        name,
        ratio=overhead.all_slot_seconds / found[OURS].all_slot_seconds,
        ours=name in OUR_WAYS,
        **{
            "delay": f"{overhead.delay_seconds:.1f} s",
            "longest": f"{overhead.longest_seconds:.1f} s",
            "slot s/image then": f"{overhead.slot_seconds:.2f}",
            "slot s/image in all": f"{overhead.all_slot_seconds:.2f}",
            "polls/image": f"{overhead.status_calls:.1f}",
        },
    )
