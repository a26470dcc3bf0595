"""The pictures above an approval's buttons: markdown that Airflow renders, whatever is in the prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_seedream.gallery import approval_markdown
from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.links import SeedreamImagesLink
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.stage import land
from tests.unit.test_import_cost import HEAVY, imported_by, within

PLACE = TaskRef(
    dag_id="watches", run_id="manual__2026-03-01T00:00:00+00:00", task_id="group.land", map_index=3
)
PATH = "watches/manual__2026-03-01T00:00:00+00:00/group.land/3"


class TestTheMarkdown:
    def test_each_image_is_a_thumbnail_that_leads_to_its_page_below_the_prompt(self, tmp_path: Path) -> None:
        landed = land(tmp_path, PLACE, prompt="a watch")
        one, two = (image["sha256"] for image in landed["images"])
        assert approval_markdown(landed) == (
            "`a watch`\n\n"
            f"[![Image 1: a watch](seedream/thumb/{PATH}/1/{one})](seedream/image/{PATH}/1/{one}) "
            f"[![Image 2: a watch](seedream/thumb/{PATH}/2/{two})](seedream/image/{PATH}/2/{two})"
        )

    def test_the_value_and_the_dict_are_the_same(self, tmp_path: Path) -> None:
        landed = land(tmp_path, PLACE)
        assert approval_markdown(LandedGeneration.from_dict(landed)) == approval_markdown(landed)

    def test_a_mapped_sensors_list_is_one_section_each(self, tmp_path: Path) -> None:
        both = [land(tmp_path, PLACE, name=name, prompt=name) for name in ("red", "blue")]
        text = approval_markdown(both)
        assert [part for part in text.split("\n\n") if "!" not in part] == ["`red`", "`blue`"]

    @pytest.mark.parametrize(
        ("prompt", "shown"),
        [
            ("# [x](http://evil) ![y](z) <img>\n\n| *b*", "`# [x](http://evil) ![y](z) <img> | *b*`"),
            (
                "- see https://evil.example and www.evil.example &lt;",
                "`- see https://evil.example and www.evil.example &lt;`",
            ),
            ("a `code` here", "``a `code` here``"),
            ("`", "`` ` ``"),
        ],
    )
    def test_a_prompt_is_code_so_that_markdown_makes_nothing_of_it(
        self, prompt: str, shown: str, tmp_path: Path
    ) -> None:
        assert approval_markdown(land(tmp_path, PLACE, prompt=prompt, images=1)).split("\n\n")[0] == shown

    def test_images_that_did_not_come_are_said(self, tmp_path: Path) -> None:
        text = approval_markdown(land(tmp_path, PLACE, prompt="a watch", images=3, images_requested=4))
        assert text.split("\n\n")[1] == "Only 3 of 4 images came."

    def test_what_a_person_has_landed_is_shown_as_its_payers(self, tmp_path: Path) -> None:
        by_nobody = {
            **dict.fromkeys(("dag_id", "run_id", "task_id", "map_index", "try_number")),
            "command": "seedream land",
        }
        landed = land(tmp_path, PLACE, landed_by=by_nobody)
        assert f"(seedream/thumb/{PATH}/1/{landed['images'][0]['sha256']})" in approval_markdown(landed)

    def test_images_of_no_dag_are_an_error_as_nobody_could_see_them(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"hero\.json does not name the DAG"):
            approval_markdown(land(tmp_path, PLACE, landed_by={"command": "seedream land"}, made_by=None))

    def test_addresses_follow_the_base_path_as_they_have_no_leading_slash(self, tmp_path: Path) -> None:
        assert "](/" not in approval_markdown(land(tmp_path, PLACE))

    def test_a_missing_manifest_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        landed = land(tmp_path, PLACE)
        (tmp_path / "hero.json").unlink()
        with pytest.raises(ValueError, match=r"hero\.json is not there"):
            approval_markdown(landed)

    def test_importing_it_costs_a_dag_file_nothing_heavy(self) -> None:
        added = imported_by("airflow_provider_seedream.gallery")
        assert within(added, (*HEAVY, "fastapi", "jinja2", "airflow.api_fastapi")) == []


class TestTheLink:
    def test_it_leads_to_the_tasks_page_in_the_gallery(self) -> None:
        assert SeedreamImagesLink().get_link(None, ti_key=PLACE) == f"seedream/task/{PATH}"
