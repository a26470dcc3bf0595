"""The gallery's queries on PostgreSQL: what they find, and that their cost does not grow with other people's XComs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zlib import crc32

import pytest
from sqlalchemy import insert, text

from airflow_provider_seedream.model.task_ref import TaskRef
from tests.airflow.postgres import find_binaries, postgres
from tests.gallery.conftest import airflow_tables
from tests.gallery.stage import LINK_KEY, NOON

pytestmark = pytest.mark.slow
OURS, OTHERS, FAILED = 20_000, 200_000, 2_000
RUNS = """
    INSERT INTO dag_run (id, dag_id, run_id, run_type, state, run_after, end_date)
    SELECT dag_run_id, min(dag_id), min(run_id), 'scheduled', 'success', min(timestamp), max(timestamp) FROM xcom
    GROUP BY dag_run_id ON CONFLICT DO NOTHING
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """20,000 results of ours among 200,000 others: a submission a minute, each landed within the next."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres(binaries) as url, airflow_tables(url, passwords=tmp_path_factory.mktemp("auth") / "passwords.json"):
        put([xcom(TaskRef(dag_id="other", run_id=f"r{n}", task_id="t"), "return_value", {"n": n}, n) for n in range(OTHERS)])
        put([row for n in range(0, OURS, 2) for row in generation(n)])
        put([xcom(TaskRef(dag_id="watches", run_id=f"failed-{n}", task_id="land"), LINK_KEY, "x", OURS + n) for n in range(FAILED)])
        yield


class TestOnPostgres:
    def test_pages_follow_each_other_without_a_gap_and_without_a_double(self, filled: None) -> None:
        from airflow_provider_seedream.gallery import rows

        first = rows.page(rows.Filter(dag_ids=["watches"]), limit=300)
        second = rows.page(rows.Filter(dag_ids=["watches"]), limit=300, older_than=first[-1].cursor)
        places = [row.place for row in (*first, *second)]
        assert len(set(places)) == 600
        assert [row.cursor.at for row in (*first, *second)] == sorted((row.cursor.at for row in (*first, *second)), reverse=True)
        back = rows.page(rows.Filter(dag_ids=["watches"]), limit=300, newer_than=second[0].cursor)
        assert [row.place for row in back] == [row.place for row in reversed(first)]

    def test_a_page_is_what_sorting_all_tasks_would_give(self, filled: None) -> None:
        from airflow.utils.session import create_session

        from airflow_provider_seedream.gallery import rows

        wanted = rows.Filter(dag_ids=["watches"])
        with create_session(scoped=False) as session:
            everything = sorted(
                rows._rows(session, rows._tasks(wanted, None, None), OURS), key=lambda row: rows.order_of(row.cursor), reverse=True
            )
        assert len(everything) == OURS
        for at in (0, 150, 7_000, OURS - 40):
            older = rows.page(wanted, limit=90, older_than=everything[at].cursor)
            assert [row.place for row in older] == [row.place for row in everything[at + 1 : at + 91]]
            newer = rows.page(wanted, limit=90, newer_than=everything[at].cursor)
            assert [row.place for row in reversed(newer)] == [row.place for row in everything[max(at - 90, 0) : at]]

    def test_filters_take_percent_signs_and_underscores_as_letters(self, filled: None) -> None:
        from airflow_provider_seedream.gallery import rows

        found = {run: len(rows.page(rows.Filter(dag_ids=["watches"], run=run), limit=5)) for run in ("run-4", "run_4", "%")}
        assert found == {"run-4": 5, "run_4": 0, "%": 0}

    def test_what_was_landed_is_found_within_its_runs(self, filled: None) -> None:
        from airflow_provider_seedream.gallery import rows

        submit, land = place_of(100)
        row, other = rows.find(submit), rows.find(place_of(102)[0])
        assert row is not None
        assert other is not None
        assert rows.landed_ids({row.cursor.dag_run_id}, {"id-100", "id-102"}) == {"id-100"}
        assert (rows.find(land) or row).value["manifest"] == "s3://bucket/x.json"

    def test_a_page_takes_a_fraction_of_a_second(self, filled: None) -> None:
        from airflow_provider_seedream.gallery import rows

        seconds = {}
        for name, call in {
            "the DAGs": rows.dag_ids,
            "the newest": lambda: rows.page(rows.Filter(dag_ids=["watches"]), limit=200),
            "one task": lambda: rows.find(place_of(100)[1]),
        }.items():
            start = time.perf_counter()
            call()
            seconds[name] = time.perf_counter() - start
        print(seconds)
        assert max(seconds.values()) < 1.0


def place_of(number: int) -> tuple[TaskRef, TaskRef]:
    run = {"dag_id": "watches", "run_id": f"run-{number}"}
    return TaskRef(**run, task_id="submit"), TaskRef(**run, task_id="land")


def generation(number: int) -> Iterator[dict[str, Any]]:
    """The four XComs of a submission and its landing."""
    for place, more in zip(place_of(number), ({"record": None}, {"manifest": "s3://bucket/x.json"}), strict=True):
        yield xcom(place, "return_value", {"schema_version": 1, "seedream_task_id": f"id-{number}", **more}, number)
        yield xcom(place, LINK_KEY, "x", number)


def xcom(place: TaskRef, key: str, value: Any, number: int) -> dict[str, Any]:
    return {
        "dag_run_id": crc32(f"{place.dag_id} {place.run_id}".encode()) % 2**31,
        "dag_id": place.dag_id,
        "run_id": place.run_id,
        "task_id": place.task_id,
        "map_index": -1,
        "key": key,
        "value": value,
        "timestamp": NOON + timedelta(seconds=number // 3),  # several at the same time, as it happens
    }


def put(rows: list[dict[str, Any]]) -> None:
    from airflow import settings
    from airflow.models.xcom import XComModel

    with settings.engine.begin() as connection:
        connection.execute(text("SET session_replication_role = replica"))  # no task instances, so no foreign keys
        for start in range(0, len(rows), 10_000):
            connection.execute(insert(XComModel.__table__), rows[start : start + 10_000])
        connection.execute(text(RUNS))
        connection.execute(text("SET session_replication_role = DEFAULT"))
    with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE xcom"))
