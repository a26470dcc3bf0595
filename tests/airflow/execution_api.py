"""Airflow's execution API in memory: what the task runner tells and asks the server, kept as plain JSON.

Serves the routes a task needs over `httpx.MockTransport` and behaves as the server does (which XComs a try
clears, when a try may be repeated, what a deferral stores). Never imports the provider.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from airflow.sdk.api.datamodels._generated import DagRun

from tests.airflow.http_library import httpx

XComKey = tuple[str, str, str, int, str]  # dag, run, task, map index, key


RUN_AFTER = "2026-03-02T06:30:00+00:00"  # of a run without a logical date


@dataclass(slots=True, kw_only=True)
class Instance:
    """One task instance as the database would hold it; `id` changes with every try, as in Airflow."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    max_tries: int
    id: UUID = field(default_factory=uuid4)
    try_number: int = 0
    state: str | None = None
    next_method: str | None = None
    next_kwargs: dict[str, Any] | None = None
    report: dict[str, Any] = field(default_factory=dict)  # the last state the task runner sent
    rendered_fields: dict[str, Any] = field(default_factory=dict)
    reschedules: int = 0
    first_start: str | None = None
    question: dict[str, Any] | None = None  # what it asks a person
    loop_index: int | None = None  # the round, from Airflow 3.4 on
    loop_end: str = ""  # the task whose result is that of a round

    def begin(self) -> None:
        """What the scheduler does when it queues the task: only a fresh start counts as a try."""
        if self.next_method is None and self.state != "up_for_reschedule":
            self.try_number += 1
            self.reschedules, self.first_start = 0, None
        self.state, self.report = "running", {}

    def new_try(self) -> None:
        """What the server does on a retry and on a clear: a new id, nothing left of the deferral."""
        self.id, self.next_method, self.next_kwargs = uuid4(), None, None

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.dag_id, self.run_id, self.task_id, self.map_index


@dataclass(slots=True, kw_only=True)
class Fault:
    """The next `times` XCom pushes of `key` (any key if None) are answered with HTTP 500."""

    key: str | None
    times: int


