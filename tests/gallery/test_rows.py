"""The gallery's queries on PostgreSQL: what they find, and that their cost does not grow with other
people's XComs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_seedream.model.task_ref import TaskRef
from tests.airflow.postgres import find_binaries, postgres
from tests.gallery.conftest import airflow_tables
from tests.gallery.stage import LINK_KEY, NOON
from tests.gallery.xcom_tables import filling

pytestmark = pytest.mark.slow
OURS, OTHERS, FAILED = 20_000, 200_000, 2_000


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """20,000 results of ours among 200,000 others: a submission a minute, each landed within the next."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with (
        postgres(binaries) as url,
        airflow_tables(url, passwords=tmp_path_factory.mktemp("auth") / "passwords.json"),
    ):
        put(
            [
                xcom(TaskRef(dag_id="other", run_id=f"r{n}", task_id="t"), "return_value", {"n": n}, n)
                for n in range(OTHERS)
            ]
        )
        put([row for n in range(0, OURS, 2) for row in generation(n)])
        put(
            [
                xcom(TaskRef(dag_id="watches", run_id=f"failed-{n}", task_id="land"), LINK_KEY, "x", OURS + n)
                for n in range(FAILED)
            ]
        )
        yield


class TestOnPostgres:
    def test_pages_follow_each_other_without_a_gap_and_without_a_double(self, filled: None) -> None:
        from airflow_provider_seedream.gallery import rows

        first = rows.page(rows.Filter(dag_ids=["watches"]), limit=300)
        second = rows.page(rows.Filter(dag_ids=["watches"]), limit=300, older_than=first[-1].cursor)
        places = [row.place for row in (*first, *second)]
        assert len(set(places)) == 600
        assert [row.cursor.at for row in (*first, *second)] == sorted(
            (row.cursor.at for row in (*first, *second)), reverse=True
        )
        back = rows.page(rows.Filter(dag_ids=["watches"]), limit=300, newer_than=second[0].cursor)
        assert [row.place for row in back] == [row.place for row in reversed(first)]

    def test_a_page_is_what_sorting_all_tasks_would_give(self, filled: None) -> None:
        from airflow.utils.session import create_session

        from airflow_provider_seedream.gallery import rows

        wanted = rows.Filter(dag_ids=["watches"])
        with create_session(scoped=False) as session:
            [table] = rows.tables(session, LINK_KEY)
            found = rows._rows(session, table, rows._tasks(table, wanted, None, None), OURS)
        everything = sorted(found, key=lambda row: rows.order_of(row.cursor), reverse=True)
        assert len(everything) == OURS
        for at in (0, 150, 7_000, OURS - 40):
            older = rows.page(wanted, limit=90, older_than=everything[at].cursor)
            assert [row.place for row in older] == [row.place for row in everything[at + 1 : at + 91]]
            newer = rows.page(wanted, limit=90, newer_than=everything[at].cursor)
            assert [row.place for row in reversed(newer)] == [
                row.place for row in everything[max(at - 90, 0) : at]
            ]

    def test_filters_take_percent_signs_and_underscores_as_letters(self, filled: None) -> None:
        from airflow_provider_seedream.gallery import rows

        found = {
            run: len(rows.page(rows.Filter(dag_ids=["watches"], run=run), limit=5))
            for run in ("run-4", "run_4", "%")
        }
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
            took = []
            for _ in range(5):  # the quickest: other tests want the same cores for a moment
                start = time.perf_counter()
                call()
                took.append(time.perf_counter() - start)
            seconds[name] = min(took)
        print(seconds)
        assert max(seconds.values()) < 1.0


def place_of(number: int) -> tuple[TaskRef, TaskRef]:
    run = {"dag_id": "watches", "run_id": f"run-{number}"}
    return TaskRef(**run, task_id="submit"), TaskRef(**run, task_id="land")


def generation(number: int) -> Iterator[tuple[TaskRef, str, Any, datetime]]:
    """The four XComs of a submission and its landing."""
    for place, more in zip(
        place_of(number), ({"record": None}, {"manifest": "s3://bucket/x.json"}), strict=True
    ):
        yield xcom(
            place, "return_value", {"schema_version": 1, "seedream_task_id": f"id-{number}", **more}, number
        )
        yield xcom(place, LINK_KEY, "x", number)


def xcom(place: TaskRef, key: str, value: Any, number: int) -> tuple[TaskRef, str, Any, datetime]:
    return place, key, value, NOON + timedelta(seconds=number // 3)  # several at the same time, as it happens


def put(xcoms: Iterable[tuple[TaskRef, str, Any, datetime]]) -> None:
    with filling() as rows:
        for one in xcoms:
            rows.add(*one)
