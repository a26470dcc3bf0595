"""The gallery on Airflow 3.4: rounds of a loop, which have one map index, and XComs from before the
upgrade.
"""

from __future__ import annotations

import html
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_seedream.gallery import rows
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.conftest import WATCHES, Visitor
from tests.gallery.stage import LINK_KEY, Database, land
from tests.gallery.xcom_tables import HAS_TRIES, dag_run_id, rows_of

pytestmark = pytest.mark.skipif(
    not HAS_TRIES, reason="Airflow has loops, and this table of XComs, from 3.4 on"
)
APP_LINK = re.compile(r'class="quiet app" href="([^"]+)"')
THUMB = re.compile(r'src="(/seedream/thumb/[^"]+)"')


def landed_in_rounds(database: Database, folder: Path, *places: TaskRef) -> None:
    for number, place in enumerate(places):
        database.returned(place, land(folder, place, name=f"pic{number}", prompt=f"watch {number}"))


class TestRounds:
    @pytest.mark.parametrize("map_index", [-1, 3])
    def test_each_round_is_a_card_whose_thumbnails_are_its_own(
        self, visitor: Visitor, database: Database, roots: Path, map_index: int
    ) -> None:
        places = [replace(WATCHES, loop_index=index, map_index=map_index) for index in range(3)]
        landed_in_rounds(database, roots / "watches", *places)
        browser = visitor("viewer")
        page = browser.get("/seedream/").text
        thumbs = THUMB.findall(page)
        assert len(thumbs) == 6
        assert len({browser.get(thumb.replace("&amp;", "&")).content for thumb in thumbs}) == 6
        assert all(f"round {number}<" in page for number in (1, 2, 3))

    def test_a_mapped_task_in_a_loop_shows_each_image_once(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        places = [
            replace(WATCHES, loop_index=index, map_index=mapped) for index in range(2) for mapped in range(2)
        ]
        landed_in_rounds(database, roots / "watches", *places)
        page = visitor("viewer").get("/seedream/").text
        assert page.count('<article class="card') == 4
        assert [row.place for row in rows.page(rows.Filter(dag_ids=["watches"]), limit=9)] == places[::-1]

    def test_the_page_of_a_task_shows_the_round_of_the_address_and_else_the_last_one(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        places = [replace(WATCHES, loop_index=index) for index in range(3)]
        landed_in_rounds(database, roots / "watches", *places)
        browser = visitor("viewer")
        for place, prompt in ((places[0], "watch 0"), (places[1], "watch 1"), (WATCHES, "watch 2")):
            assert f'title="{prompt}"' in browser.get(f"/{place.address('task')}").text

    @pytest.mark.parametrize("map_index", [-1, 3])
    def test_the_link_to_airflows_page_of_a_round_names_its_region_which_airflows_api_asks_for(
        self, visitor: Visitor, database: Database, roots: Path, map_index: int
    ) -> None:
        places = [replace(WATCHES, loop_index=index, map_index=map_index) for index in range(2)]
        landed_in_rounds(database, roots / "watches", *places, replace(WATCHES, task_id="outside"))
        browser = visitor("admin")
        links = [html.unescape(link) for link in APP_LINK.findall(browser.get("/seedream/").text)]
        assert [("?" in link, "/mapped/3" in link) for link in links] == [
            (False, False),
            *[(True, map_index == 3)] * 2,
        ]
        of_page = "/api/v2/dags/watches/dagRuns/manual__1/taskInstances/land/tries/1"
        answers = [browser.get(f"{of_page}?{link.partition('?')[2]}") for link in links[1:]]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert browser.get(of_page).status_code == 400  # as a link without a region ended
        for place, link in zip(places, links[:0:-1], strict=True):
            for page in ("task", "image"):
                assert link in html.unescape(browser.get(f"/{place.address(page)}").text)

    def test_a_round_that_does_not_exist_has_no_image(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        landed_in_rounds(database, roots / "watches", replace(WATCHES, loop_index=0))
        assert (
            visitor("viewer").get(f"/{replace(WATCHES, loop_index=1).address('image', 1)}").status_code == 404
        )
        assert visitor("viewer").get(f"/{WATCHES.address('image', 1)}?loop=x").status_code == 404

    def test_pages_go_on_in_the_middle_of_a_loop(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        places = [replace(WATCHES, loop_index=index) for index in range(5)]
        landed_in_rounds(database, roots / "watches", *places)
        first = rows.page(rows.Filter(dag_ids=["watches"]), limit=2)
        point = rows.Cursor.parse(str(first[-1].cursor))
        rest = rows.page(rows.Filter(dag_ids=["watches"]), limit=9, older_than=point)
        assert [row.place for row in (*first, *rest)] == places[::-1]


def test_a_task_that_ran_before_the_upgrade_is_shown_until_it_runs_again(
    visitor: Visitor, database: Database, roots: Path
) -> None:
    browser, at = visitor("viewer"), "2026-03-01 12:00:00.000000"
    value = land(roots / "watches", WATCHES, prompt="from before")
    database.returned(
        replace(WATCHES, task_id="other"), land(roots / "watches", WATCHES, name="new", prompt="from after")
    )
    [instance] = [
        row for table, row in rows_of(WATCHES, "", "", rows.datetime.now()) if table == "task_instance"
    ]
    ids = {name: instance[name] for name in ("dag_id", "run_id", "task_id")} | {"map_index": -1}
    with closing(sqlite3.connect(database.file)) as connection, connection:
        _insert(
            connection,
            "task_instance",
            {**instance, "id": instance["id"].hex, "region_id": instance["region_id"].hex},
        )
        _insert(connection, "legacy_task_data_owner", {**ids, "task_instance_id": instance["id"].hex})
        for key, text in (("return_value", value), (LINK_KEY, "x")):
            _insert(
                connection,
                "xcom_v1",
                {
                    **ids,
                    "dag_run_id": dag_run_id(WATCHES),
                    "key": key,
                    "value": json.dumps(text),
                    "timestamp": at,
                },
            )
    try:
        page = browser.get("/seedream/").text
        assert [prompt in page for prompt in ('title="from before"', 'title="from after"')] == [True, True]
        assert (
            browser.get(f"/{WATCHES.address('thumb', 1, sha256=value['images'][0]['sha256'])}").status_code
            == 200
        )
        with closing(sqlite3.connect(database.file)) as connection, connection:
            connection.execute(
                "UPDATE task_instance SET working_set = NULL WHERE id = ?", (instance["id"].hex,)
            )
        assert 'title="from before"' not in browser.get("/seedream/").text
    finally:
        with closing(sqlite3.connect(database.file)) as connection, connection:
            connection.execute("DELETE FROM xcom_v1")
            connection.execute("DELETE FROM legacy_task_data_owner")


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
    )
