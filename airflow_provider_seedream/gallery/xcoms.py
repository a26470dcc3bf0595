"""Airflow's tables of XComs as the installed version has them: the only module that knows what differs.

Until Airflow 3.3 there is one table, and its rows name their task instance. From 3.4 on a row names one try
of a task instance, and rows from before the upgrade stay in a table of their own. Airflow's model of both
together would read the XComs of all DAGs for one page, so each table is asked on its own, by its own indexes.
Two rounds of a loop differ by a region, not by their map index.
"""

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from airflow.models import xcom as models
from airflow.models.asset import AssetEvent
from airflow.models.dagrun import DagRun
from sqlalchemy import ColumnElement, FromClause, Select, and_, case, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

_IDS = ("dag_run_id", "dag_id", "run_id", "task_id", "map_index")
_OF_TASK = ("dag_run_id", "task_id", "map_index")
_SOURCE = ("dag_id", "run_id", "task_id", "map_index")  # of an asset event, each with source_ before it
_MOST_EVENTS = 2_000  # the newest of an asset: a page of it costs the same however often it was announced


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of XComs, with columns for what a listing asks::

        [table] = tables(session, "return_value")
        session.execute(
            table.select().where(table.key == "return_value", table.columns["dag_id"] == "watches")
        )

    :param model: Airflow's class of the table.
    :param columns: dag_run_id, dag_id, run_id, task_id, map_index, timestamp, and loop_index where Airflow
        has loops: it is -1 outside of them. Then region_id and region_index, too, which name a round to
        Airflow's own pages.
    :param joined: a select without columns, from the table and what ``columns`` needs.
    :param owner: names of the columns of ``model`` that the XComs of one task instance have in common.
    :param dag_ids: a select of the DAG ids alone.
    """

    model: Any
    columns: dict[str, ColumnElement[Any]]
    joined: Select[Any]
    owner: tuple[str, ...]
    dag_ids: Select[tuple[str]]

    @property
    def key(self) -> ColumnElement[str]:
        """The key of the XCom."""
        key: ColumnElement[str] = self.model.key
        return key

    @property
    def order(self) -> tuple[ColumnElement[Any], ...]:
        """The order of a listing, without two that are equal: the time first, then the task instance."""
        return tuple(
            self.columns[name] for name in ("timestamp", *_OF_TASK, "loop_index") if name in self.columns
        )

    def select(self, *more: Any) -> Select[Any]:
        """The columns, those of ``owner`` for :meth:`same`, and more of them.

        :param more: further columns.
        """
        own = [getattr(self.model, name).label(f"owner_{name}") for name in self.owner]
        return self.joined.add_columns(
            *(column.label(name) for name, column in self.columns.items()), *own, *more
        )

    def same(self, other: Any, chosen: Any) -> ColumnElement[bool]:
        """Whether an XCom is of the same task instance.

        :param other: an alias of ``model``.
        :param chosen: the columns of a subquery of :meth:`select`.
        """
        return and_(*(getattr(other, name) == chosen[f"owner_{name}"] for name in self.owner))

    def has_any(self, keys: Collection[str]) -> ColumnElement[bool]:
        """Whether the task instance of a row has an XCom of one of these keys."""
        other = aliased(self.model)
        same = [getattr(other, name) == getattr(self.model, name) for name in self.owner]
        return exists().where(*same, other.key.in_(keys))


def events_of(asset_id: int) -> FromClause:
    """The newest events of an asset with the task instances that have announced it: one for each event, up
    to 2,000.
    """
    columns = [getattr(AssetEvent, f"source_{name}").label(name) for name in _SOURCE]
    if hasattr(AssetEvent, "source_task_instance_id"):
        columns.append(AssetEvent.source_task_instance_id.label("task_instance_id"))
    query = select(*columns, AssetEvent.extra).where(
        AssetEvent.asset_id == asset_id, AssetEvent.source_dag_id.is_not(None)
    )
    return query.order_by(AssetEvent.timestamp.desc(), AssetEvent.id.desc()).limit(_MOST_EVENTS).subquery()


def has_announced(table: Table, asset_id: int) -> ColumnElement[bool]:
    """Whether the task instance of a row has announced an asset. Of a round of a loop the events say the
    try that made them.
    """
    events = events_of(asset_id)
    is_source = tuple_(*(table.columns[name] for name in _SOURCE)).in_(
        select(*(events.c[name] for name in _SOURCE))
    )
    if "loop_index" not in table.columns:
        return is_source
    is_its_try = table.model.task_instance_id.in_(select(events.c.task_instance_id))
    return and_(is_source, or_(table.columns["loop_index"] < 0, is_its_try))


def tables(session: Session, key: str) -> tuple[Table, ...]:
    """The tables of the installed Airflow that can hold XComs of a key; rows of an earlier table replace
    those of a later one.

    :param key: of the XComs that a query begins with.
    """
    newest, *older = _tables()
    return newest, *(table for table in older if session.scalar(select(exists().where(table.key == key))))


@cache
def _tables() -> tuple[Table, ...]:
    if not hasattr(models, "XComModelV2"):
        return (_of_task_instances(models.XComModel, select().select_from(models.XComModel)),)
    return _of_tries(), _from_before_the_upgrade()


def _of_task_instances(model: Any, joined: Select[Any]) -> Table:
    """A table whose rows name their task instance, and which knows no loops."""
    columns = {name: getattr(model, name) for name in (*_IDS, "timestamp")}
    return Table(
        model=model, columns=columns, joined=joined, owner=_OF_TASK, dag_ids=joined.add_columns(model.dag_id)
    )


def _from_before_the_upgrade() -> Table:
    """The XComs that Airflow kept when 3.4 came, of those task instances that have not run again since."""
    old, owner, instance = (
        models.XComModelV1,
        _model("taskinstance", "LegacyTaskDataOwner"),
        _model("taskinstance", "TaskInstance"),
    )
    ids = [getattr(old, name) == getattr(owner, name) for name in _IDS if name != "dag_run_id"]
    is_last_try = and_(instance.id == owner.task_instance_id, instance.working_set.is_(True))
    return _of_task_instances(
        old, select().select_from(old).join(owner, and_(*ids)).join(instance, is_last_try)
    )


def _of_tries() -> Table:
    """The XComs of Airflow 3.4, of the last try of each task instance."""
    new, instance, region = (
        models.XComModelV2,
        _model("taskinstance", "TaskInstance"),
        _model("dynamic_region", "DynamicRegion"),
    )
    # A mapped task has a region of its own, in a loop one for each round. The other tasks of a loop share the
    # region of the loop.
    is_own = region.node_id == instance.task_id
    columns = {
        "dag_run_id": DagRun.id,
        **{name: getattr(instance, name) for name in ("dag_id", "run_id", "task_id")},
        "map_index": case((or_(region.id.is_(None), is_own), instance.region_index), else_=-1),
        "timestamp": new.timestamp,
        "loop_index": case(
            (region.id.is_(None), -1),
            (is_own, func.coalesce(region.parent_region_index, -1)),
            else_=instance.region_index,
        ),
        "region_id": region.id,
        "region_index": instance.region_index,
    }
    is_its_run = and_(DagRun.dag_id == instance.dag_id, DagRun.run_id == instance.run_id)
    joined = (
        select()
        .select_from(DagRun)
        .join(instance, and_(is_its_run, instance.working_set.is_(True)))
        .join(new, new.task_instance_id == instance.id)
        .outerjoin(region, region.id == instance.region_id)
    )
    dag_ids = select(instance.dag_id).join_from(new, instance, new.task_instance_id == instance.id)
    return Table(model=new, columns=columns, joined=joined, owner=("task_instance_id",), dag_ids=dag_ids)


def _model(module: str, name: str) -> Any:
    """A class of Airflow 3.4 that earlier versions do not have, or have with other columns."""
    return getattr(importlib.import_module(f"airflow.models.{module}"), name)