class ExecutionAPI:
    """The server side; `transport` plugs it into Airflow's own client."""

    def __init__(self, *, logical_date: datetime | None, conf: dict[str, Any], run_id: str) -> None:
        self.instances: dict[tuple[str, str, str, int], Instance] = {}
        self.xcoms: dict[XComKey, Any] = {}
        self.task_store: dict[tuple[tuple[str, str, str, int], str], Any] = {}
        self.faults: list[Fault] = []
        self.assets: dict[str, str] = {}  # the URIs of those that other DAGs define, by name
        self.logical_date, self.conf, self.run_id = logical_date, conf, run_id
        self.transport = httpx.MockTransport(self._serve)

    def xcoms_of(self, key: tuple[str, str, str, int]) -> dict[str, Any]:
        dag_id, run_id, task_id, map_index = key
        return {k[4]: v for k, v in self.xcoms.items() if k[:4] == (dag_id, run_id, task_id, map_index)}

    def values(self, dag_id: str, run_id: str, task_id: str, key: str) -> list[Any]:
        """The values of one XCom key of all instances of a mapped task, in the order of the map indexes."""
        found = [(k[3], v) for k, v in self.xcoms.items() if (*k[:3], k[4]) == (dag_id, run_id, task_id, key)]
        return [value for _, value in sorted(found, key=lambda pair: pair[0])]

    def _serve(self, request: httpx.Request) -> httpx.Response:
        for method, pattern, handler in _ROUTES:
            match = re.fullmatch(pattern, request.url.path.lstrip("/"))
            if match and request.method == method:
                answer = handler(self, request, *match.groups())
                return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)
        return httpx.Response(404, json={"detail": {"reason": "not_found", "message": str(request.url)}})

    def _by_id(self, ti_id: str) -> Instance:
        return next(one for one in self.instances.values() if str(one.id) == ti_id)

    def _run(self, request: httpx.Request, ti_id: str) -> dict[str, Any]:
        instance = self._by_id(ti_id)
        instance.first_start = instance.first_start or _now()
        resumed = instance.next_method is not None
        context = {
            "dag_run": self._dag_run(instance.dag_id),
            "max_tries": instance.max_tries,
            "should_retry": instance.max_tries != 0 and instance.try_number <= instance.max_tries,
            "task_reschedule_count": instance.reschedules,
            "xcom_keys_to_clear": [] if resumed else list(self.xcoms_of(instance.key)),
        }
        if instance.loop_index is not None:
            ends = {"terminal_task_id": instance.loop_end, "terminal_is_mapped": False}
            context["loop"] = {"node_id": "rounds", "index": instance.loop_index, "max_iterations": 9, **ends}
        if resumed:
            context |= {"next_method": instance.next_method, "next_kwargs": instance.next_kwargs}
        return context

    def _dag_run(self, dag_id: str) -> dict[str, Any]:
        # None: as REST, an asset or a person may start a run
        date = self.logical_date and self.logical_date.isoformat()
        known = DagRun.model_fields  # they differ between versions, and unknown ones are refused
        run: dict[str, Any] = {
            "dag_id": dag_id,
            "run_id": self.run_id,
            "logical_date": date,
            "data_interval_start": date,
            "data_interval_end": date,
            "run_after": date or RUN_AFTER,
            "start_date": date or RUN_AFTER,
            "end_date": None,
            "partition_key": None,
            "run_type": "manual",
            "state": "running",
            "conf": self.conf,
            "consumed_asset_events": [],
        }
        return {name: value for name, value in run.items() if name in known}

    def _state(self, request: httpx.Request, ti_id: str) -> dict[str, Any]:
        instance = self._by_id(ti_id)
        instance.report = json.loads(request.content)
        instance.state = instance.report["state"]
        instance.next_method = instance.next_kwargs = None
        if instance.state in ("deferred", "awaiting_input"):
            instance.next_method = instance.report["next_method"]
            instance.next_kwargs = instance.report.get("next_kwargs") or {}
        if instance.state == "up_for_reschedule":
            instance.reschedules += 1
        return {}

    def _ask(self, request: httpx.Request, ti_id: str) -> dict[str, Any]:
        question = self._by_id(ti_id).question = json.loads(request.content)
        return question

    def _rendered(self, request: httpx.Request, ti_id: str) -> dict[str, Any]:
        self._by_id(ti_id).rendered_fields = json.loads(request.content)
        return {}

    def _xcom_set(self, request: httpx.Request, *path: str) -> dict[str, Any] | httpx.Response:
        for fault in self.faults:
            if fault.times > 0 and fault.key in (None, path[3]):
                fault.times -= 1
                return httpx.Response(500, json={"detail": "XCom push failed (injected)"})
        self.xcoms[_xcom_key(request, *path)] = json.loads(request.content)
        return {}

    def _xcom_get(self, request: httpx.Request, *path: str) -> dict[str, Any] | httpx.Response:
        try:
            return {"key": path[3], "value": self.xcoms[_xcom_key(request, *path)]}
        except KeyError:
            return _not_found(path[3])

    def _xcom_delete(self, request: httpx.Request, *path: str) -> dict[str, Any]:
        self.xcoms.pop(_xcom_key(request, *path), None)
        return {}

    def _xcom_count(self, request: httpx.Request, *path: str) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Range": f"map_indexes {len(self.values(*path))}"})

    def _xcom_item(self, request: httpx.Request, *path: str) -> Any:
        values, offset = self.values(*path[:4]), int(path[4])
        return values[offset] if -len(values) <= offset < len(values) else _not_found(path[3])

    def _xcom_slice(self, request: httpx.Request, *path: str) -> list[Any]:
        query = request.url.params
        bounds = (int(query[name]) if name in query else None for name in ("start", "stop", "step"))
        return self.values(*path)[slice(*bounds)]

    def _store_get(self, request: httpx.Request, ti_id: str, key: str) -> dict[str, Any] | httpx.Response:
        stored = self.task_store.get((self._by_id(ti_id).key, key))
        return _not_found(key) if stored is None else {"value": stored["value"]}

    def _store_put(self, request: httpx.Request, ti_id: str, key: str) -> dict[str, Any]:
        self.task_store[self._by_id(ti_id).key, key] = json.loads(request.content)
        return {}

    def _store_delete(self, request: httpx.Request, ti_id: str, key: str | None = None) -> dict[str, Any]:
        owner = self._by_id(ti_id).key
        for name in [k for k in self.task_store if k[0] == owner and key in (None, k[1])]:
            del self.task_store[name]
        return {}

    def _first_start(self, request: httpx.Request, ti_id: str) -> str | None:
        instance = self._by_id(ti_id)
        return instance.first_start if instance.reschedules else None

    def _ok(self, request: httpx.Request, *path: str) -> dict[str, Any]:
        return {}

    def _count(self, request: httpx.Request) -> int:
        query = request.url.params
        return sum(one.task_id in query.get_list("task_ids") for one in self.instances.values())

    def _asset(self, request: httpx.Request, field: str) -> httpx.Response:
        """An asset that some DAG defines, asked for by a reference to it."""
        wanted = request.url.params[field]
        found = [
            {"name": name, "uri": uri}
            for name, uri in self.assets.items()
            if wanted == {"name": name, "uri": uri}[field]
        ]
        if not found:
            return httpx.Response(404, json={"detail": {"reason": "not_found", "message": "no such asset"}})
        return httpx.Response(200, json={**found[0], "group": "asset", "extra": {}})

    def _assets(self, request: httpx.Request, ti_id: str) -> dict[str, Any]:
        return {"inactive_assets": []}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _not_found(key: str) -> httpx.Response:
    return httpx.Response(404, json={"detail": {"reason": "not_found", "message": f"{key} not found"}})


