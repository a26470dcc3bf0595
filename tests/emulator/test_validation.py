"""Every field rule of the contract's table, over the wire."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from PIL import Image

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.emulator.facts import IMAGE_SIZES
from tests.emulator.client import Client, as_data_uri, data_uri


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", ""),
        ("prompt", " \n"),
        ("prompt", 7),
        ("prompt", "half a pair \ud800"),
        ("image_size", "SQUARE"),
        ("image_size", "auto_2k"),
        ("image_size", None),
        ("image_size", ["square"]),
        ("num_images", 0),
        ("num_images", 7),
        ("num_images", True),
        ("num_images", "2"),
        ("num_images", 2.0),
        ("num_images", None),
        ("seed", -1),
        ("seed", True),
        ("seed", "7"),
        ("seed", None),
        ("enable_safety_checker", "true"),
        ("enable_safety_checker", 1),
        ("enable_safety_checker", None),
    ],
)
def test_a_broken_rule_is_refused_by_name_and_not_charged(
    client: Client, emulator: Emulator, field: str, value: object
) -> None:
    answer = client.post({"prompt": "a fox", field: value})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "VALIDATION_FAILED")
    assert answer.json()["error"].startswith(field)
    assert emulator.books.posts == 0
    assert [violation.rule for violation in emulator.books.violations] == ["invalid_request"]


def test_a_missing_prompt_is_refused(client: Client) -> None:
    assert client.post({"image_size": "square"}).status_code == 400


@pytest.mark.parametrize("image_size", IMAGE_SIZES)
def test_every_documented_size_is_accepted(client: Client, image_size: str) -> None:
    client.submit(image_size=image_size)


@pytest.mark.parametrize(
    "fields", [{"num_images": 1}, {"num_images": 6}, {"seed": 0}, {"enable_safety_checker": False}]
)
def test_values_at_the_edges_are_accepted(client: Client, fields: dict[str, Any]) -> None:
    client.submit(**fields)


def test_422_can_be_chosen_instead_of_400(client: Client, emulator: Emulator) -> None:
    emulator.configure(validation_status=422)
    assert client.post({"prompt": ""}).status_code == 422


def test_an_unknown_field_is_ignored_but_noted(client: Client, emulator: Emulator) -> None:
    client.submit(image_urls=[], imagesize="square")
    assert [(v.rule, v.detail) for v in emulator.books.violations] == [
        ("unknown_field", "image_urls"),
        ("unknown_field", "imagesize"),
    ]


def test_an_unknown_field_is_refused_on_request(client: Client, emulator: Emulator) -> None:
    emulator.configure(unknown_fields="refuse")
    answer = client.post({"prompt": "a fox", "imagesize": "square"})
    assert (answer.status_code, answer.json()["error"]) == (400, "imagesize: this field is not known")
    assert ([violation.rule for violation in emulator.books.violations], emulator.books.posts) == (
        ["unknown_field"],
        0,
    )


@pytest.mark.parametrize("body", [[], "a fox", None])
def test_a_body_that_is_no_object_is_refused(client: Client, body: object) -> None:
    assert client.post(body, data="null" if body is None else None).status_code in (400, 422)


def test_a_body_that_is_not_json_is_refused_and_noted(client: Client, emulator: Emulator) -> None:
    assert client.post(None, data=b"prompt=a").status_code == 400
    assert {violation.rule for violation in emulator.books.violations} == {"not_json"}


class TestSources:
    def refused(self, client: Client, sources: object) -> str:
        answer = client.post({"prompt": "darker", "image_urls": sources}, "edit")
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"])

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
    def test_every_supported_format_is_accepted(self, client: Client, image_format: str) -> None:
        body = {"prompt": "darker", "image_urls": [data_uri(image_format=image_format)]}
        assert client.post(body, "edit").status_code == 200

    @pytest.mark.parametrize("sources", [None, [], "data:image/png;base64,AAAA", [data_uri()] * 11])
    def test_there_must_be_one_to_ten(self, client: Client, sources: object) -> None:
        assert self.refused(client, sources).startswith("image_urls: required, 1 to 10")

    def test_they_must_be_there_at_all(self, client: Client) -> None:
        assert client.post({"prompt": "darker"}, "edit").status_code == 400

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("https://example.com/a.png", "must be a string"),
            (7, "must be a string"),
            ("data:text/plain;base64,QUFB", "must be a string"),
            ("data:image/svg+xml;base64,QUFB", "not supported"),
            ("data:image/png;base64,A*B", "cannot be decoded"),
            (as_data_uri(b"just text"), "not a readable image"),
            (data_uri(image_format="JPEG", media_type="image/png"), "the bytes are JPEG"),
            (data_uri(media_type="IMAGE/png"), "must be a string"),
            (data_uri(20, 321), "aspect"),
            (data_uri(321, 20), "aspect"),
            (data_uri(14, 100), "at least 15 px"),
            (data_uri(6001, 6000), "at most 36000000 px"),
        ],
    )
    def test_a_bad_one_is_named(self, client: Client, source: object, says: str) -> None:
        message = self.refused(client, [data_uri(), source])
        assert message.startswith("image_urls: item 1: ")
        assert says in message

    @pytest.mark.parametrize("size", [(20, 320), (320, 20), (15, 15), (6000, 6000)])
    def test_the_extreme_sizes_are_accepted(self, client: Client, size: tuple[int, int]) -> None:
        assert client.post({"prompt": "darker", "image_urls": [data_uri(*size)]}, "edit").status_code == 200

    def test_one_above_ten_megabytes_is_refused(self, client: Client) -> None:
        target = io.BytesIO()
        Image.frombytes("RGB", (1900, 1900), os.urandom(1900 * 1900 * 3)).save(target, "BMP")
        assert "at most 10485760" in self.refused(client, [as_data_uri(target.getvalue(), "image/bmp")])

    def test_a_damaged_one_is_refused(self, client: Client) -> None:
        target = io.BytesIO()
        Image.new("RGB", (64, 64)).save(target, "PNG")
        assert "damaged" in self.refused(client, [as_data_uri(target.getvalue()[:60])])
