"""The rows of Airflow's tables for one XCom, in the installed version: from 3.4 on it belongs to a try of
a task instance.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5
from zlib import crc32

from airflow.models import xcom
from sqlalchemy import text

from airflow_provider_seedream.model.task_ref import TaskRef

HAS_TRIES = hasattr(xcom, "XComModelV2")
# in the order of their keys
TABLES = ("dag_run", *(("dynamic_region", "task_instance", "xcom_v2") if HAS_TRIES else ("xcom",)))
LOOP = "rounds"  # the task group that is a loop
_NO_REGION = UUID(int=0)


def dag_run_id(place: TaskRef) -> int:
    return crc32(f"{place.dag_id} {place.run_id}".encode()) % 2**31


def rows_of(place: TaskRef, key: str, value: Any, at: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with the table that it belongs to; all but the last are there already after another XCom of
    the task.
    """
    if not HAS_TRIES:
        ids = {
            "dag_id": place.dag_id,
            "run_id": place.run_id,
            "task_id": place.task_id,
            "map_index": place.map_index,
        }
        yield "xcom", {"dag_run_id": dag_run_id(place), **ids, "key": key, "value": value, "timestamp": at}
        return
    region, index = _NO_REGION, -1
    for node, inner in ((LOOP, place.loop_index), (place.task_id, place.map_index)):
        if inner is not None and inner >= 0:
            row = _region(place, node, region, index)
            yield "dynamic_region", row
            region, index = row["id"], inner
    instance = _id("ti", place, place.task_id, place.map_index, place.loop_index)
    yield (
        "task_instance",
        {
            "id": instance,
            "dag_id": place.dag_id,
            "run_id": place.run_id,
            "task_id": place.task_id,
            "region_id": region,
            "region_index": index,
            "working_set": True,
            "try_number": 1,
            "max_tries": 0,
            "pool": "default_pool",
            "pool_slots": 1,
        },
    )
    yield (
        "xcom_v2",
        {
            "id": _id("xcom", instance, key),
            "task_instance_id": instance,
            "key": key,
            "value": value,
            "timestamp": at,
        },
    )


def _region(place: TaskRef, node: str, parent: UUID, index: int) -> dict[str, Any]:
    of_run = replace(place, task_id="", map_index=-1, loop_index=None)
    own = _id("region", of_run, node, parent, index)
    return {
        "id": own,
        "dag_id": place.dag_id,
        "run_id": place.run_id,
        "node_id": node,
        "parent_region_id": None if parent == _NO_REGION else parent,
        "parent_region_index": None if parent == _NO_REGION else index,
        "family_root_id": own,
        "path": b"",
        "resumes_from_index": 0,
        "slot_key": own.bytes * 2,
        "created_at": datetime(2026, 3, 1, tzinfo=UTC),
    }


def _id(*parts: Any) -> UUID:
    return uuid5(NAMESPACE_URL, " ".join(map(str, parts)))


class Filling:
    """Writes many XComs into Airflow's database past Airflow, with the runs and task instances that they
    belong to.
    """

    def __init__(self, connection: Any, *, is_sqlite: bool) -> None:
        self._cursor, self._is_sqlite = connection.cursor(), is_sqlite
        self._rows: dict[str, dict[Any, dict[str, Any]]] = {table: {} for table in TABLES}
        self._written: set[Any] = set()

    def add(self, place: TaskRef, key: str, value: Any, at: datetime) -> None:
        own = dag_run_id(place)
        ids = {
            "id": own,
            "dag_id": place.dag_id,
            "run_id": place.run_id,
            "run_type": "scheduled",
            "state": "success",
        }
        run = self._rows["dag_run"].setdefault(own, {**ids, "run_after": at, "end_date": at})
        run |= {"run_after": min(run["run_after"], at), "end_date": max(run["end_date"], at)}
        for table, row in rows_of(place, key, json.dumps(value), at):
            name = row.get("id", (own, place.task_id, place.map_index, key))
            if name not in self._written:
                self._rows[table][name] = row
        if len(self._rows[table]) >= 20_000:
            self.write(TABLES[1:])

    def write(self, tables: Iterable[str] = TABLES) -> None:
        """A run is written last, as its times are those of all its XComs."""
        for table in tables:
            rows = self._rows[table]
            self._written |= rows.keys()
            if rows:
                self._insert(table, list(rows.values()))
            rows.clear()

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        columns = ", ".join(rows[0])
        if self._is_sqlite:
            marks = ", ".join("?" * len(rows[0]))
            self._cursor.executemany(
                f"INSERT INTO {table} ({columns}) VALUES ({marks})",
                [tuple(map(as_sqlite, row.values())) for row in rows],
            )
        else:
            lines = io.StringIO("".join("\t".join(map(_as_copied, row.values())) + "\n" for row in rows))
            self._cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", lines)


@contextmanager
def filling() -> Iterator[Filling]:
    from airflow import settings

    is_sqlite = settings.engine.dialect.name == "sqlite"
    with closing(settings.engine.raw_connection()) as connection:
        # Airflow 3.3 and earlier want a task instance for each XCom, too.
        connection.cursor().execute(
            "PRAGMA foreign_keys = OFF" if is_sqlite else "SET session_replication_role = replica"
        )
        rows = Filling(connection, is_sqlite=is_sqlite)
        yield rows
        rows.write()
        connection.commit()
        connection.cursor().execute(
            "PRAGMA foreign_keys = ON" if is_sqlite else "SET session_replication_role = DEFAULT"
        )
        connection.commit()
    with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as tidy:
        tidy.execute(text("ANALYZE" if is_sqlite else "VACUUM ANALYZE"))


def as_sqlite(value: Any) -> Any:
    match value:
        case UUID():
            return value.hex
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    return value


def _as_copied(value: Any) -> str:
    """A value as COPY reads it."""
    match value:
        case None:
            return "\\N"
        case bytes():
            return f"\\\\x{value.hex()}"
        case datetime():
            return value.isoformat()
    return str(value).replace("\\", "\\\\")
