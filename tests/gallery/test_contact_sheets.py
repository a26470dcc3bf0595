"""The contact sheets of a batch: pages of pictures with options, and exactly the chosen images come out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, task

from airflow_provider_seedream.gallery import chosen_rows, contact_sheets
from airflow_provider_seedream.gallery.contact_sheets import ALL, NONE
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.airflow.runner import Runner
from tests.gallery.conftest import Visitor
from tests.gallery.stage import Database, land

BATCH = TaskRef(dag_id="watches", run_id="manual__1", task_id="images")
TINY = (8, 8)
JOINER = "\u2060"


class Table:
    """A table of results that grows row by row, with the folder that a batch leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[dict[str, Any]] = []

    def landed(
        self,
        *,
        images: int = 1,
        place: TaskRef = BATCH,
        prompt: str = "",
        landed: dict[str, Any] | None = None,
        **columns: Any,
    ) -> Table:
        name, words = f"row{len(self.lines) + 1}", prompt or f"watch {len(self.lines) + 1}"
        fields = {
            "name": name,
            "prompt": words,
            "images": images,
            "size": TINY,
            "thumbnails": False,
            **(landed or {}),
        }
        value = land(self.folder, place, **fields)
        uris = [image["uri"] for image in value["images"]]
        return self._add(
            "landed",
            name=name,
            prompt=words,
            images=uris,
            manifest=value["manifest"],
            credits=10 * images,
            **columns,
        )

    def without_images(self, status: str, detail: str | None = None, **columns: Any) -> Table:
        return self._add(
            status,
            name=None,
            prompt="a walrus",
            images=[],
            manifest=None,
            credits=0,
            detail=detail,
            **columns,
        )

    def _add(self, status: str, **fields: Any) -> Table:
        line = {
            "row": len(self.lines) + 1,
            "status": status,
            "detail": None,
            "image_size": "square",
            "seed": None,
            **fields,
        }
        self.lines.append(line)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "results.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in self.lines))
        return self

    @property
    def uri(self) -> str:
        return f"{self.folder.as_uri()}/results.jsonl"

    def sheets(self, **how: Any) -> list[dict[str, Any]]:
        return contact_sheets(self.uri, **how)

    def chosen(self, *answers: list[str], **how: Any) -> list[dict[str, Any]]:
        return chosen_rows(self.uri, self.sheets(**how), [{"chosen_options": answer} for answer in answers])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "night")


def pictures(sheet: dict[str, Any]) -> int:
    return int(sheet["body"].count("](seedream/thumb/"))


