"""A real Airflow for tests: scheduler, LocalExecutor, triggerers, on PostgreSQL (SQLite where there is none).

One for the whole test session, as booting takes about 20 s; each test brings DAGs and connections of its own.

    def test_a_killed_worker_does_not_pay_twice(cluster, emulator):
        cluster.add_connection("s1", conn_type="seedream", host=emulator.url, password=emulator.key)
        cluster.add_dag("killed", source)                       # waits until Airflow has parsed it
        run = cluster.trigger("killed", conf={...})
        task = run.wait_for_task("submit", state="running")     # .state .try_number .id .pid .max_tries ...
        run.kill_worker("submit")                               # SIGKILL of the task's own process
        run.wait(state="success", timeout_seconds=60)           # any ended state wakes it; another one is an error
        run.xcom("land")["images"]; run.rendered("submit"); run.logs(); run.task("land", map_index=3)
    run.clear("submit"); run.mark("land", "failed"); run.tasks("submit")
    cluster.triggers(); cluster.sql("select count(*) from xcom"); cluster.wipe("xcom", "task_state_store")
    cluster.start_triggerer("second"); cluster.kill_triggerer("triggerer"); cluster.restore()
    cluster.wait("both polled", lambda: emulator.books.polls > 2, timeout_seconds=30)
    with start_cluster(home, settings=AS_SHIPPED | {...}):      # another one, e.g. with Airflow's own heartbeat
    cluster.find("canary-key")                                  # every place the text occurs: logs, database
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import create_engine, inspect, text

from tests.airflow.postgres import find_binaries, postgres
from tools.local_airflow import LocalAirflow

ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")

# Airflow notices the end of a task's process up to this long after it; until then the task is not known to
# have deferred. Where a race with triggers is what a test is about, run with this, as users do.
AS_SHIPPED = {"AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5"}

# Tests wait for what Airflow notices; its defaults are for servers that run for months.
IMPATIENT = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task instance as the database has it now."""

    id: str
    task_id: str
    map_index: int
    state: str | None
    try_number: int
    max_tries: int
    pid: int | None
    trigger_id: int | None


