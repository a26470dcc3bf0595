"""The tests' Airflow as on several machines: CeleryExecutor over a Redis of its own, two workers, two triggerers.

    with start_celery_cluster(home) as cluster:         # everything of Cluster, and:
        cluster.tasks_of("worker-1", run)               # what it runs now
        with cluster.frozen("worker-1"): ...            # to look before one kills
        cluster.kill_worker("worker-1")                 # SIGKILL of it and of every task it runs, as a lost machine
        cluster.start_worker("worker-3")
        cluster.restore()                               # two workers and two triggerers again

Never imports Celery: what runs there is the business of `airflow celery worker`.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.airflow.cluster import Cluster, Run, TaskRow
from tests.airflow.postgres import find_binaries, postgres
from tools.processes import Child, HeldPort, is_free, wait_until

WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer", "triggerer-2")
TASKS_PER_WORKER = 4


class CeleryCluster(Cluster):
    """Whatever is killed here takes nothing else with it."""

    def start(self) -> None:
        super().start()
        self.restore()

    def start_worker(self, name: str) -> None:
        """Another worker. There is no waiting for it: tasks wait in Redis."""
        self.spawn(name, _worker_arguments(name))

    def kill_worker(self, name: str) -> None:
        worker = self.children.pop(name)
        worker.kill()
        worker.stop()

    def workers(self) -> list[str]:
        return [name for name in self.children if name.startswith("worker-")]

    def tasks_of(self, name: str, run: Run) -> list[TaskRow]:
        """The tasks of a run whose processes are this worker's."""
        members = self.children[name].members()
        return [row for row in run.tasks() if row.state == "running" and row.pid in members]

    def triggerers(self) -> dict[str, int]:
        """The ids by which the database knows the living triggerers; each was started after those before
        it.
        """
        names = [name for name in self.children if name.startswith("triggerer")]
        newest = "select id from job where job_type = 'TriggererJob' order by id desc limit :number"
        return dict(zip(names, sorted(row["id"] for row in self.sql(newest, number=len(names))), strict=True))

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Stops every process of a component meanwhile, so that one can look before one kills."""
        child = self.children[name]
        child.kill(signal.SIGSTOP)
        child.kill(signal.SIGSTOP)  # those that were forked while the first round was under way
        try:
            yield
        finally:
            child.kill(signal.SIGCONT)

    def restore(self) -> None:
        """Back to two workers and two triggerers, whatever a test has killed or added."""
        for name in set(self.workers()) - set(WORKERS):
            self.kill_worker(name)
        for name in WORKERS:
            if name not in self.children:
                self.start_worker(name)
        for name in TRIGGERERS:
            if name not in self.children:
                self.start_triggerer(name)


@contextmanager
def start_celery_cluster(home: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[CeleryCluster]:
    """:param settings: AIRFLOW__... variables that win over all others."""
    binaries = find_binaries()
    if binaries is None:
        raise RuntimeError("CeleryExecutor needs PostgreSQL: apt install postgresql")
    with postgres(binaries) as database, redis() as broker:
        with CeleryCluster(
            home, database=database, settings=_settings(database, broker) | dict(settings or {})
        ) as cluster:
            yield cluster


@contextmanager
def redis() -> Iterator[str]:
    """A Redis server that keeps nothing: 127.0.0.1, a free port, a temporary folder; gives its address."""
    if not (binary := shutil.which("redis-server")):
        raise RuntimeError("CeleryExecutor needs Redis: apt install redis-server")
    folder, held = Path(tempfile.mkdtemp(prefix="seedream-redis-")), HeldPort()
    command = [
        binary,
        "--bind",
        "127.0.0.1",
        "--port",
        str(held.number),
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    ]
    server = Child("redis", command, env={"LC_ALL": "C.UTF-8"}, log=folder / "server.log", cwd=folder)
    try:
        wait_until(
            lambda: not is_free(held.number), what="Redis ready", timeout_seconds=120, evidence=server.tail
        )
        yield f"redis://127.0.0.1:{held.number}/0"
    finally:
        server.stop()
        held.release()
        shutil.rmtree(folder, ignore_errors=True)


def _settings(database: str, broker: str) -> dict[str, str]:
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(len(WORKERS) * TASKS_PER_WORKER),  # more would only wait in Redis
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
        "AIRFLOW__DAG_PROCESSOR__STALE_BUNDLE_CLEANUP_INTERVAL": "0",  # one process less for each worker
        # Tasks that a lost worker had taken and not begun are sent again after this long, which is also how
        # long a task may wait in Redis before its token is no longer taken. also what a worker may take to
        # start, beside the suite
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "2",
    }


def _worker_arguments(name: str) -> list[str]:
    # Its log server would listen on all addresses.
    alone = ["--skip-serve-logs", "--without-mingle", "--without-gossip"]
    return ["celery", "worker", "--celery-hostname", name, "--concurrency", str(TASKS_PER_WORKER), *alone]
