"""Generations in the XCom table: the only module that reads Airflow's database.

A listing reads the XComs of our link (``links.py``), which only our tasks have, newest first, and those tasks' results by
primary key. Airflow's table has no index over time, so a page looks into the DAG runs that ended last: their XComs are found by
primary key as well. Its cost grows with the page, not with all XComs, all images, or the bucket. It knows nothing of permissions.
"""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Self

from airflow.models.dagrun import DagRun
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from airflow.utils.session import create_session
from sqlalchemy import Select, Text, and_, cast, exists, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from airflow_provider_seedream.links import SeedreamImagesLink
from airflow_provider_seedream.model.task_ref import TaskRef

_LINK_KEY = SeedreamImagesLink().xcom_key
_TABLE_KEY = "results"  # a task that fails pushes it: a batch the URI of its table, others the images that landed
_OF_TASK = ("dag_run_id", "task_id", "map_index")
_MOST_HOLDERS = 20
MOST_INTEGER = 2**31 - 1  # of the integer columns, on every database
_STEPS = (0, 4, 36, *range(292, 4200, 256))  # DAG runs that are looked into, step by step; behind these all tasks of ours at once
_SLOW_SECONDS = 0.05  # a small installation sees a new DAG at once
_AFTER_THE_END = timedelta(minutes=10)  # an XCom may be written after its run was marked as ended by a person, while the task stops
_NEVER = datetime.max.replace(tzinfo=UTC)
_TEXT = cast(XComModel.value, Text).label("value")  # the database's own JSON reader would fail a whole page for one odd value
_COLUMNS = ("dag_run_id", "dag_id", "run_id", "task_id", "map_index", "timestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A point in the listing, safe in a URL: pages go on from here, also when newer rows have come since::

        str(row.cursor)  # "2026-03-01T12:00:00+00:00~17~-1~land"
        Cursor.parse("~~~")  # None: an address can be edited

    :param at: when the row's XCom was written, in UTC. The other fields decide between rows of the same instant.
    """

    at: datetime
    dag_run_id: int
    task_id: str
    map_index: int

    def __str__(self) -> str:
        return f"{self.at.isoformat()}~{self.dag_run_id}~{self.map_index}~{self.task_id}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The point of an address; None if it is not one, as addresses can be edited."""
        try:
            at, run, index, task = text.split("~", 3)
            instant, numbers = datetime.fromisoformat(at), (int(run), int(index))
            if instant.tzinfo is None or any(abs(number) > MOST_INTEGER for number in numbers):
                return None
            return cls(at=instant.astimezone(UTC), dag_run_id=numbers[0], map_index=numbers[1], task_id=task)
        except (ValueError, OverflowError):  # a year 10000 elsewhere
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of one task instance of ours::

        rows.find(place).value  # {"schema_version": 1, "seedream_task_id": "b1c2d3", "manifest": "s3://...", ...}

    :param place: the task instance.
    :param cursor: its point in the listing.
    :param value: the XCom as plain JSON. It is user input, as XComs can be edited; None if it is not JSON.
    """

    place: TaskRef
    cursor: Cursor
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which tasks a listing is about::

        rows.page(Filter(dag_ids=["watches"], run="2026-03"), limit=24)

    :param run: a part of the run id.
    :param task: a part of the task id. Both are letters, not patterns.
    """

    dag_ids: Collection[str]
    run: str = ""
    task: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownDags:
    """The answer of :func:`dag_ids`, the instant until which it is used, and the database that was asked."""

    ids: frozenset[str]
    until: float
    database: str


_known_dags: dict[str, _KnownDags] = {}


def dag_ids() -> set[str]:
    """The DAGs that ever ran a task of ours.

    The question costs 0.2 s where 100,000 images lie behind it. A slow answer is remembered for 200 times as long as it took.
    """
    with create_session(scoped=False) as session:
        known, database = _known_dags.get("ids"), str(session.get_bind())
        if known and known.database == database and time.monotonic() < known.until:
            return set(known.ids)
        start = time.monotonic()
        ids = set(session.scalars(select(XComModel.dag_id).where(XComModel.key == _LINK_KEY).distinct()))
        took = time.monotonic() - start
        if took > _SLOW_SECONDS:
            _known_dags["ids"] = _KnownDags(ids=frozenset(ids), until=start + 200 * took, database=database)
        return ids


def page(wanted: Filter, *, limit: int, older_than: Cursor | None = None, newer_than: Cursor | None = None) -> list[Row]:
    """The next rows with a result from a point: newest first, or oldest first after ``newer_than``.

    :param limit: the most rows.
    :param older_than: only rows before this point; at most one of the two is given.
    :param newer_than: only rows after this point.
    """
    tasks, found = _tasks(wanted, older_than, newer_than), list[Row]()
    with create_session(scoped=False) as session:
        runs = _runs(session, wanted, older_than, newer_than)
        for start, end in pairwise(_STEPS):
            some, rest = runs[start:end], runs[end : end + 1]
            found += _rows(session, tasks.where(XComModel.dag_run_id.in_([run.id for run in some])), limit)
            found.sort(key=_row_order, reverse=newer_than is None)
            if not rest or (len(found) >= limit and rest[0].is_beyond(found[limit - 1].cursor.at)):
                return found[:limit]
        # Thousands of runs without a result: all tasks of ours are sorted, which takes 0.5 s where there are 200,000.
        return sorted(_rows(session, tasks, limit), key=_row_order, reverse=newer_than is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A DAG run, and the instant at which its XComs begin: the newest of them can be, or, going forward, the oldest."""

    id: int
    at: datetime
    is_forward: bool

    def is_beyond(self, instant: datetime) -> bool:
        """True if all XComs of this run, and of the runs behind it, lie beyond an instant."""
        return self.at > instant if self.is_forward else self.at < instant


def _runs(session: Session, wanted: Filter, older_than: Cursor | None, newer_than: Cursor | None) -> list[_Run]:
    """The runs that ended last, or, going forward, that began first; running ones count as ending last."""
    query = select(DagRun.id, DagRun.end_date, DagRun.run_after).where(DagRun.dag_id.in_(wanted.dag_ids)).limit(_STEPS[-1] + 1)
    if wanted.run:
        query = query.where(DagRun.run_id.contains(wanted.run, autoescape=True))
    if newer_than:
        going_on = or_(DagRun.end_date.is_(None), DagRun.end_date >= newer_than.at - _AFTER_THE_END)
        found = session.execute(query.where(going_on).order_by(DagRun.run_after, DagRun.id))
        return [_Run(id=run.id, at=run.run_after, is_forward=True) for run in found]
    if older_than:
        query = query.where(DagRun.run_after <= older_than.at)
    found = session.execute(query.order_by(DagRun.end_date.is_not(None), DagRun.end_date.desc(), DagRun.id.desc()))
    return [_Run(id=run.id, at=run.end_date + _AFTER_THE_END if run.end_date else _NEVER, is_forward=False) for run in found]


def find(place: TaskRef) -> Row | None:
    """The result of one task instance; None if it has returned and pushed nothing."""
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
    """Results of tasks of the same DAG run that hold a text, newest first, up to 20.

    A mapped list that comes back in another order gives an image to another map index, and an approval knows
    the run alone.

    :param text: an image's hash, or a generation's id. It is searched as letters, not as a pattern.
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
    """Which of these generations any task of these runs has landed.

    :param dag_run_ids: Airflow's own numbers of the runs, of :class:`Cursor`.
    """
    seedream_task_id = XComModel.value["seedream_task_id"].as_string()
    query = select(seedream_task_id).where(
        XComModel.dag_run_id.in_(dag_run_ids),
        XComModel.key.in_((XCOM_RETURN_KEY, _TABLE_KEY)),
        seedream_task_id.in_(seedream_task_ids),
        XComModel.value["manifest"].as_string().is_not(None),
    )
    with create_session(scoped=False) as session:
        return set(session.scalars(query))


def _rows(session: Session, tasks: Select[Any], limit: int) -> list[Row]:
    """The first of these tasks with their results, which are read by primary key."""
    chosen = tasks.limit(limit).subquery()
    result, table = aliased(XComModel), aliased(XComModel)
    query = select(chosen, cast(result.value, Text).label("value"), cast(table.value, Text).label("table"))
    for one, key in ((result, XCOM_RETURN_KEY), (table, _TABLE_KEY)):
        joined = [getattr(one, name) == chosen.c[name] for name in _OF_TASK]
        query = query.outerjoin(one, and_(*joined, one.key == key))
    return [_row(row, row.table) for row in session.execute(query)]


def _tasks(wanted: Filter, older_than: Cursor | None, newer_than: Cursor | None) -> Select[Any]:
    """The tasks of ours with a result, in the order of the listing."""
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
        query = query.where(tuple_(*order) < tuple_(*order_of(older_than)))
    if newer_than:
        query = query.where(tuple_(*order) > tuple_(*order_of(newer_than)))
    return query.order_by(*(order if newer_than else (column.desc() for column in order)))


def _columns() -> list[Any]:
    return [getattr(XComModel, name) for name in _COLUMNS]


def order_of(cursor: Cursor) -> tuple[datetime, int, str, int]:
    """The sort key of a row in a listing, equal to the order of the database."""
    return cursor.at, cursor.dag_run_id, cursor.task_id, cursor.map_index


def _row_order(row: Row) -> tuple[datetime, int, str, int]:
    return order_of(row.cursor)


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
    if value is not None or not pushed:
        return value
    return pushed if isinstance(pushed, dict) else {"results": pushed}


def _plain(text: str | None) -> Any:
    """An XCom as plain JSON. Airflow's own way to read one builds objects of the classes that its text names;
    ours are dicts.

    Text that cannot be read becomes None: one odd XCom must not cost a page.
    """
    try:
        value = json.loads(text) if text else None
        if isinstance(value, str) and value[:1] in ("{", "[", '"'):  # JSON in JSON: Airflow's own form of an edited XCom
            return json.loads(value)
        return value
    except (ValueError, RecursionError):
        return None
