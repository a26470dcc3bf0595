#!/bin/bash
# The 500th period that is never complete stops all DAGs that wait for partitions.
#
# Expected: a rollup whose hours are not all there holds its own run ("the scheduler holds the Dag run until every upstream key in the window
#   has arrived", say the docs of assets). Other DAGs are started by the keys that they wait for.
# Happens: a period that has begun waits until it is complete, without end. An hour that failed for good leaves such a period. So does an hour
#   that is repeated after the day's run was made, by a clear: it begins the same day anew, which waits for the other 23 hours. In
#   each round the scheduler looks at the 500 periods that have waited longest, of all DAGs together, and at no others. When 500
#   are never complete, no key starts a DAG any more, in the whole deployment; here that of a shop, which has another asset and no
#   rollup. Nothing fails, and nothing is logged. A change of the rollup (window, mapper or policy) removes its periods.
# Version: apache-airflow-core 3.3.2 (3.4.0b2 does the same); uv installs it (PyPI).
# Source: run here; _create_dagruns_for_partitioned_asset_dags in airflow/jobs/scheduler_job_runner.py, where a comment foresees a row that
#   blocks newer ones; the comment at MAX_PARTITION_DAG_RUNS_PER_LOOP says that what is over the limit is for later rounds. It is no
#   setting. _get_or_create_apdr in airflow/assets/manager.py begins the day anew.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL=0
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
uv/bin/uv venv -q venv
uv/bin/uv pip install -q --python venv/bin/python apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2
cat >rollups.py <<'EOF'  # a file, as the DAG processor stores the text of a DAG
from datetime import datetime, timedelta
from importlib.metadata import version

from airflow import settings
from airflow.assets.manager import AssetManager
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import import_all_models
from airflow.models.asset import AssetModel, AssetPartitionDagRun
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG, Asset, BaseOperator, DayWindow, MinimumCount, PartitionedAssetTimetable, RollupMapper, StartOfDayMapper
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.db import synchronize_log_template
from sqlalchemy import func, select

import_all_models()
Base.metadata.create_all(settings.engine)
session = settings.Session()
synchronize_log_template(session=session)
session.add(DagBundleModel(name="dags"))
session.add(job := Job(job_type="SchedulerJob"))
session.flush()
NEW_YEAR = datetime(2026, 1, 1)
HOURS, SHOPS = Asset("hours"), Asset("shops")


def parsed(policy):
    """As the DAG processor writes two DAGs into the database: a day of 24 hours, and a shop."""
    day = RollupMapper(upstream_mapper=StartOfDayMapper(), window=DayWindow(), wait_policy=policy)
    schedules = {"day": PartitionedAssetTimetable(assets=HOURS, default_partition_mapper=day), "shop": PartitionedAssetTimetable(assets=SHOPS)}
    dags = []
    for dag_id, schedule in schedules.items():
        with DAG(dag_id, schedule=schedule) as dag:
            BaseOperator(task_id="publish")
        dags.append(LazyDeserializedDAG.from_dag(dag))
    update_dag_parsing_results_in_db("dags", None, dags, {}, None, set(), session)
    for model in session.scalars(select(DagModel)):
        model.is_paused = False
    session.commit()


def arrived(asset, *keys):
    model = session.scalar(select(AssetModel).where(AssetModel.name == asset.name))
    for key in keys:
        AssetManager().register_asset_change(asset=model, partition_key=key, session=session)
    session.commit()


def hour(day, number):
    return (NEW_YEAR + timedelta(days=day, hours=number)).isoformat()


def rounds(scheduler, count=3):
    """The runs that there are after some rounds of the scheduler, and the periods that wait."""
    for _ in range(count):
        scheduler._create_dagruns_for_partitioned_asset_dags(session)
        session.commit()
    waiting = session.scalar(select(func.count()).where(AssetPartitionDagRun.created_dag_run_id.is_(None)))
    return [f"{dag} {key}" for dag, key in session.execute(select(DagRun.dag_id, DagRun.partition_key).order_by(DagRun.id))], waiting


parsed(MinimumCount(24))
scheduler = SchedulerJobRunner(job)
seen = []
arrived(HOURS, *(hour(0, number) for number in range(24)))
seen.append(rounds(scheduler))
arrived(HOURS, hour(0, 2))  # this hour is cleared, and repeated
seen.append(rounds(scheduler))
arrived(HOURS, *(hour(day, 2) for day in range(1, 499)))  # of these days other hours have failed
arrived(SHOPS, "berlin")
seen.append(rounds(scheduler))
arrived(HOURS, hour(499, 2))
arrived(SHOPS, "oslo")
seen.append(rounds(scheduler))
parsed(MinimumCount(23))
seen.append(rounds(scheduler))
print("airflow-core", version("apache-airflow-core"))
what = ["a whole day", "one hour of it again", "498 days that lack an hour, then berlin", "one more, then oslo", "another rollup"]
for text, (runs, waiting) in zip(what, seen, strict=True):
    print(f"{text}: runs of {runs}, waiting: {waiting}")
assert seen == [
    (["day 2026-01-01"], 0),
    (["day 2026-01-01"], 1),
    (["day 2026-01-01", "shop berlin"], 499),
    (["day 2026-01-01", "shop berlin"], 501),
    (["day 2026-01-01", "shop berlin", "shop oslo"], 0),
]
EOF
venv/bin/python rollups.py 2>/dev/null | grep -v "\[info\|\[warning"
echo "AS DESCRIBED"
