"""Generations in the XCom table: with ``assets`` the only module that asks Airflow's database.

A listing reads the XComs of our link (``links.py``), which only our tasks have, newest first, and those
tasks' results by an index. Airflow's tables have no index over time, so a page looks into the DAG runs that
ended last: their XComs are found by an index as well. Its cost grows with the page, not with all XComs, all
images, or the bucket. ``xcoms`` knows the tables. Knows no permissions.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.xcom import XCOM_RETURN_KEY
from airflow.utils.session import create_session
from sqlalchemy import Select, Text, and_, cast, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from airflow_provider_seedream.gallery.cursor import Cursor, order_of
from airflow_provider_seedream.gallery.xcom_values import text_of, value_of
from airflow_provider_seedream.gallery.xcoms import Table, events_of, has_announced, tables
from airflow_provider_seedream.links import SeedreamImagesLink
from airflow_provider_seedream.model.task_ref import TaskRef

_LINK_KEY = SeedreamImagesLink().xcom_key
# a task that fails pushes it: a batch the URI of its table, others the images that landed
_TABLE_KEY = "results"
_RESULTS = (XCOM_RETURN_KEY, _TABLE_KEY)
_MOST_HOLDERS = 20
# DAG runs that are looked into, step by step; behind these all tasks of ours at once
_STEPS = (0, 4, 36, *range(292, 4200, 256))
_SLOW_SECONDS = 0.05  # a small installation sees a new DAG at once
# an XCom may be written after its run was marked as ended by a person, while the task stops
_AFTER_THE_END = timedelta(minutes=10)
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of one task instance of ours::

        # {"schema_version": 1, "seedream_task_id": "b1c2d3", "manifest": "s3://...", ...}
        rows.find(place).value

    :param place: the task instance.
    :param cursor: its point in the listing.
    :param value: the XCom as plain JSON. It is user input, as XComs can be edited; None if it is not JSON.
    :param region: of a round of a loop, the ``region_id`` and ``region_index`` that Airflow's own page of it
        needs; else empty. A clear of the round may change it.
    """

    place: TaskRef
    cursor: Cursor
    value: Any
    region: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which tasks a listing is about::

        rows.page(Filter(dag_ids=["watches"], run="2026-03"), limit=24)

    :param run: a part of the run id.
    :param task: a part of the task id. Both are letters, not patterns.
    :param asset_id: Airflow's number of an asset: only tasks that are among the sources of its newest 2,000
        events.
    """

    dag_ids: Collection[str]
    run: str = ""
    task: str = ""
    asset_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownDags:
    """The answer of :func:`dag_ids`, the instant until which it is used, and the database that was asked."""

    ids: frozenset[str]
    until: float
    database: str


# the last slow answer; whoever writes to the database past Airflow empties it
known_dags: dict[str, _KnownDags] = {}


def dag_ids() -> set[str]:
    """The DAGs that ever ran a task of ours.

    The question costs 0.2 s where 100,000 images lie behind it. A slow answer is remembered for 200 times as
    long as it took.
    """
    with create_session(scoped=False) as session:
        known, database = known_dags.get("ids"), str(session.get_bind())
        if known and known.database == database and time.monotonic() < known.until:
            return set(known.ids)
        start = time.monotonic()
        queries = [
            table.dag_ids.where(table.key == _LINK_KEY).distinct() for table in tables(session, _LINK_KEY)
        ]
        ids = {str(dag_id) for query in queries for dag_id in session.scalars(query)}
        took = time.monotonic() - start
        if took > _SLOW_SECONDS:
            known_dags["ids"] = _KnownDags(ids=frozenset(ids), until=start + 200 * took, database=database)
        return ids


def page(
    wanted: Filter, *, limit: int, older_than: Cursor | None = None, newer_than: Cursor | None = None
) -> list[Row]:
    """The next rows with a result from a point: newest first, or oldest first after ``newer_than``.

    :param limit: the most rows.
    :param older_than: only rows before this point; at most one of the two is given.
    :param newer_than: only rows after this point.
    """
    found = list[Row]()
    with create_session(scoped=False) as session:
        runs = _runs(session, wanted, older_than, newer_than)
        queries = [
            (table, _tasks(table, wanted, older_than, newer_than)) for table in tables(session, _LINK_KEY)
        ]
        for start, end in pairwise(_STEPS):
            some, rest = [run.id for run in runs[start:end]], runs[end : end + 1]
            for table, tasks in queries:
                found += _rows(session, table, tasks.where(table.columns["dag_run_id"].in_(some)), limit)
            found.sort(key=_row_order, reverse=newer_than is None)
            if not rest or (len(found) >= limit and rest[0].is_beyond(found[limit - 1].cursor.at)):
                return found[:limit]
        # Thousands of runs without a result: all tasks of ours are sorted, which takes 0.5 s where there are
        # 200,000.
        found = [row for table, tasks in queries for row in _rows(session, table, tasks, limit)]
        return sorted(found, key=_row_order, reverse=newer_than is None)[:limit]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A DAG run, and the instant at which its XComs begin: the newest of them can be, or, going forward,
    the oldest.
    """

    id: int
    at: datetime
    is_forward: bool

    def is_beyond(self, instant: datetime) -> bool:
        """True if all XComs of this run, and of the runs behind it, lie beyond an instant."""
        return self.at > instant if self.is_forward else self.at < instant


