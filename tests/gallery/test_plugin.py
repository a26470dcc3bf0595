"""The plugin: found by Airflow, cheap to every process, and a page in the menu; tabs only for those who
ask.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest
from airflow import plugins_manager
from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse
from airflow.sdk import DAG
from pydantic import ValidationError

from airflow_provider_seedream.decorators import seedream as decorators
from airflow_provider_seedream.links import SeedreamImagesLink
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.plugins.seedream import OPERATORS, SeedreamPlugin
from airflow_provider_seedream.provider_info import get_provider_info
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Runner
from tests.gallery.conftest import Visitor
from tests.unit.test_import_cost import imported_by, within

OF_ASSETS = ["asset"] if hasattr(plugins_manager, "BaseDestinationLiteral") else []  # from Airflow 3.4 on
LOADING = (
    "airflow_provider_seedream, airflow.providers.common.compat.sdk, airflow.configuration, "
    "airflow.plugins_manager"
)


class TestLoading:
    def test_airflow_finds_it_by_its_entry_point_alone(self) -> None:
        found = [point for point in entry_points(group="airflow.plugins") if "seedream" in point.value]
        assert [point.load() for point in found] == [SeedreamPlugin]
        assert "plugins" not in get_provider_info()

    def test_it_costs_a_process_four_modules_and_no_web_server(self) -> None:
        added = imported_by("airflow_provider_seedream.plugins.seedream", before=f"import {LOADING}")
        ours = [name for name in added if name.startswith("airflow_provider_seedream")]
        assert ours == [
            "airflow_provider_seedream.model",
            "airflow_provider_seedream.model.task_ref",
            "airflow_provider_seedream.plugins",
            "airflow_provider_seedream.plugins.seedream",
        ]
        assert (
            within(added, ("fastapi", "jinja2", "sqlalchemy", "airflow.api_fastapi", "airflow.models")) == []
        )


class TestViews:
    def test_there_is_a_page_in_the_menu_and_no_tab(self) -> None:
        [view] = SeedreamPlugin().external_views
        shown = ExternalViewResponse.model_validate(view)
        assert (shown.name, shown.href, shown.destination, shown.url_route) == (
            "Seedream",
            "seedream/",
            "nav",
            "seedream",
        )

    def test_tabs_are_there_for_those_who_ask(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_TABS", "True")
        views = [ExternalViewResponse.model_validate(view) for view in SeedreamPlugin().external_views]
        assert [view.destination for view in views] == ["nav", "dag", "dag_run", "task_instance", *OF_ASSETS]
        assert len({view.url_route for view in views}) == 4 + len(OF_ASSETS)

    def test_an_asset_has_a_tab_where_airflow_takes_that_destination(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_TABS", "True")
        views = {view["destination"]: view["href"] for view in SeedreamPlugin().external_views}
        try:
            ExternalViewResponse(name="x", href="x", destination="asset")
        except ValidationError:
            assert "asset" not in views
        else:
            assert views["asset"] == "seedream/asset/{ASSET_ID}"

    def test_the_tab_of_a_task_is_for_tasks_of_ours_where_airflow_can_tell(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From Airflow 3.4 on; the other pages have no operator, so the same condition would hide their
        tabs.
        """
        monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_TABS", "True")
        limited = {
            view["destination"]: view["applies_to"]
            for view in SeedreamPlugin().external_views
            if "applies_to" in view
        }
        assert limited == {"task_instance": {"operator": list(OPERATORS)}}
        known = {
            one.__name__
            for one in vars(decorators).values()
            if isinstance(one, type) and SeedreamImagesLink in _links(one)
        }
        public = (
            SeedreamBatchOperator,
            SeedreamEditOperator,
            SeedreamGenerateOperator,
            SeedreamGenerationSensor,
        )
        assert set(OPERATORS) == known | {one.__name__ for one in public}

    @pytest.mark.skipif(
        not hasattr(plugins_manager, "_validate_applies_to"),
        reason="Airflow checks such conditions from 3.4 on",
    )
    def test_airflow_takes_the_condition_without_a_word(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_TABS", "True")
        views = SeedreamPlugin().external_views
        assert all(plugins_manager._validate_applies_to("seedream", view, "external view") for view in views)
        assert caplog.text == ""

    @pytest.mark.parametrize(
        ("word", "tabs"), [("yes", 3), ("on", 3), ("1", 3), ("no", 0), ("", 0), ("maybe", 0)]
    )
    def test_no_word_takes_the_menu_away(self, word: str, tabs: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_TABS", word)
        assert [view["destination"] for view in SeedreamPlugin().external_views][:1] == ["nav"]
        assert len(SeedreamPlugin().external_views) == 1 + tabs + (len(OF_ASSETS) if tabs else 0)

    def test_no_address_has_a_leading_slash(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_TABS", "True")
        for view in SeedreamPlugin().external_views:
            assert all(not view[name].startswith("/") for name in ("href", "icon", "icon_dark_mode"))

    def test_the_icons_are_served(self, visitor: Visitor) -> None:
        [view] = SeedreamPlugin().external_views
        for name in ("icon", "icon_dark_mode"):
            assert visitor("viewer").get(f"/{view[name]}").headers["content-type"] == "image/svg+xml"


def _links(operator: type) -> set[type]:
    return {type(link) for link in getattr(operator, "operator_extra_links", ())}


class TestTheExtraLink:
    def test_airflow_stores_it_with_each_end_of_a_task_of_ours(self) -> None:
        with DAG("d", schedule=None):
            submit = SeedreamGenerateOperator(task_id="submit", prompt="a watch", seedream_conn_id="none")
        outcome = Runner().run(submit)
        assert outcome.state == "failed"  # there is no such connection
        assert outcome.xcoms["_link_SeedreamImagesLink"].startswith("seedream/task/d/manual__")
