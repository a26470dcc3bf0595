"""Every error body shape of the contract, over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from tests.emulator.client import Client

MESSAGE = "seed: must be at least 0"


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("sentence", {"error": MESSAGE, "error_code": "VALIDATION_FAILED"}),
        ("error_code", {"error_code": "validation_failed", "message": MESSAGE}),
        ("code_detail", {"code": "validation_failed", "detail": MESSAGE}),
        ("error_message", {"error": "validation_failed", "message": MESSAGE}),
        ("nested", {"error": {"code": "validation_failed", "message": MESSAGE}}),
        ("detail", {"detail": MESSAGE}),
        ("detail_list", {"detail": [{"loc": ["body", "seed"], "msg": MESSAGE, "type": "validation_failed"}]}),
        ("fields", {"seed": [MESSAGE]}),
    ],
)
def test_an_error_has_the_json_shape_that_was_chosen(
    client: Client, emulator: Emulator, shape: str, body: dict[str, Any]
) -> None:
    emulator.configure(error_shape=shape)
    assert client.post({"prompt": "a", "seed": -1}).json() == body


@pytest.mark.parametrize(
    ("shape", "media_type", "start"),
    [
        ("text", "text/plain", b"validation_failed: seed"),
        ("html", "text/html", b"<!DOCTYPE html>"),
        ("empty", "application/json", b""),
    ],
)
def test_a_shape_that_is_not_json(
    client: Client, emulator: Emulator, shape: str, media_type: str, start: bytes
) -> None:
    emulator.configure(error_shape=shape)
    answer = client.post({"prompt": "a", "seed": -1})
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, media_type)
    assert answer.content.startswith(start)
