"""The pictures above an approval's buttons: markdown that Airflow renders, whatever is in the prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_seedream.gallery import approval_markdown
from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.links import SeedreamImagesLink
from airflow_provider_seedream.model.task_ref import Place
from tests.gallery.stage import land
from tests.unit.test_import_cost import HEAVY, imported_by, within

PLACE = Place(dag_id="watches", run_id="manual__2026-03-01T00:00:00+00:00", task_id="group.land", map_index=3)
PATH = "watches/manual__2026-03-01T00:00:00+00:00/group.land/3"


class TestTheMarkdown:
    def test_each_image_is_a_thumbnail_that_leads_to_its_page_below_the_prompt(self, tmp_path: Path) -> None:
        assert approval_markdown(land(tmp_path, PLACE, prompt="a watch")) == (
            "a watch\n\n"
            f"[![Image 1: a watch](seedream/thumb/{PATH}/1)](seedream/image/{PATH}/1) "
            f"[![Image 2: a watch](seedream/thumb/{PATH}/2)](seedream/image/{PATH}/2)"
        )

    def test_the_value_and_the_dict_are_the_same(self, tmp_path: Path) -> None:
        landed = land(tmp_path, PLACE)
        assert approval_markdown(LandedGeneration.from_dict(landed)) == approval_markdown(landed)

    def test_a_mapped_sensors_list_is_one_section_each(self, tmp_path: Path) -> None:
        both = [land(tmp_path, PLACE, name=name, prompt=name) for name in ("red", "blue")]
        text = approval_markdown(both)
        assert [part for part in text.split("\n\n") if "!" not in part] == ["red", "blue"]

    def test_a_prompt_is_text_whatever_marks_are_in_it(self, tmp_path: Path) -> None:
        text = approval_markdown(land(tmp_path, PLACE, prompt="# [x](http://evil) ![y](z) <img>\n\n| `a` *b*", images=1))
        assert text.split("\n\n")[0] == r"\# \[x\](http://evil) !\[y\](z) \<img\> \| \`a\` \*b\*"

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