def _runs(
    session: Session, wanted: Filter, older_than: Cursor | None, newer_than: Cursor | None
) -> list[_Run]:
    """The runs that ended last, or, going forward, that began first; running ones count as ending last."""
    query = (
        select(DagRun.id, DagRun.end_date, DagRun.run_after)
        .where(DagRun.dag_id.in_(wanted.dag_ids))
        .limit(_STEPS[-1] + 1)
    )
    if wanted.run:
        query = query.where(DagRun.run_id.contains(wanted.run, autoescape=True))
    if wanted.asset_id is not None:
        events = events_of(wanted.asset_id)
        query = query.where(
            tuple_(DagRun.dag_id, DagRun.run_id).in_(select(events.c.dag_id, events.c.run_id))
        )
    if newer_than:
        going_on = or_(DagRun.end_date.is_(None), DagRun.end_date >= newer_than.at - _AFTER_THE_END)
        found = session.execute(query.where(going_on).order_by(DagRun.run_after, DagRun.id))
        return [_Run(id=run.id, at=run.run_after, is_forward=True) for run in found]
    if older_than:
        query = query.where(DagRun.run_after <= older_than.at)
    found = session.execute(
        query.order_by(DagRun.end_date.is_not(None), DagRun.end_date.desc(), DagRun.id.desc())
    )
    return [
        _Run(id=run.id, at=run.end_date + _AFTER_THE_END if run.end_date else _NEVER, is_forward=False)
        for run in found
    ]


def find(place: TaskRef) -> Row | None:
    """The result of one task instance; None if it has returned and pushed nothing."""
    rounds: dict[int, dict[str, Any]] = {}
    with create_session(scoped=False) as session:
        for table in reversed(tables(session, _LINK_KEY)):
            # Of each round of its loop where the place names no round.
            names = ["dag_id", "run_id", "task_id", "map_index"]
            if place.loop_index is not None and "loop_index" in table.columns:
                names.append("loop_index")
            query = table.select(table.key, text_of(table.model)).where(
                *(table.columns[name] == getattr(place, name) for name in names)
            )
            for row in session.execute(
                query.where(table.key.in_((*_RESULTS, _LINK_KEY))).order_by(table.model.timestamp)
            ):
                rounds.setdefault(getattr(row, "loop_index", -1), {})[row.key] = row
    with_result = [xcoms for xcoms in rounds.values() if not xcoms.keys().isdisjoint(_RESULTS)]
    if not with_result:
        return None
    xcoms = with_result[-1]
    result, pushed = xcoms.get(XCOM_RETURN_KEY), xcoms.get(_TABLE_KEY)
    return _row(xcoms.get(_LINK_KEY) or result or pushed, result and result.value, pushed and pushed.value)