class Cluster(LocalAirflow):
    """LocalAirflow with what tests ask for."""

    def __init__(
        self, home: Path, *, database: str | None, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(
            home, dags=home / "dags", database=database, settings={**IMPATIENT, **(settings or {})}
        )
        self._engine = create_engine(self.database)

    def sql(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        """Run one statement in a transaction of its own; rows as dicts."""
        with self._engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []

    def tables(self) -> list[str]:
        return inspect(self._engine).get_table_names()

    def wipe(self, *tables: str) -> None:
        for table in tables:
            self.sql(f"delete from {table}")

    def triggers(self) -> list[dict[str, Any]]:
        """The rows triggerers work from: id, classpath, kwargs as JSON text (encrypted if so stored),
        triggerer_id.
        """
        return self.sql("select * from trigger order by id")

    def add_dag(self, dag_id: str, source: str, *, timeout_seconds: float = 240) -> None:
        """Write a DAG file and wait until Airflow knows the DAG; an import error is raised with its text."""
        (self.dags / f"{dag_id}.py").write_text(source)

        def known() -> bool:
            for error in self.sql("select filename, stacktrace from import_error"):
                if f"{dag_id}.py" in error["filename"]:
                    raise RuntimeError(error["stacktrace"])
            return bool(self.sql("select 1 from serialized_dag where dag_id = :dag_id", dag_id=dag_id))

        self.wait(f"DAG {dag_id} parsed", known, timeout_seconds=timeout_seconds)

    def trigger(self, dag_id: str, *, conf: Mapping[str, Any] | None = None) -> Run:
        return Run(self, dag_id, self.trigger_dag(dag_id, conf=conf))

    def end_runs(self) -> None:
        """Mark what still runs as failed, so that it does not disturb the next test."""
        for row in self.sql("select dag_id, run_id from dag_run where state in ('running', 'queued')"):
            self.api("PATCH", f"dags/{row['dag_id']}/dagRuns/{quote(row['run_id'])}", {"state": "failed"})

    def start_triggerer(self, name: str) -> None:
        """Another triggerer; ready when its first heartbeat is in the database."""
        child = self.spawn(name, ["triggerer", "--skip-serve-logs"])
        statement = "select 1 from job where job_type = 'TriggererJob' and state = 'running' and id > :newest"
        newest = self.sql("select coalesce(max(id), 0) as id from job")[0]["id"]
        self.wait(f"{child.name} runs", lambda: self.sql(statement, newest=newest), timeout_seconds=240)

    def kill_triggerer(self, name: str = "triggerer", how: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL: every process of it dies at once. SIGTERM: it is asked, and given 15 s."""
        child = self.children.pop(name)
        if how == signal.SIGKILL:
            child.kill()
        child.stop()

    def restore(self) -> None:
        """Back to one triggerer, whatever a test has killed or added."""
        for name in [name for name in self.children if name.startswith("triggerer-")]:
            self.kill_triggerer(name)
        if "triggerer" not in self.children:
            self.start_triggerer("triggerer")

    def log_files(self) -> list[Path]:
        """Every log there is: task logs, triggerer and DAG processor logs, what the components printed."""
        return sorted(path for path in self.home.rglob("*.log") if path.is_file())

    def find(self, needle: str) -> list[str]:
        """Where a text occurs: log files, and columns of any database table but `connection`."""
        places = [str(path) for path in self.log_files() if needle in path.read_text(errors="replace")]
        for table in self.tables():
            if table != "connection":
                rows = self.sql(f'select * from "{table}"')
                places += sorted(
                    {f"{table}.{name}" for row in rows for name, cell in row.items() if needle in _str(cell)}
                )
        return places


@contextmanager
def start_cluster(home: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster of one's own, for tests that need other settings than the shared one has."""
    with ExitStack() as stack:
        binaries = find_binaries()
        database = stack.enter_context(postgres(binaries)) if binaries else None
        yield stack.enter_context(Cluster(home, database=database, settings=settings))


class Run:
    """One DAG run and its task instances."""

    def __init__(self, cluster: Cluster, dag_id: str, run_id: str) -> None:
        self.cluster, self.dag_id, self.run_id = cluster, dag_id, run_id

    @property
    def state(self) -> str:
        return str(self._rows("dag_run", "state")[0]["state"])

    def wait(self, *, state: str = "success", timeout_seconds: float = 600) -> None:
        """Wait until the run has ended; ending otherwise than expected is an error that shows the task
        logs.
        """
        ended = self.cluster.wait(
            f"{self.dag_id} ended",
            lambda: self.cluster.dag_run_ended(self.dag_id, self.run_id),
            timeout_seconds=timeout_seconds,
        )
        if ended != state:
            raise AssertionError(
                f"{self.dag_id} is {ended}, not {state}: {self.tasks()}\n{self.logs()[-6000:]}"
            )

    def tasks(self, task_id: str | None = None) -> list[TaskRow]:
        columns = (
            "cast(id as varchar) as id, task_id, map_index, state, try_number, max_tries, pid, trigger_id"
        )
        rows = [TaskRow(**row) for row in self._rows("task_instance", columns)]
        return sorted(
            (r for r in rows if task_id in (None, r.task_id)), key=lambda r: (r.task_id, r.map_index)
        )

    def task(self, task_id: str, *, map_index: int = -1) -> TaskRow:
        return next(row for row in self.tasks(task_id) if row.map_index == map_index)

    def wait_for_task(
        self, task_id: str, *, state: str, map_index: int = -1, timeout_seconds: float = 240
    ) -> TaskRow:
        """Wait until the task instance is in that state; any ended state other than it is an error."""

        def reached() -> TaskRow | None:
            row = next((row for row in self.tasks(task_id) if row.map_index == map_index), None)
            if row is not None and row.state in ENDED and row.state != state:
                raise AssertionError(f"{task_id} is {row.state}, not {state}\n{self.logs()[-6000:]}")
            return row if row is not None and row.state == state else None

        found = self.cluster.wait(f"{task_id} {state}", reached, timeout_seconds=timeout_seconds)
        assert found is not None
        return found

    def kill_worker(self, task_id: str, *, map_index: int = -1, how: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to the process that runs the task now; its pid."""
        row = self.task(task_id, map_index=map_index)
        if row.state != "running" or row.pid is None:
            raise RuntimeError(f"{task_id} has no process: {row}")
        os.kill(row.pid, how)
        return row.pid

    def clear(self, *task_ids: str) -> None:
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": list(task_ids), "only_failed": False}
        self.cluster.api("POST", f"dags/{self.dag_id}/clearTaskInstances", body)

    def mark(self, task_id: str, state: str, *, map_index: int = -1) -> None:
        """What the buttons "mark success" and "mark failed" do."""
        one = task_id if map_index < 0 else f"{task_id}/{map_index}"
        path = f"dags/{self.dag_id}/dagRuns/{quote(self.run_id)}/taskInstances/{one}"
        self.cluster.api("PATCH", path, {"new_state": state})

    def xcom(self, task_id: str, key: str = "return_value", *, map_index: int = -1) -> Any:
        """One XCom as the API shows it to readers."""
        return self.cluster.xcom(self.dag_id, self.run_id, task_id, key, map_index=map_index)

    def rendered(self, task_id: str, *, map_index: int = -1) -> dict[str, Any]:
        one = task_id if map_index < 0 else f"{task_id}/{map_index}"
        path = f"dags/{self.dag_id}/dagRuns/{quote(self.run_id)}/taskInstances/{one}"
        return dict(self.cluster.api("GET", path)["rendered_fields"])

    def logs(self) -> str:
        """The task logs of this run, one after the other."""
        return self.cluster.task_logs(f"dag_id={self.dag_id}/", f"run_id={self.run_id}/")

    def _rows(self, table: str, columns: str) -> list[dict[str, Any]]:
        statement = f"select {columns} from {table} where dag_id = :dag_id and run_id = :run_id"
        return self.cluster.sql(statement, dag_id=self.dag_id, run_id=self.run_id)


def _str(cell: Any) -> str:
    return bytes(cell).decode(errors="replace") if isinstance(cell, bytes | memoryview) else str(cell)
