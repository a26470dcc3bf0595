"""What Airflow reads about the provider: valid by its own schema, and a form that works in its own API
server.
"""

from __future__ import annotations

import importlib
import json
import re
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.sdk import BaseHook
from packaging.version import Version

from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.hooks.settings import SeedreamSettings
from airflow_provider_seedream.provider_info import get_provider_info

INFO = get_provider_info()
CONNECTION = INFO["connection-types"][0]


@pytest.fixture(scope="module")
def form() -> Any:
    """The connection form as the API server gives it to the user interface."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    return next(meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "seedream")


class TestTheInfo:
    def test_it_is_valid_by_airflows_own_schema(self) -> None:
        schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
        jsonschema.Draft7Validator(schema).validate(INFO)

    def test_it_survives_json(self) -> None:
        assert json.loads(json.dumps(INFO)) == INFO

    def test_it_is_found_by_its_entry_point(self) -> None:
        found = [
            point for point in entry_points(group="apache_airflow_provider") if "seedream" in point.value
        ]
        assert [point.load()() for point in found] == [INFO]

    @pytest.mark.parametrize("kind", ["hooks", "operators", "sensors", "triggers"])
    def test_every_module_it_names_is_there(self, kind: str) -> None:
        modules = [name for entry in INFO[kind] for name in entry["python-modules"]]
        assert modules
        for name in modules:
            importlib.import_module(name)

    def test_the_hook_class_is_the_hook(self) -> None:
        module, _, name = CONNECTION["hook-class-name"].rpartition(".")
        assert getattr(importlib.import_module(module), name) is SeedreamHook
        assert (SeedreamHook.conn_type, SeedreamHook.hook_name) == (
            CONNECTION["connection-type"],
            CONNECTION["hook-name"],
        )
        assert issubclass(SeedreamHook, BaseHook)


class TestTheForm:
    def test_its_schemas_are_schemas_that_take_an_empty_field(self) -> None:
        for field in CONNECTION["conn-fields"].values():
            jsonschema.Draft202012Validator.check_schema(field["schema"])
            jsonschema.validate(None, field["schema"])

    def test_it_has_a_field_for_every_extra_that_is_read(self) -> None:
        standard = {"base_url", "key"}
        assert set(CONNECTION["conn-fields"]) == set(SeedreamSettings.__dataclass_fields__) - standard

    def test_the_hook_says_the_same_for_airflow_3_1(self) -> None:
        said = SeedreamHook.get_ui_field_behaviour()
        schema = json.loads(
            files("airflow").joinpath("customized_form_field_behaviours.schema.json").read_text()
        )
        jsonschema.Draft7Validator(schema).validate(said)
        assert {re.sub("_", "-", name): value for name, value in said.items()} == CONNECTION[
            "ui-field-behaviour"
        ]

    def test_the_api_server_shows_key_and_base_url(self, form: Any) -> None:
        fields = form.standard_fields.model_dump()
        assert (fields["password"]["title"], fields["host"]["title"]) == ("API key", "Base URL")
        assert fields["host"]["placeholder"] == "https://api.3daistudio.com"
        assert [name for name in ("url_schema", "port", "login") if not fields[name]["hidden"]] == []

    @pytest.mark.skipif(
        Version(airflow.__version__) < Version("3.2"),
        reason="conn-fields came with Airflow 3.2; below, extras are JSON",
    )
    def test_the_api_server_shows_the_extras(self, form: Any) -> None:
        assert list(form.extra_fields) == list(CONNECTION["conn-fields"])
