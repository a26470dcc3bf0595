"""One broken item is one broken card: the page goes on, whatever somebody has written into a manifest, a
table or an XCom.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.conftest import WATCHES, Visitor
from tests.gallery.stage import Database, land

OTHER = TaskRef(dag_id="watches", run_id="manual__0", task_id="land")
DEEP = 20_000


@pytest.fixture
def beside_a_good_one(visitor: Visitor, database: Database, roots: Path) -> None:
    database.returned(OTHER, land(roots / "watches", OTHER, name="good", prompt="a good watch"))


def the_good_one_is_shown(visitor: Visitor) -> str:
    page = visitor("viewer").get("/seedream/")
    assert (page.status_code, "a good watch" in page.text) == (200, True)
    return str(page.text)


@pytest.mark.usefixtures("beside_a_good_one")
class TestAManifest:
    @pytest.mark.parametrize(
        "text",
        [
            "[" * DEEP + "]" * DEEP,
            '{"a":' * DEEP + "1" + "}" * DEEP,
            '{"schema_version": 1, "images": ' + "[" * DEEP + "]" * DEEP + "}",
            "1" * 5000,
            "",
            "\x00",
        ],
    )
    def test_a_manifest_that_is_no_json_of_ours_says_so(
        self, text: str, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(WATCHES, land(roots / "watches", WATCHES))
        (roots / "watches" / "hero.json").write_text(text)
        assert "Its manifest is not one of ours" in the_good_one_is_shown(visitor)

    @pytest.mark.parametrize(
        "change",
        [
            {"submission": {"prompt": "half \ud800 a pair"}},
            {"landed_at": "0001-01-01T00:00:00+14:00"},
            {"created_at": "9999-12-31T23:59:59-14:00"},
            {"landed_at": 7},
            {"credits": 10**400},
            {"images_requested": 10**30},
        ],
    )
    def test_a_manifest_with_an_odd_value_is_shown_all_the_same(
        self, change: dict[str, Any], visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(WATCHES, land(roots / "watches", WATCHES))
        edit(roots / "watches" / "hero.json", change)
        the_good_one_is_shown(visitor)
        assert visitor("viewer").get(f"/{WATCHES.address('image', 1)}").status_code == 200

    @pytest.mark.parametrize(
        "change", [{"width": 10**400}, {"size_bytes": 10**20}, {"sha256": None}, {"file": "\ud800.png"}]
    )
    def test_a_manifest_with_an_impossible_image_is_none(
        self, change: dict[str, Any], visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(WATCHES, land(roots / "watches", WATCHES))
        fields = json.loads((roots / "watches" / "hero.json").read_text())
        fields["images"][0].update(change)
        (roots / "watches" / "hero.json").write_text(json.dumps(fields))
        assert "is not that of this generation" in the_good_one_is_shown(visitor)


@pytest.mark.usefixtures("beside_a_good_one")
class TestAnXCom:
    @pytest.mark.parametrize(
        "value",
        [
            {
                "__classname__": "airflow.sdk.definitions.asset.Asset",
                "__version__": 1,
                "__data__": {"uri": "x"},
            },
            {
                "schema_version": 1,
                "seedream_task_id": "\ud800",
                "manifest": "\ud800",
                "images": [],
                "credits": None,
            },
            [[[[{"manifest": 1}]]]],
            '"' * 9,
        ],
    )
    def test_an_xcom_that_is_odd_costs_nothing_but_itself(
        self, value: Any, visitor: Visitor, database: Database
    ) -> None:
        database.returned(WATCHES, value)
        the_good_one_is_shown(visitor)

    def test_an_xcom_nested_deeper_than_json_can_be_read_costs_nothing_but_itself(
        self, visitor: Visitor, database: Database
    ) -> None:
        database.returned(WATCHES, "[" * DEEP + "]" * DEEP)
        the_good_one_is_shown(visitor)


@pytest.mark.usefixtures("beside_a_good_one")
class TestATable:
    @pytest.mark.parametrize(
        "line", ["[" * DEEP + "]" * DEEP, '{"row": 1, "status": ["landed"]}', '{"row": 1e999}', "null"]
    )
    def test_a_table_with_an_odd_line_shows_its_other_rows(
        self, line: str, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        batch = TaskRef(dag_id="watches", run_id="manual__1", task_id="batch")
        land(roots / "night", batch, name="row2", prompt="the second row")
        fine = json.dumps({"row": 2, "status": "landed", "name": "row2", "images": [{"uri": "x"}]})
        (roots / "night" / "results.jsonl").write_text(f"{line}\n{fine}\n")
        summary = {
            "schema_version": 1,
            "rows": 2,
            "count": {"landed": 1},
            "results": (roots / "night" / "results.jsonl").as_uri(),
        }
        database.returned(batch, summary)
        the_good_one_is_shown(visitor)
        assert "the second row" in visitor("viewer").get(f"/{batch.address('task')}").text


def edit(manifest: Path, change: dict[str, Any]) -> None:
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