def holding(place: TaskRef, text: str) -> list[Row]:
    """Results of tasks of the same DAG run that hold a text, newest first, up to 20.

    A mapped list that comes back in another order gives an image to another map index, and an approval knows
    the run alone.

    :param text: an image's hash, or a generation's id. It is searched as letters, not as a pattern.
    """
    found: list[Any] = []
    with create_session(scoped=False) as session:
        for table in tables(session, _LINK_KEY):
            query = table.select(text_of(table.model)).where(
                table.columns["dag_id"] == place.dag_id,
                table.columns["run_id"] == place.run_id,
                table.key == XCOM_RETURN_KEY,
                cast(table.model.value, Text).contains(text, autoescape=True),
            )
            found += session.execute(query.order_by(table.model.timestamp.desc()).limit(_MOST_HOLDERS))
    found.sort(key=lambda row: row.timestamp, reverse=True)
    return [_row(row, row.value, None) for row in found[:_MOST_HOLDERS]]


def landed_ids(dag_run_ids: Collection[int], seedream_task_ids: Collection[str]) -> set[str]:
    """Which of these generations any task of these runs has landed.

    :param dag_run_ids: Airflow's own numbers of the runs, of :class:`Cursor`.
    """
    found: set[str] = set()
    with create_session(scoped=False) as session:
        for table in tables(session, _LINK_KEY):
            seedream_task_id = table.model.value["seedream_task_id"].as_string()
            query = table.joined.add_columns(seedream_task_id).where(
                table.columns["dag_run_id"].in_(dag_run_ids),
                table.key.in_(_RESULTS),
                seedream_task_id.in_(seedream_task_ids),
                table.model.value["manifest"].as_string().is_not(None),
            )
            found |= set(session.scalars(query))
    return found


def _rows(session: Session, table: Table, tasks: Select[Any], limit: int) -> list[Row]:
    """The first of these tasks with their results, which are read by an index."""
    chosen = tasks.limit(limit).subquery()
    result, pushed = aliased(table.model), aliased(table.model)
    query = select(chosen, text_of(result), cast(pushed.value, Text).label("pushed"))
    for one, key in ((result, XCOM_RETURN_KEY), (pushed, _TABLE_KEY)):
        query = query.outerjoin(one, and_(table.same(one, chosen.c), one.key == key))
    return [_row(row, row.value, row.pushed) for row in session.execute(query)]


def _tasks(table: Table, wanted: Filter, older_than: Cursor | None, newer_than: Cursor | None) -> Select[Any]:
    """The tasks of ours with a result, in the order of the listing."""
    of = table.columns
    # A failed task has no result and nothing to show; thousands may lie before the next image.
    query = table.select().where(
        table.key == _LINK_KEY, of["dag_id"].in_(wanted.dag_ids), table.has_any(_RESULTS)
    )
    for name, part in (("run_id", wanted.run), ("task_id", wanted.task)):
        if part:
            query = query.where(of[name].contains(part, autoescape=True))
    if wanted.asset_id is not None:
        query = query.where(has_announced(table, wanted.asset_id))
    if older_than:
        query = query.where(tuple_(*table.order) < tuple_(*order_of(older_than)[: len(table.order)]))
    if newer_than:
        query = query.where(tuple_(*table.order) > tuple_(*order_of(newer_than)[: len(table.order)]))
    return query.order_by(*(table.order if newer_than else (column.desc() for column in table.order)))


def _row_order(row: Row) -> tuple[datetime, int, str, int, int]:
    return order_of(row.cursor)


def _row(row: Any, result: str | None, pushed: str | None) -> Row:
    """A row of the database with the texts of its two results."""
    ids = {name: getattr(row, name) for name in ("task_id", "map_index")}
    loop_index = getattr(row, "loop_index", -1)
    return Row(
        place=TaskRef(
            dag_id=row.dag_id, run_id=row.run_id, loop_index=None if loop_index < 0 else loop_index, **ids
        ),
        cursor=Cursor(at=row.timestamp, dag_run_id=row.dag_run_id, loop_index=loop_index, **ids),
        value=value_of(result, pushed),
        region={}
        if loop_index < 0
        else {"region_id": str(row.region_id), "region_index": str(row.region_index)},
    )
