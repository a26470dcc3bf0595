"""The page of an asset: the images whose tasks have announced it, and of these the ones that the user may
see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.utils.session import create_session
from sqlalchemy import delete

from airflow_provider_seedream.gallery import xcoms
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.conftest import WATCHES, Visitor
from tests.gallery.stage import NOON, Database, land
from tests.gallery.xcom_tables import HAS_TRIES, rows_of

SHOES = TaskRef(dag_id="shoes", run_id="manual__1", task_id="land")
TITLE = re.compile(r'<p class="prompt" dir="auto" title="([^"]*)"')
OLDER = re.compile(r'rel="next" href="([^"]+)"')
Announce = Callable[..., None]


@pytest.fixture
def announce(visitor: Visitor) -> Iterator[Announce]:
    """Writes an event of an asset as Airflow does when a task has succeeded."""
    with create_session(scoped=False) as session:
        session.execute(delete(AssetEvent))
        session.execute(delete(AssetModel))
        session.add_all(
            AssetModel(id=number, name=f"asset {number}", uri=f"s3://bucket/{number}", group="asset")
            for number in (1, 2)
        )

    def announce(place: TaskRef | None, asset_id: int = 1, **extra: Any) -> None:
        source: dict[str, Any] = {}
        if place:
            source = {
                f"source_{name}": getattr(place, name)
                for name in ("dag_id", "run_id", "task_id", "map_index")
            }
            if HAS_TRIES:
                rows = dict(rows_of(place, "", "", NOON))
                source["source_task_instance_id"] = rows["task_instance"]["id"]
        with create_session(scoped=False) as session:
            session.add(
                AssetEvent(asset_id=asset_id, extra=extra, timestamp=NOON + timedelta(seconds=1), **source)
            )

    yield announce
    with create_session(scoped=False) as session:
        session.execute(delete(AssetEvent))
        session.execute(delete(AssetModel))


def landed(database: Database, folder: Path, place: TaskRef, prompt: str) -> dict[str, Any]:
    value = land(folder / place.dag_id, place, name=prompt.replace(" ", "-"), prompt=prompt)
    database.returned(place, value)
    return value


class TestThePage:
    def test_it_shows_the_tasks_that_have_announced_the_asset_newest_first(
        self, visitor: Visitor, database: Database, roots: Path, announce: Announce
    ) -> None:
        places = [
            WATCHES,
            replace(WATCHES, task_id="other"),
            replace(WATCHES, map_index=2),
            replace(WATCHES, run_id="manual__2"),
        ]
        for number, place in enumerate([*places, SHOES]):
            landed(database, roots, place, f"picture {number}")
        for place in (places[3], WATCHES, places[2], places[2], SHOES):
            announce(place)
        announce(places[1], asset_id=2)
        announce(None)  # by Airflow's API: no task has made it
        page = visitor("viewer").get("/seedream/asset/1").text
        assert TITLE.findall(page) == ["picture 4", "picture 3", "picture 2", "picture 0"]
        assert all(words in page for words in ("asset 1", "s3://bucket/1"))
        assert TITLE.findall(visitor("viewer").get("/seedream/asset/2").text) == ["picture 1"]

    def test_the_asset_of_one_image_shows_that_image(
        self, visitor: Visitor, database: Database, roots: Path, announce: Announce
    ) -> None:
        value = landed(database, roots, WATCHES, "two pictures")
        announce(WATCHES, sha256=value["images"][1]["sha256"])
        browser = visitor("viewer")
        page = browser.get("/seedream/asset/1").text
        assert re.findall(r"/thumb/watches/manual__1/land/-1/(\d)", page) == ["2"]
        announce(WATCHES, sha256=[1], more="odd")
        assert browser.get("/seedream/asset/1").text.count("/thumb/") == 1

    def test_without_images_a_sentence_says_how_they_come(
        self, visitor: Visitor, announce: Announce, database: Database
    ) -> None:
        announce(WATCHES)  # its task has no result any more
        for number in (1, 2, 77):
            page = visitor("viewer").get(f"/seedream/asset/{number}")
            assert (
                page.status_code,
                "No images of this asset" in page.text,
                "in its outlets" in page.text,
            ) == (200, True, True)

    def test_pages_go_on_where_the_last_one_ended(
        self, visitor: Visitor, database: Database, roots: Path, announce: Announce
    ) -> None:
        value = land(roots / "watches", WATCHES, prompt="many")
        for number in range(30):
            place = replace(WATCHES, map_index=number)
            database.returned(place, value)
            announce(place)
        browser = visitor("viewer")
        first = browser.get("/seedream/asset/1").text
        [older] = OLDER.findall(first)
        rest = browser.get(f"/seedream/asset/1{older.replace('&amp;', '&')}").text
        assert (
            first.count('<article class="card'),
            rest.count('<article class="card'),
            OLDER.findall(rest),
        ) == (24, 6, [])

    def test_it_asks_for_the_newest_events_alone(
        self,
        visitor: Visitor,
        database: Database,
        roots: Path,
        announce: Announce,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(xcoms, "_MOST_EVENTS", 2)
        for number in range(4):
            place = replace(WATCHES, map_index=number)
            landed(database, roots, place, f"picture {number}")
            announce(place)
        assert TITLE.findall(visitor("viewer").get("/seedream/asset/1").text) == ["picture 3", "picture 2"]

    @pytest.mark.skipif(not HAS_TRIES, reason="Airflow has loops from 3.4 on")
    def test_of_a_loop_it_shows_the_rounds_that_have_announced_the_asset(
        self, visitor: Visitor, database: Database, roots: Path, announce: Announce
    ) -> None:
        places = [replace(WATCHES, loop_index=number) for number in range(3)]
        for number, place in enumerate(places):
            landed(database, roots, place, f"round {number}")
        announce(places[0])
        announce(places[2])
        assert TITLE.findall(visitor("viewer").get("/seedream/asset/1").text) == ["round 2", "round 0"]


class TestWhoMay:
    def test_a_user_sees_the_images_of_the_dags_that_he_may_read(
        self, visitor: Visitor, database: Database, roots: Path, announce: Announce
    ) -> None:
        for place, prompt in ((WATCHES, "a watch"), (SHOES, "a shoe")):
            landed(database, roots, place, prompt)
            announce(place)
        seen = {
            user: TITLE.findall(visitor(user).get("/seedream/asset/1").text)
            for user in ("viewer", "only-watches", "only-shoes", "no-xcoms")
        }
        assert seen == {
            "viewer": ["a shoe", "a watch"],
            "only-watches": ["a watch"],
            "only-shoes": ["a shoe"],
            "no-xcoms": [],
        }

    @pytest.mark.parametrize(("user", "status"), [(None, 401), ("no-assets", 403), ("viewer", 200)])
    def test_the_asset_has_airflows_own_guard(
        self, user: str | None, status: int, visitor: Visitor, announce: Announce
    ) -> None:
        assert visitor(user).get("/seedream/asset/1").status_code == status

    @pytest.mark.parametrize("number", ["0", "-1", "x", "4294967296", "9" * 5000, "%D9%A1"])
    def test_a_number_that_no_asset_has_is_no_page(
        self, number: str, visitor: Visitor, announce: Announce
    ) -> None:
        assert visitor("admin").get(f"/seedream/asset/{number}").status_code == 404
