"""A whole Airflow on this machine: database, API server, scheduler, triggerer, DAG processor, on 127.0.0.1 only.

Used by `make demo`, `make ui` and the scheduler tests; everything it starts ends with `stop`. Never imports Airflow.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from tools.processes import Child, free_port, wait_until

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
        port: int | None = None,
    ) -> None:
        self.home, self.dags, self.port = home, dags, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = database or f"sqlite:///{home}/airflow.db"
        self.env = _environment(self) | dict(settings or {})
        self.children: dict[str, Child] = {}
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
        self._migrate()
        self.spawn("api-server", ["api-server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"])
        for name, arguments in _COMPONENTS.items():
            self.spawn(name, arguments)
        self.wait("all components healthy", self._healthy, timeout_seconds=120)

    def stop(self) -> None:
        """End everything: the API server last, as running tasks report to it."""
        order = sorted(self.children.values(), key=lambda child: child.name == "api-server")
        first = [child for child in order if child.name != "api-server"]
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(Child.stop, first))
        for child in order[len(first) :]:
            child.stop(patience_seconds=5)
        self.children.clear()

    def spawn(self, name: str, arguments: list[str]) -> Child:
        """Start one `airflow` command under a name of its own."""
        command = [sys.executable, "-m", "airflow", *arguments]
        self.children[name] = Child(name, command, env=self.env, log=self.home / f"{name}.log", cwd=self.home)
        return self.children[name]

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """One call of Airflow's public REST API; `path` begins after /api/v2/."""
        self._token = self._token or self._login()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        return _call(method, f"{self.url}/api/v2/{path}", headers, body)

    def wait(self, what: str, condition: Any, *, timeout_seconds: float) -> Any:
        """Wait for a condition; gives up at once when a component has died, and shows the logs either way."""

        def check() -> Any:
            dead = [child.name for child in self.children.values() if not child.running]
            if dead:
                raise RuntimeError(f"{', '.join(dead)} ended while waiting for {what}\n{self.evidence()}")
            return condition()

        return wait_until(check, what=what, timeout_seconds=timeout_seconds, evidence=self.evidence)

    def evidence(self) -> str:
        """The end of every component's log."""
        return "\n".join(child.tail() for child in self.children.values())

    def _migrate(self) -> None:
        migration = self.spawn("migrate", ["db", "migrate"])
        wait_until(
            lambda: not migration.running, what="database ready", timeout_seconds=120, evidence=migration.tail
        )
        if migration._popen.returncode:
            raise RuntimeError(migration.tail())
        del self.children["migrate"]

    def _healthy(self) -> bool:
        try:
            health = _call("GET", f"{self.url}/api/v2/monitor/health", {}, None)
        except OSError:
            return False
        return all(health[name]["status"] == "healthy" for name in ("scheduler", "triggerer", "dag_processor"))

    def _login(self) -> str:
        return str(_call("GET", f"{self.url}/auth/token", {}, None)["access_token"])


def _call(method: str, url: str, headers: dict[str, str], body: Any) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from error
    return json.loads(text) if text else None


def _environment(airflow: LocalAirflow) -> dict[str, str]:
    """The environment of every component; nothing of the caller's own Airflow settings gets in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles Airflow again: 6 s instead of 3
    on_sqlite = airflow.database.startswith("sqlite")
    return inherited | {
        "AIRFLOW_HOME": str(airflow.home),
        "AIRFLOW__API__BASE_URL": airflow.url,
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(airflow.dags),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow.url}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4" if on_sqlite else "8",  # SQLite locks up on more
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow.database,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(airflow.home / "logs"),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONUNBUFFERED": "1",
    }
