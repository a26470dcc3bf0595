"""What a row may say, what it becomes, and what is told to the person who wrote it."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from airflow_provider_seedream.batch.prompts import PromptTemplate
from airflow_provider_seedream.batch.rows import (
    RESULT_COLUMNS,
    Row,
    build_row,
    check_column,
    columns_of_refused,
)
from airflow_provider_seedream.exceptions import SeedreamInputError

DEFAULTS = {
    "prompt": "a watch",
    "image_size": "square",
    "num_images": 2,
    "seed": 7,
    "enable_safety_checker": False,
    "take": 3,
}
SOURCE = "s3://conn@bucket/in/fox.png"


def row(template: str | None = None, defaults: dict[str, Any] | None = None, **columns: Any) -> Row:
    compiled = PromptTemplate(template, {"ds": "2026-11-22", "sku": "of the context"}) if template else None
    return build_row(7, "line 8 of requests.csv", columns, defaults=defaults or {}, template=compiled)


class TestParameters:
    def test_a_prompt_is_enough(self) -> None:
        assert row(prompt="a fox") == Row(
            number=7,
            where="line 8 of requests.csv",
            kind="generate",
            prompt="a fox",
            image_size="auto_2K",
            num_images=1,
            seed=None,
            enable_safety_checker=True,
            take=1,
            name=None,
            images=(),
            extra={},
        )

    def test_a_row_says_what_differs_from_the_defaults(self) -> None:
        made = row(defaults=DEFAULTS, num_images=4, name="hero")
        assert (made.prompt, made.image_size, made.num_images, made.seed) == ("a watch", "square", 4, 7)
        assert (made.enable_safety_checker, made.take, made.name) == (False, 3, "hero")

    @pytest.mark.parametrize("nothing", ["", None, math.nan, Decimal("NaN"), np.float32("nan")], ids=repr)
    def test_an_empty_cell_is_no_value(self, nothing: Any) -> None:
        columns = dict.fromkeys([*DEFAULTS, "name", "images"], nothing)
        assert row(defaults=DEFAULTS, **columns) == row(defaults=DEFAULTS)

    def test_text_of_a_csv_is_read_as_the_api_wants_it(self) -> None:
        made = row(prompt="a fox", num_images="2", seed="0", enable_safety_checker="False", take="2")
        assert (made.num_images, made.seed, made.enable_safety_checker, made.take) == (2, 0, False, 2)

    def test_whole_numbers_may_come_as_floats_since_pandas_makes_them(self) -> None:
        made = row(prompt="a fox", num_images=2.0, seed=42.0, take=1.0)
        assert [repr(value) for value in (made.num_images, made.seed, made.take)] == ["2", "42", "1"]

    @pytest.mark.parametrize(
        "two", ["2.0", " 2.00 ", Decimal(2), Decimal("2.00"), np.int64(2), np.float64(2)], ids=repr
    )
    def test_whole_numbers_are_read_in_the_forms_that_writers_of_tables_give_them(self, two: Any) -> None:
        made = row(
            prompt="a fox", num_images=two, seed=two, take=two, name=two if not isinstance(two, str) else "2"
        )
        assert [repr(value) for value in (made.num_images, made.seed, made.take, made.name)] == [
            "2",
            "2",
            "2",
            "'2'",
        ]

    @pytest.mark.parametrize(
        "value", ["2.5", "2.0.0", "1e0", Decimal("2.5"), np.float64("inf"), "-2.0"], ids=repr
    )
    def test_what_is_no_whole_number_is_refused(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="num_images must be an integer from 1 to 6"):
            row(prompt="a fox", num_images=value)

    @pytest.mark.parametrize(
        ("column", "value", "rule"),
        [
            ("prompt", "  ", "prompt must not be blank"),
            ("prompt", 7, "prompt must be a string"),
            (
                "prompt",
                "a {{ colour }} fox",
                r"prompt contains {{ or {%, and table cells are not rendered. Use template=",
            ),
            ("image_size", "huge", "image_size must be one of"),
            ("num_images", "7", "num_images must be an integer from 1 to 6"),
            ("num_images", 1.5, "num_images must be an integer from 1 to 6"),
            ("seed", -1, "seed must be an integer of at least 0"),
            # a float no longer holds which one was meant
            ("seed", 2.0**60, "seed must be an integer of at least 0"),
            ("take", 0, "take must be an integer of at least 1"),
            ("enable_safety_checker", "yes", "enable_safety_checker must be true or false"),
            ("name", "a/b", "name must be a bare file name"),
            ("images", [], "images must hold 1 to 10 images"),
            ("images", [SOURCE] * 11, "images must hold 1 to 10 images"),
            ("images", 7, "images must be a list of images"),
            ("images", [7], "images must hold storage URIs"),
            ("images", "[broken", "images must be a list of images, its JSON, or a single URI"),
            ("images", "https://host/a.png", "http(s) links are not read"),
        ],
    )
    def test_a_value_against_the_rules_is_named_with_its_row_and_column(
        self, column: str, value: Any, rule: str
    ) -> None:
        with pytest.raises(SeedreamInputError) as refused:
            row(**{"prompt": "a fox", column: value})
        assert refused.value.message.startswith("line 8 of requests.csv: ")
        assert rule in refused.value.message
        assert len(refused.value.message) < 400

    def test_a_row_needs_a_prompt(self) -> None:
        with pytest.raises(SeedreamInputError, match="prompt is missing"):
            row(sku="7")


class TestSources:
    @pytest.mark.parametrize(
        "images",
        [
            [SOURCE],
            json.dumps([SOURCE]),
            f" {SOURCE} ",
            {"images": [{"uri": SOURCE}]},
            json.dumps({"images": [{"uri": SOURCE}]}),
        ],
        ids=["a list", "its JSON", "one URI", "a landed generation", "the JSON of one"],
    )
    def test_a_row_with_images_is_an_edit(self, images: Any) -> None:
        made = row(prompt="at night", images=images)
        assert (made.kind, made.images) == ("edit", (SOURCE,))

    def test_they_travel_to_the_result_as_sources_and_data_uris_do_not(self) -> None:
        made = row(prompt="at night", images=[SOURCE, "data:image/png;base64,AAAA"])
        assert made.columns()["sources"] == [SOURCE, "data:"]
        assert "sources" not in row(prompt="a fox").columns()


class TestFreeColumns:
    def test_they_travel_to_the_result_beside_what_is_sent(self) -> None:
        assert row(prompt="a fox", sku=7, tags=["a", "b"]).columns() == {
            "prompt": "a fox",
            "image_size": "auto_2K",
            "num_images": 1,
            "seed": None,
            "enable_safety_checker": True,
            "take": 1,
            "sku": 7,
            "tags": ["a", "b"],
        }

    @pytest.mark.parametrize("nothing", ["", None, math.nan, Decimal("NaN"), np.float32("nan")], ids=repr)
    def test_an_empty_one_is_null_in_the_result(self, nothing: Any) -> None:
        assert row(prompt="a fox", tags=nothing, status=None).extra == {"tags": None}

    def test_what_json_does_not_know_becomes_text(self) -> None:
        assert row(prompt="a fox", day=date(2026, 11, 22), price=Decimal("9.50")).extra == {
            "day": "2026-11-22",
            "price": "9.50",
        }

    @pytest.mark.parametrize("value", [math.inf, {"a": math.nan}, "\ud800", {1: {(1, 2): 3}}], ids=repr)
    def test_what_no_json_can_hold_is_refused(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="column 'x' has a value that JSON cannot hold"):
            row(prompt="a fox", x=value)

    @pytest.mark.parametrize(
        ("column", "meant"),
        [
            ("promt", "prompt"),
            ("Prompt", "prompt"),
            ("prompts", "prompt"),
            ("num_image", "num_images"),
            ("Num Images", "num_images"),
            ("imageSize", "image_size"),
            ("imgae_size", "image_size"),
            ("image", "images"),
            ("image_urls", "images"),
            ("seeds", "seed"),
            ("safety_checker", "enable_safety_checker"),
        ],
    )
    def test_a_misspelt_parameter_is_none_of_them(self, column: str, meant: str) -> None:
        with pytest.raises(
            SeedreamInputError, match=rf"unknown column '{column}'\. Did you mean '{meant}'\?"
        ):
            row(prompt="a fox", **{column: "x"})

    @pytest.mark.parametrize(
        "column",
        [
            "sku",
            "title",
            "prompt_de",
            "prompt2",
            "prompt_id",
            "file_name",
            "size",
            "image_id",
            "kind",
            "größe",
            "game",
        ],
    )
    def test_a_word_of_its_own_is_one(self, column: str) -> None:
        assert row(prompt="a fox", **{column: "x"}).extra == {column: "x"}

    @pytest.mark.parametrize("column", [name for name in RESULT_COLUMNS if name not in ("name", "images")])
    def test_the_results_own_columns_are_none(self, column: str) -> None:
        with pytest.raises(SeedreamInputError, match=f"column '{column}' is one of the results' own"):
            row(prompt="a fox", **{column: "x"})

    def test_the_results_own_columns_in_capitals_are_none_either(self) -> None:
        """Spark and DuckDB cannot read a table that has both."""
        with pytest.raises(SeedreamInputError, match="column 'Status' is one of the results' own"):
            row(prompt="a fox", Status="x")

    @pytest.mark.parametrize("column", ["", " ", 7, None])
    def test_a_column_has_a_name(self, column: Any) -> None:
        with pytest.raises(SeedreamInputError, match="is not a column name"):
            check_column(column)


class TestTemplates:
    def test_a_template_sees_the_row_its_defaults_and_the_context(self) -> None:
        made = row(
            "{{ prompt }}, {{ colour }}, {{ image_size }}, {{ ds }}", DEFAULTS, prompt="a fox", colour="red"
        )
        assert made.prompt == "a fox, red, square, 2026-11-22"

    def test_airflows_filters_of_moments_are_there(self) -> None:
        context = {"dag_run": {"run_after": datetime(2026, 3, 1, 6, 30, tzinfo=UTC)}}
        filters = ("ds", "ds_nodash", "ts", "ts_nodash")
        text = " ".join(f"{{{{ dag_run.run_after | {name} }}}}" for name in filters)
        made = PromptTemplate(text, context).render({})
        assert made == "2026-03-01 20260301 2026-03-01T06:30:00+00:00 20260301T063000"

    def test_a_column_goes_before_the_context(self) -> None:
        assert row("{{ sku }}", sku="of the row").prompt == "of the row"

    def test_what_stands_in_a_row_is_never_rendered(self) -> None:
        assert row("{{ prompt }}", prompt="{{ ds }} {% raw %}").prompt == "{{ ds }} {% raw %}"

    @pytest.mark.parametrize(
        ("template", "says"),
        [
            ("{{ colour }}", "template: 'colour' is undefined"),
            ("{{ sku.brand.name }}", "template: 'str object' has no attribute 'brand'"),
            ("{{ 1 / 0 }}", "template cannot be applied (ZeroDivisionError"),
            ("{{ sku.__class__.__mro__ }}", "template cannot be applied (SecurityError"),
            ("{{ '' }}", "prompt must not be blank"),
        ],
    )
    def test_a_template_that_does_not_fit_a_row_is_an_error_of_that_row(
        self, template: str, says: str
    ) -> None:
        with pytest.raises(SeedreamInputError) as refused:
            row(template, sku="x")
        assert refused.value.message.startswith(f"line 8 of requests.csv: {says}")

    def test_an_empty_cell_is_a_missing_column_unless_the_template_has_a_default(self) -> None:
        assert row("a {{ colour | default('red') }} fox", colour="").prompt == "a red fox"
        with pytest.raises(SeedreamInputError, match="'colour' is undefined"):
            row("a {{ colour }} fox", colour="")

    @pytest.mark.parametrize("text", ["", None, 7, "{{ unclosed", "{% if x %}"])
    def test_what_is_no_template_is_refused_at_once(self, text: Any) -> None:
        with pytest.raises(SeedreamInputError, match="template"):
            PromptTemplate(text)


class TestARefusedRow:
    def test_what_is_right_travels_as_it_would_be_sent_and_the_rest_as_it_stands(self) -> None:
        raw = {
            "prompt": "a fox",
            "num_images": "2",
            "seed": "x",
            "images": [SOURCE],
            "sku": 7,
            "row": 3,
            "colour": None,
        }
        assert columns_of_refused(raw) == {
            "prompt": "a fox",
            "num_images": 2,
            "seed": "x",
            "sources": [SOURCE],
            "sku": 7,
        } | {"colour": None}

    @pytest.mark.parametrize(
        "raw", [{"images": 7}, {7: "x"}, {"x": math.inf}, {"x": "\ud800"}, {"prompt": ["a"]}], ids=repr
    )
    def test_nothing_a_row_may_say_is_an_error_here(self, raw: Any) -> None:
        assert json.dumps(columns_of_refused(raw), allow_nan=False)
