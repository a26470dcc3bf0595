"""Generations in the XCom table: the only module that reads Airflow's database.

A listing reads the XComs of our link (``links.py``), which only our tasks have, newest first, and then those tasks' results by
primary key. So its cost grows with our own tasks, not with all XComs, and not with the bucket. Knows nothing of who may see what.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from airflow.utils.session import create_session
from sqlalchemy import Select, Text, and_, cast, exists, select, tuple_
from sqlalchemy.orm import aliased

from airflow_provider_seedream.links import SeedreamImagesLink
from airflow_provider_seedream.model.task_ref import TaskRef

_LINK_KEY = SeedreamImagesLink().xcom_key
_TABLE_KEY = "results"  # what a batch pushes before it fails
_OF_TASK = ("dag_run_id", "task_id", "map_index")
_MOST_HOLDERS = 20
_TEXT = cast(XComModel.value, Text).label("value")  # the database's own JSON reader would fail a whole page for one odd value
_COLUMNS = ("dag_run_id", "dag_id", "run_id", "task_id", "map_index", "timestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A point in the listing, safe in a URL: pages go on from here, whatever has come since."""

    at: datetime
    dag_run_id: int
    task_id: str
    map_index: int

    def __str__(self) -> str:
        return f"{self.at.isoformat()}~{self.dag_run_id}~{self.map_index}~{self.task_id}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        try:
            at, run, index, task = text.split("~", 3)
            instant = datetime.fromisoformat(at)
            return cls(at=instant, dag_run_id=int(run), map_index=int(index), task_id=task) if instant.tzinfo else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of one task instance of ours; ``value`` is user input, as XComs can be edited."""

    place: TaskRef
    cursor: Cursor
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which tasks; ``run`` and ``task`` are parts of the ids."""

    dag_ids: Collection[str]
    run: str = ""
    task: str = ""


def dag_ids() -> set[str]:
    """The DAGs that ever ran a task of ours."""
    with create_session(scoped=False) as session:
        return set(session.scalars(select(XComModel.dag_id).where(XComModel.key == _LINK_KEY).distinct()))


def page(wanted: Filter, *, limit: int, older_than: Cursor | None = None, newer_than: Cursor | None = None) -> list[Row]:
    """The next rows with a result from a point: newest first, or oldest first after ``newer_than``."""
    tasks = _tasks(wanted, older_than, newer_than).limit(limit).subquery()
    result, table = aliased(XComModel), aliased(XComModel)
    query = select(tasks, cast(result.value, Text).label("value"), cast(table.value, Text).label("table"))
    for one, key in ((result, XCOM_RETURN_KEY), (table, _TABLE_KEY)):
        joined = [getattr(one, name) == tasks.c[name] for name in _OF_TASK]
        query = query.outerjoin(one, and_(*joined, one.key == key))
    with create_session(scoped=False) as session:
        found = [_row(row, row.table) for row in session.execute(query)]
    return sorted(found, key=lambda row: _order(row.cursor), reverse=newer_than is None)


def find(place: TaskRef) -> Row | None:
    """The result of one task instance, if it has one."""
    named = [getattr(XComModel, name) == getattr(place, name) for name in ("dag_id", "run_id", "task_id", "map_index")]
    query = select(*_columns(), XComModel.key, _TEXT).where(*named)
    with create_session(scoped=False) as session:
        xcoms = {row.key: row for row in session.execute(query.where(XComModel.key.in_([XCOM_RETURN_KEY, _TABLE_KEY, _LINK_KEY])))}
    result, table = xcoms.get(XCOM_RETURN_KEY), xcoms.get(_TABLE_KEY)
    if result is None and table is None:
        return None
    listed = xcoms.get(_LINK_KEY) or result or table  # its point in the listing, where it is in it
    return Row(place=place, cursor=_cursor(listed), value=_value(result and result.value, table and table.value))


