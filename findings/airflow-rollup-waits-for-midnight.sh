#!/bin/bash
# The week of a night that starts at two o'clock never comes.
#
# Expected: RollupMapper(upstream_mapper=StartOfWeekMapper(), window=WeekWindow()) starts the week's run when its seven nights are there: the
#   mapper "normalizes each upstream key to the downstream granularity", as its docstring says, and Window's promises that a key
#   counts for a week if and only if the week waits for it.
# Happens: the week takes each key, and waits for seven others, which it calculates: 2026-11-23T00:00:00 and so on, each at midnight. By default
#   the keys of CronPartitionTimetable("0 2 * * *") are 2026-11-23T02:00:00 and so on. So all seven nights are there, none of them
#   counts, and the run is never made. Nothing is logged, as the policy does not see it ("unreachable" is False). An hourly asset at
#   30 past and DayWindow do the same. With key_format="%Y-%m-%d" at the timetable and input_format="%Y-%m-%d" at the mapper the
#   week is complete.
# Version: apache-airflow-core 3.3.2 (3.4.0b2 does the same); uv installs it (PyPI).
# Source: run here; airflow/partition_mappers: encode_upstream in temporal.py, RollupMapper in base.py, the docstring of Window in window.py.
#   The docs of rollups (authoring-and-scheduling/assets) warn of the hours that change with daylight saving time, and not of this.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
uv/bin/uv venv -q venv
uv/bin/uv pip install -q --python venv/bin/python apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2
venv/bin/python - 2>/dev/null <<'EOF'
from datetime import UTC, datetime
from importlib.metadata import version

from airflow.partition_mappers.base import RollupMapper
from airflow.partition_mappers.temporal import StartOfDayMapper, StartOfWeekMapper
from airflow.partition_mappers.window import DayWindow, WeekWindow
from airflow.timetables.trigger import CronPartitionTimetable

MONDAY, SUNDAY = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 29, 23, 59, tzinfo=UTC)


def complete(cron, mapper, window, **timetable):
    """Whether the keys that a timetable writes, of one week, complete all periods that they are counted for."""
    nights = CronPartitionTimetable(cron, timezone="UTC", **timetable)
    keys = {info.partition_key for info in nights.iter_partition_dagrun_infos(earliest=MONDAY, latest=SUNDAY)}
    rollup = RollupMapper(upstream_mapper=mapper, window=window)
    periods = {rollup.to_downstream(key) for key in keys}
    answers = [rollup.wait_policy.is_satisfied_by_keys(matched=keys, expected=rollup.to_upstream(period)) for period in periods]
    counted = sum(len(keys & rollup.to_upstream(period)) for period in periods)
    print(f"{cron}: {len(keys)} keys like {min(keys)}, for {min(periods)}: {counted} of them count; complete: {[a.satisfied for a in answers]}")
    assert not any(answer.unreachable for answer in answers)
    return len(keys), len(periods), counted, all(answer.satisfied for answer in answers)


print("airflow-core", version("apache-airflow-core"))
day = "%Y-%m-%d"
assert complete("0 0 * * *", StartOfWeekMapper(), WeekWindow()) == (7, 1, 7, True)
assert complete("0 2 * * *", StartOfWeekMapper(), WeekWindow()) == (7, 1, 0, False)
assert complete("0 2 * * *", StartOfWeekMapper(input_format=day), WeekWindow(), key_format=day) == (7, 1, 7, True)
assert complete("0 * * * *", StartOfDayMapper(), DayWindow()) == (168, 7, 168, True)
assert complete("30 * * * *", StartOfDayMapper(), DayWindow()) == (168, 7, 0, False)
EOF
echo "AS DESCRIBED"