class TestTheSheets:
    def test_a_single_image_is_one_page_with_its_row_its_columns_and_its_options(self, table: Table) -> None:
        [sheet] = table.landed(prompt="a watch", sku="W-100", colour=None).sheets(label="sku")
        assert sheet["subject"] == "Which of these images are to be published?"
        assert sheet["options"][:2] == [ALL, NONE]
        assert re.fullmatch(r"1 · W-100 · [0-9a-f]{6}", sheet["options"][2])
        assert sheet["body"].startswith("1 row: 1 landed. 10 credits.\n\n| 1 · W\\-100 · ")
        assert (
            pictures(sheet),
            "| a watch · sku: W\\-100 |" in sheet["body"],
            "colour" in sheet["body"],
        ) == (1, True, False)
        assert "Rows without a picture" not in sheet["body"]

    def test_200_rows_are_pages_that_fit_the_smallest_text_column_of_airflows_databases(
        self, table: Table
    ) -> None:
        for row in range(200):
            table.landed(
                prompt=f"{row} {'an extraordinarily long prompt ' * 40}", sku=f"W-{row}", notes="n" * 1000
            )
        sheets = table.sheets(label="sku")
        assert [pictures(sheet) for sheet in sheets] == [24] * 8 + [8]
        assert sheets[1]["subject"].endswith("(page 2 of 9)")
        assert len({option for sheet in sheets for option in sheet["options"]}) == 202
        assert max(len(sheet["body"].encode()) for sheet in sheets) < 65_535 / 2

    def test_a_row_of_three_images_has_three_options_and_two_rows_of_one_prompt_are_two(
        self, table: Table
    ) -> None:
        table.landed(images=3, prompt="a watch").landed(prompt="a watch")
        [sheet] = table.sheets()
        assert [option.split(" · ")[0] for option in sheet["options"][2:]] == ["1.1", "1.2", "1.3", "2"]

    def test_rows_without_a_picture_are_named_with_the_reason_on_the_first_page_alone(
        self, table: Table
    ) -> None:
        table.landed().without_images(
            "moderated", "refused by the [safety](http://evil) checker"
        ).without_images("skipped_budget").landed()
        first, second = table.sheets(per_page=1)
        assert first["body"].startswith("4 rows: 2 landed, 1 moderated, 1 skipped budget. 20 credits.")
        reason = r"refused by the \[safety\](http://evil) checker"
        assert f"- Row 2: moderated: {reason}\n- Row 3: skipped budget" in first["body"].replace(JOINER, "")
        assert "Row 2" not in second["body"]

    def test_a_thousand_rows_without_a_picture_are_named_in_part(self, table: Table) -> None:
        table.landed()
        table.lines += [
            {"row": row, "status": "skipped_budget", "credits": 0, "images": []} for row in range(2, 1002)
        ]
        table.landed()
        assert "- Rows 2, 3, 4," in table.sheets()[0]["body"]
        assert ", 20, 21 and 980 more: skipped budget" in table.sheets()[0]["body"]

    def test_a_row_whose_manifest_is_gone_keeps_no_other_from_being_shown(self, table: Table) -> None:
        table.landed().landed()
        (table.folder / "row1.json").unlink()
        [sheet] = table.sheets()
        assert (pictures(sheet), len(sheet["options"])) == (1, 3)
        assert "Row 1: cannot be shown" in sheet["body"]

    def test_a_night_without_an_image_has_no_page(self, table: Table) -> None:
        assert table.without_images("failed", "out of paint").sheets() == []

    def test_images_that_did_not_come_are_said(self, table: Table) -> None:
        [sheet] = table.landed(images=2, landed={"images_requested": 3}).sheets()
        assert "Only 2 of 3 images came." in sheet["body"]

    def test_words_from_the_table_make_no_link_no_cell_and_no_template(self, table: Table) -> None:
        """A bar ends a cell, and what expand_kwargs maps is rendered by Jinja, of an XCom too."""
        table.landed(prompt="{{ 1/0 }} a | b {% x %} {# y #} www.evil.example", sku="{{ 7 }} | c")
        with DAG("rendered", schedule=None) as dag:

            @task
            def sheets() -> list[dict[str, Any]]:
                return contact_sheets(table.uri, label="sku")

            HITLOperator.partial(task_id="choose", multiple=True).expand_kwargs(sheets())
        runner = Runner()
        [sheet] = runner.run(dag.get_task("sheets")).value
        question = runner.ask(dag.get_task("choose"), map_index=0)
        assert question["body"] == sheet["body"]
        header, rule, *cells = re.findall(r"^\|.*\|$", sheet["body"], re.MULTILINE)
        assert [line.replace(r"\|", "").count("|") for line in (header, rule, *cells)] == [4] * 4
        assert "{{ 1/0 }} a" in sheet["body"].replace(JOINER, "")
        assert "www.evil" not in sheet["body"]

    def test_a_table_that_is_none_is_an_error_that_names_it(self, table: Table, tmp_path: Path) -> None:
        (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
        with pytest.raises(ValueError, match=r"other\.jsonl is no table of results"):
            contact_sheets(f"{tmp_path.as_uri()}/other.jsonl")
        with pytest.raises(ValueError, match=r"missing\.jsonl is not there"):
            contact_sheets(f"{tmp_path.as_uri()}/missing.jsonl")
        with pytest.raises(ValueError, match="what a batch returned"):
            contact_sheets({"schema_version": 1})

    def test_the_summary_of_a_batch_is_taken_as_well(self, table: Table) -> None:
        table.landed()
        assert contact_sheets({"results": table.uri}) == table.sheets()


class TestTheChoice:
    def test_exactly_the_chosen_images_of_a_row_come_out_with_its_own_columns(self, table: Table) -> None:
        table.landed(sku="A").landed(images=3, sku="B").landed(sku="C")
        options = table.sheets()[0]["options"][2:]
        rows = table.chosen([options[3], options[1], options[4]])
        assert [(row["sku"], [Path(uri).name for uri in row["images"]]) for row in rows] == [
            ("B", ["row2_1.png", "row2_3.png"]),
            ("C", ["row3_1.png"]),
        ]

    def test_all_means_the_page_and_none_means_none_of_it(self, table: Table) -> None:
        table.landed(sku="A").landed(sku="B").landed(sku="C")
        assert [row["sku"] for row in table.chosen([ALL], [NONE], per_page=2)] == ["A", "B"]
        assert [row["sku"] for row in table.chosen([ALL], [ALL], per_page=2)] == ["A", "B", "C"]
        assert table.chosen([NONE], [NONE], per_page=2) == []

    def test_none_beside_an_image_publishes_nothing(self, table: Table) -> None:
        options = table.landed().sheets()[0]["options"]
        with pytest.raises(ValueError, match="unclear"):
            table.chosen([NONE, options[2]])

    def test_an_image_that_was_replaced_after_the_question_is_not_published(self, table: Table) -> None:
        sheets = table.landed().sheets()
        land(table.folder, BATCH, name="row1", prompt="another one", images=1, size=TINY)
        with pytest.raises(ValueError, match="not the one that was shown") as error:
            chosen_rows(table.uri, sheets, {"chosen_options": sheets[0]["options"][2:]})
        assert "Nothing was published. Clear the task that makes the contact sheets" in str(error.value)

    def test_a_row_that_landed_again_is_published_if_its_image_is_the_same(self, table: Table) -> None:
        """A missing second image may come later, and another task may land the row again."""
        sheets = table.landed(landed={"images_requested": 2}).sheets()
        land(table.folder, BATCH, name="row1", prompt="watch 1", images=2, size=TINY, thumbnails=False)
        [row] = chosen_rows(table.uri, sheets, {"chosen_options": sheets[0]["options"][2:]})
        assert [Path(uri).name for uri in row["images"]] == ["row1_1.png"]

    def test_a_missing_answer_publishes_nothing(self, table: Table) -> None:
        table.landed().landed()
        with pytest.raises(ValueError, match="2 contact sheets and 1 answers"):
            table.chosen([ALL], per_page=1)

    def test_an_answer_that_is_no_option_publishes_nothing(self, table: Table) -> None:
        with pytest.raises(ValueError, match="no option"):
            table.landed().chosen(["Approve"])


class TestThePictures:
    def test_each_leads_to_its_row_in_the_gallery_where_the_batch_is(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        table = Table(roots / "night").landed(images=2).landed()
        database.returned(
            BATCH, {"schema_version": 1, "results": table.uri, "rows": 2, "count": {"landed": 2}}
        )
        addresses = re.findall(r"\((seedream/(?:thumb|image)/[^)]+)\)", table.sheets()[0]["body"])
        assert [visitor("viewer").get(f"/{address}").status_code for address in addresses] == [200] * 6

    def test_those_of_a_row_that_another_run_landed_are_found_by_the_run_that_asks(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        """With reuse="content" an earlier run has paid and landed; its own XComs may be gone by now."""
        earlier = TaskRef(dag_id="watches", run_id="manual__0", task_id="images")
        table = Table(roots / "night").landed(place=earlier)
        database.returned(
            BATCH, {"schema_version": 1, "results": table.uri, "rows": 1, "count": {"landed": 1}}
        )
        with DAG("watches", schedule=None) as dag:

            @task
            def sheets() -> list[dict[str, Any]]:
                return table.sheets()

            sheets()
        [sheet] = Runner(run_id="manual__1").run(dag.get_task("sheets")).value
        addresses = re.findall(r"\((seedream/(?:thumb|image)/[^)]+)\)", sheet["body"])
        assert [visitor("viewer").get(f"/{address}").status_code for address in addresses] == [200] * 2