def _xcom_key(request: httpx.Request, dag_id: str, run_id: str, task_id: str, key: str) -> XComKey:
    return dag_id, run_id, task_id, int(request.url.params.get("map_index", -1)), key


_XCOM = r"xcoms/([^/]+)/([^/]+)/([^/]+)/([^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("PATCH", r"task-instances/([^/]+)/run", ExecutionAPI._run),
    ("PATCH", r"task-instances/([^/]+)/state", ExecutionAPI._state),
    ("PATCH", r"task-instances/([^/]+)/(?:skip-downstream|rendered-map-index)", ExecutionAPI._ok),
    ("POST", r"hitlDetails/([^/]+)", ExecutionAPI._ask),
    ("PUT", r"task-instances/([^/]+)/rtif", ExecutionAPI._rendered),
    ("PUT", r"task-instances/([^/]+)/heartbeat", ExecutionAPI._ok),
    ("GET", r"task-instances/count", ExecutionAPI._count),
    ("GET", r"task-instances/([^/]+)/validate-inlets-and-outlets", ExecutionAPI._assets),
    ("GET", r"assets/by-(name|uri)", ExecutionAPI._asset),
    ("GET", r"task-instances/([^/]+)/previous-successful-dagrun", ExecutionAPI._ok),
    ("GET", r"task-reschedules/([^/]+)/start_date", ExecutionAPI._first_start),
    ("GET", _XCOM + r"/item/(-?\d+)", ExecutionAPI._xcom_item),
    ("GET", _XCOM + r"/slice", ExecutionAPI._xcom_slice),
    ("POST", _XCOM, ExecutionAPI._xcom_set),
    ("GET", _XCOM, ExecutionAPI._xcom_get),
    ("DELETE", _XCOM, ExecutionAPI._xcom_delete),
    ("HEAD", _XCOM, ExecutionAPI._xcom_count),
    ("GET", r"store/ti/([^/]+)/(.+)", ExecutionAPI._store_get),
    ("PUT", r"store/ti/([^/]+)/(.+)", ExecutionAPI._store_put),
    ("DELETE", r"store/ti/([^/]+)/(.+)", ExecutionAPI._store_delete),
    ("DELETE", r"store/ti/([^/]+)", ExecutionAPI._store_delete),
]