def holding(place: TaskRef, text: str) -> list[Row]:
    """Results of tasks of the same DAG run that name an image's hash, or a generation's id; the newest first.

    A mapped list that comes back in another order gives an image to another map index, and an approval knows the run alone.
    """
    query = (
        select(*_columns(), _TEXT)
        .where(XComModel.dag_id == place.dag_id, XComModel.run_id == place.run_id, XComModel.key == XCOM_RETURN_KEY)
        .where(cast(XComModel.value, Text).contains(text, autoescape=True))
        .order_by(XComModel.timestamp.desc())
        .limit(_MOST_HOLDERS)
    )
    with create_session(scoped=False) as session:
        return [_row(row, None) for row in session.execute(query)]


def landed_ids(dag_run_ids: Collection[int], seedream_task_ids: Collection[str]) -> set[str]:
    """Which of these generations any task of these runs has landed."""
    seedream_task_id = XComModel.value["seedream_task_id"].as_string()
    query = select(seedream_task_id).where(
        XComModel.dag_run_id.in_(dag_run_ids),
        XComModel.key == XCOM_RETURN_KEY,
        seedream_task_id.in_(seedream_task_ids),
        XComModel.value["manifest"].as_string().is_not(None),
    )
    with create_session(scoped=False) as session:
        return set(session.scalars(query))


def _tasks(wanted: Filter, older_than: Cursor | None, newer_than: Cursor | None) -> Select[Any]:
    order = (XComModel.timestamp, XComModel.dag_run_id, XComModel.task_id, XComModel.map_index)
    result = aliased(XComModel)  # a failed task has none and nothing to show; thousands may lie before the next image
    same = [getattr(result, name) == getattr(XComModel, name) for name in _OF_TASK]
    has_result = exists().where(*same, result.key.in_((XCOM_RETURN_KEY, _TABLE_KEY)))
    query = select(*_columns()).where(XComModel.key == _LINK_KEY, XComModel.dag_id.in_(wanted.dag_ids), has_result)
    if wanted.run:
        query = query.where(XComModel.run_id.contains(wanted.run, autoescape=True))
    if wanted.task:
        query = query.where(XComModel.task_id.contains(wanted.task, autoescape=True))
    if older_than:
        query = query.where(tuple_(*order) < tuple_(*_order(older_than)))
    if newer_than:
        query = query.where(tuple_(*order) > tuple_(*_order(newer_than)))
    return query.order_by(*(order if newer_than else (column.desc() for column in order)))


def _columns() -> list[Any]:
    return [getattr(XComModel, name) for name in _COLUMNS]


def _order(cursor: Cursor) -> tuple[datetime, int, str, int]:
    return cursor.at, cursor.dag_run_id, cursor.task_id, cursor.map_index


def _row(row: Any, table: str | None) -> Row:
    return Row(
        place=TaskRef(dag_id=row.dag_id, run_id=row.run_id, task_id=row.task_id, map_index=row.map_index),
        cursor=_cursor(row),
        value=_value(row.value, table),
    )


def _cursor(row: Any) -> Cursor:
    return Cursor(at=row.timestamp, dag_run_id=row.dag_run_id, task_id=row.task_id, map_index=row.map_index)


def _value(result: str | None, table: str | None) -> Any:
    """The return value of a task; for a batch that failed the URI of its table, which it has pushed."""
    value, pushed = _plain(result), _plain(table)
    return {"results": pushed} if value is None and pushed else value


def _plain(text: str | None) -> Any:
    """An XCom as plain JSON. Airflow's own way to read one builds objects of the classes that its text names; ours are dicts.

    What cannot be read is None: one odd XCom may not cost a page.
    """
    try:
        value = json.loads(text) if text else None
        if isinstance(value, str) and value[:1] in ("{", "[", '"'):  # JSON in JSON: Airflow's own form of an edited XCom
            return json.loads(value)
        return value
    except (ValueError, RecursionError):
        return None
