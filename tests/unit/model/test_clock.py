"""Instants as text and as numbers."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.model.clock import to_epoch, to_iso
from tests.unit.values import NOW


class TestInstants:
    def test_an_epoch_is_written_in_utc_to_the_second(self) -> None:
        assert to_iso(NOW + 0.7) == "2026-02-25T12:00:00Z"

    @pytest.mark.parametrize(
        "text",
        [
            "2026-02-25T12:00:00Z",
            "2026-02-25T12:00:00",
            "2026-02-25T14:00:00+02:00",
            "2026-02-25 12:00:00.000+00:00",
            "20260225T120000Z",
        ],
    )
    def test_iso_text_is_read_in_its_own_zone_or_utc(self, text: str) -> None:
        assert to_epoch(text) == NOW

    @pytest.mark.parametrize("text", [None, "", "yesterday", "2026-13-01T00:00:00Z", 1772020800, [], {}])
    def test_anything_else_is_none(self, text: Any) -> None:
        assert to_epoch(text) is None

    def test_what_is_written_is_read_back(self) -> None:
        assert to_epoch(to_iso(NOW)) == NOW
