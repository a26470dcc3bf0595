"""What images cost beside credits: calls, starts of tasks, rows that stay in Airflow's database, worker
slots, CPU.

Counted at the server, in Airflow's tables and audit log, and in /proc. What the same Airflow takes while it
idles is measured too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from airflow_provider_seedream.emulator import Emulator
from tests.airflow.celery import CeleryCluster
from tests.airflow.cluster import ENDED, Run
from tests.benchmarks.overhead_dags import DAGS, HEAD

IDLE_SECONDS = 30.0
GIVE_UP_SECONDS = 3600.0
_LEAVES_ITS_SLOT = (*ENDED, "deferred", "up_for_retry", "up_for_reschedule")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Seconds, or seconds a second, of everything that a kind of component and its ended children took."""

    workers: float
    triggerers: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one DAG run."""

    posts: int
    refused: int
    status_calls: int
    task_instances: int
    starts: int
    rows: int
    slot_seconds: float
    seconds: float
    cpu: Cpu

    def cpu_without(self, idle: Cpu) -> Cpu:
        """What it took beyond what nothing takes."""
        return Cpu(
            workers=self.cpu.workers - idle.workers * self.seconds,
            triggerers=self.cpu.triggerers - idle.triggerers * self.seconds,
        )


def idle_cpu(cluster: CeleryCluster) -> Cpu:
    """What nothing costs, a second."""
    before, began = _cpu(cluster), time.monotonic()
    time.sleep(IDLE_SECONDS)
    after, seconds = _cpu(cluster), time.monotonic() - began
    return Cpu(
        workers=(after.workers - before.workers) / seconds,
        triggerers=(after.triggerers - before.triggerers) / seconds,
    )


def measure_cost(
    cluster: CeleryCluster, emulator: Emulator, folder: Path, name: str, dag_id: str, *, images: int
) -> Cost:
    """Run one DAG of ``overhead_dags`` over so many prompts; `dag_id` names its connection as well."""
    prompts = [f"{dag_id} {number}" for number in range(images)]
    head = HEAD.format(prompts=prompts, url=emulator.url, key=emulator.key, folder=str(folder), dag_id=dag_id)
    cluster.add_dag(dag_id, head + DAGS[name], timeout_seconds=180)
    rows, cpu, began = _settled_rows(cluster), _cpu(cluster), time.monotonic()
    run = cluster.trigger(dag_id)
    cluster.wait(f"{dag_id} ended", lambda: run.state in ENDED, timeout_seconds=GIVE_UP_SECONDS)
    if run.state != "success":
        raise RuntimeError(f"{dag_id} is {run.state}: {run.logs()[-6000:]}")
    rows_after, cpu_after, seconds = _settled_rows(cluster), _cpu(cluster), time.monotonic() - began
    starts, slot_seconds = _starts(cluster, run)
    return Cost(
        posts=emulator.books.posts,
        refused=emulator.books.posts_received - emulator.books.posts,
        status_calls=sum(request.area == "status" for request in emulator.books.requests),
        task_instances=len(run.tasks()),
        starts=starts,
        rows=sum(rows_after.values()) - sum(rows.values()),
        slot_seconds=slot_seconds,
        seconds=seconds,
        cpu=Cpu(workers=cpu_after.workers - cpu.workers, triggerers=cpu_after.triggerers - cpu.triggerers),
    )


def _starts(cluster: CeleryCluster, run: Run) -> tuple[int, float]:
    """How often a task began to run, and for how many seconds all of them did, by the audit log."""
    statement = (
        "select dttm, event, task_id, map_index from log where dag_id = :dag_id and run_id = :run_id order "
        "by id"
    )
    starts, seconds = 0, 0.0
    since: dict[tuple[str, int], datetime] = {}
    for row in cluster.sql(statement, dag_id=run.dag_id, run_id=run.run_id):
        who = row["task_id"], row["map_index"]
        if row["event"] == "running":
            starts, since[who] = starts + 1, row["dttm"]
        elif row["event"] in _LEAVES_ITS_SLOT and who in since:
            seconds += (row["dttm"] - since.pop(who)).total_seconds()
    if since:
        raise RuntimeError(f"the audit log does not say when these ended: {list(since)}")
    return starts, seconds


def _settled_rows(cluster: CeleryCluster) -> Mapping[str, int]:
    """The rows of each table, when nothing is written any more."""
    counts = [_rows(cluster)]

    def settled() -> bool:
        time.sleep(1.0)
        counts.append(_rows(cluster))
        return counts[-1] == counts[-2]

    cluster.wait("no more rows", settled, timeout_seconds=120)
    return counts[-1]


def _rows(cluster: CeleryCluster) -> dict[str, int]:
    return {
        table: cluster.sql(f'select count(*) as number from "{table}"')[0]["number"]
        for table in cluster.tables()
    }


def _cpu(cluster: CeleryCluster) -> Cpu:
    return Cpu(
        workers=sum(_seconds(cluster, name) for name in cluster.workers()),
        triggerers=sum(_seconds(cluster, name) for name in cluster.triggerers()),
    )


def _seconds(cluster: CeleryCluster, name: str) -> float:
    """Of every living process of a component and of those it has waited for."""
    total = 0.0
    for pid in cluster.children[name].members():
        spent = psutil.Process(pid).cpu_times()
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total
