"""A whole Airflow on this machine: database, API server, scheduler, triggerer, DAG processor, on 127.0.0.1
only.

Used by `make demo`, `make ui` and the scheduler tests; everything it starts ends with `stop`. Never imports
Airflow.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from tools.processes import Child, HeldPort, wait_until
from tools.task_logs import readable

T = TypeVar("T")
# The server may be slow where other work competes for the processors. What changes something is sent once.
_READ_ATTEMPTS = 4
_READ_SECONDS = 30
_WRITE_SECONDS = 120

_SIMPLE = "airflow.api_fastapi.auth.managers.simple"
# The log servers of scheduler and triggerer listen on all addresses, hence never started.
_COMPONENTS = {
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
}


class LocalAirflow:
    """Use as a context manager; `settings` are AIRFLOW__... variables that win over the defaults here."""

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        database: str | None = None,
        settings: Mapping[str, str] | None = None,
        port: HeldPort | None = None,
        say: Callable[[str], None] = lambda step: None,
    ) -> None:
        """:param say: is called with each step of the start, for a person who waits."""
        self._say = say
        # seconds pass before the API server binds it
        self.home, self.dags, self._held = home, dags, port or HeldPort()
        self.port = self._held.number
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = database or f"sqlite:///{home}/airflow.db"
        self.env = _environment(self) | dict(settings or {})
        self.children: dict[str, Child] = {}
        self.user, self.password = "admin", secrets.token_urlsafe(9)
        self._token = ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Make the database, start every component, and wait until the API answers and all are healthy."""
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        self.dags.mkdir(parents=True, exist_ok=True)
        (self.home / "passwords.json").write_text(json.dumps({self.user: self.password}))
        self._say("making the database")
        self._migrate()
        self._say("starting the API server, the scheduler, the triggerer and the DAG processor")
        self.spawn(
            "api-server", ["api-server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        )
        for name, arguments in _COMPONENTS.items():
            self.spawn(name, arguments)
        # The first call of the execution API builds it, seconds of work: better now than in the first task.
        self.wait("the execution API answers", lambda: self._answers("execution/health"), timeout_seconds=300)
        self._say("waiting until all of them are healthy")
        self.wait("all components healthy", self._healthy, timeout_seconds=300)

    def stop(self) -> None:
        """End everything. Nothing here outlives the run, so what does not end at once is killed."""
        children = list(self.children.values())
        with ThreadPoolExecutor(max_workers=max(1, len(children))) as pool:
            list(pool.map(lambda child: child.stop(patience_seconds=1), children))
        self.children.clear()
        self._held.release()

    def spawn(self, name: str, arguments: list[str]) -> Child:
        """Start one `airflow` command under a name of its own."""
        command = [sys.executable, "-m", "airflow", *arguments]
        self.children[name] = Child(name, command, env=self.env, log=self.home / f"{name}.log", cwd=self.home)
        return self.children[name]

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """One call of Airflow's public REST API; `path` begins after /api/v2/."""
        self._token = self._token or self._login()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        for _ in range(_READ_ATTEMPTS if method == "GET" else 1):
            with contextlib.suppress(TimeoutError):
                return _call(method, f"{self.url}/api/v2/{path}", headers, body)
        raise RuntimeError(f"{method} {path}: the API server does not answer\n{self.evidence()}")

    def add_connection(self, conn_id: str, **fields: Any) -> None:
        """As the user interface would: `conn_type`, `host`, `password`, `extra` (JSON text) ..."""
        self.api("POST", "connections", {"connection_id": conn_id, **fields})

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG has been parsed; an error in any DAG file is raised with its text."""
        for error in self.api("GET", "importErrors")["import_errors"]:
            raise RuntimeError(f"{error['filename']}\n{error['stack_trace']}")
        return any(dag["dag_id"] == dag_id for dag in self.api("GET", "dags?limit=100")["dags"])

    def trigger_dag(self, dag_id: str, *, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run by hand; its run_id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self.api("POST", f"dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def dag_run_ended(self, dag_id: str, run_id: str) -> str | None:
        """The state of a run that has ended, else None."""
        state = self.api("GET", f"dags/{dag_id}/dagRuns/{quote(run_id)}")["state"]
        return state if state in ("success", "failed") else None

    def task_states(self, dag_id: str, run_id: str, task_id: str) -> list[str | None]:
        """The states of a task's instances in a run; None for one that has not been scheduled yet."""
        instances = self.api("GET", f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances")["task_instances"]
        return [one["state"] for one in instances if one["task_id"] == task_id]

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, map_index: int = -1
    ) -> Any:
        """One XCom as the API shows it to readers."""
        path = f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api("GET", f"{path}?deserialize=false&stringify=false&map_index={map_index}")["value"]

    def task_logs(self, *names: str) -> str:
        """The task logs whose path has all these names in it, one after the other."""
        files = [path for path in self._task_log_files() if all(name in str(path) for name in names)]
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')}" for path in files)

    def wait(self, what: str, condition: Callable[[], T], *, timeout_seconds: float) -> T:
        """The first truthy answer; gives up at once when a component has died, and shows the logs either
        way.
        """

        def checked() -> T:
            self.check()
            return condition()

        return wait_until(checked, what=what, timeout_seconds=timeout_seconds, evidence=self.evidence)

    def check(self) -> None:
        """Raise when a component has died."""
        dead = [child.name for child in self.children.values() if not child.running]
        if dead:
            raise RuntimeError(f"{', '.join(dead)} ended\n{self.evidence()}")

    def evidence(self) -> str:
        """What helps to find out why: the task logs, and the end of the log of every component."""
        components = (child.tail(8 if child.running else 60) for child in self.children.values())
        return "\n".join([readable(self._task_log_files()), *components])

    def _task_log_files(self) -> list[Path]:
        return sorted(self.home.glob("logs/dag_id=*/**/*.log"))

    def _migrate(self) -> None:
        migration = self.spawn("migrate", ["db", "migrate"])
        wait_until(
            lambda: not migration.running, what="database ready", timeout_seconds=300, evidence=migration.tail
        )
        if migration.exit_code:
            raise RuntimeError(migration.tail())
        del self.children["migrate"]

    def _healthy(self) -> bool:
        health = self._answers("api/v2/monitor/health")
        return health is not None and all(
            health[name]["status"] == "healthy" for name in ("scheduler", "triggerer", "dag_processor")
        )

    def _answers(self, path: str) -> Any:
        """What a page says, or None while it says nothing."""
        try:
            return _call("GET", f"{self.url}/{path}", {}, None)
        except OSError:
            return None

    def _login(self) -> str:
        body = {"username": self.user, "password": self.password}
        headers = {"Content-Type": "application/json"}
        return str(_call("POST", f"{self.url}/auth/token", headers, body)["access_token"])


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names


def _call(method: str, url: str, headers: dict[str, str], body: Any) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - our own server
    try:
        with _DIRECT.open(request, timeout=_READ_SECONDS if method == "GET" else _WRITE_SECONDS) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from error
    return json.loads(text) if text else None


def _environment(airflow: LocalAirflow) -> dict[str, str]:
    """The environment of every component; nothing of the caller's own Airflow settings gets in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    # else every process compiles Airflow again: 6 s instead of 3
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    no_proxy = ",".join(
        filter(None, [os.environ.get("no_proxy", os.environ.get("NO_PROXY")), "127.0.0.1", "localhost"])
    )
    on_sqlite = airflow.database.startswith("sqlite")
    return inherited | {
        "AIRFLOW_HOME": str(airflow.home),
        "AIRFLOW__API__BASE_URL": airflow.url,
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__CORE__AUTH_MANAGER": f"{_SIMPLE}.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(airflow.dags),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow.url}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4" if on_sqlite else "8",  # SQLite locks up on more
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(airflow.home / "passwords.json"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow.database,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(airflow.home / "logs"),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        # the emulator is faster than the API, and nobody waits for a demo
        "AIRFLOW__SEEDREAM__POKE_INTERVAL": "4",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        # seconds; a busy machine is no reason to fail a task
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # the end of a task is noticed that late
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_PROXY": no_proxy,
        "PYTHONUNBUFFERED": "1",
        "no_proxy": no_proxy,
    }
