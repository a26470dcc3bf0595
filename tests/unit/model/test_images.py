"""What bytes are, whatever they are called."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from airflow_provider_seedream.model.images import EXTENSIONS, inspect_image, is_whole
from tests.unit.values import png


def drawn(image_format: str) -> bytes:
    target = io.BytesIO()
    Image.effect_noise((64, 48), 80).convert("RGB").save(target, image_format)
    return target.getvalue()


class TestFacts:
    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
    def test_type_and_size_come_from_the_bytes(self, image_format: str) -> None:
        facts = inspect_image(drawn(image_format))
        assert facts is not None
        assert (facts.media_type, facts.width, facts.height) == (f"image/{image_format.lower()}", 64, 48)
        assert facts.media_type in EXTENSIONS

    @pytest.mark.parametrize(
        "data", [b"", b"<html></html>", b"RIFF0000AVI ", png()[:12], png(0, 3), b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\x00"]
    )
    def test_bytes_without_a_header_of_a_known_kind_are_no_image(self, data: bytes) -> None:
        assert inspect_image(data) is None


class TestWholeness:
    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
    def test_a_cut_image_is_told_from_a_whole_one(self, image_format: str) -> None:
        data = drawn(image_format)
        facts = inspect_image(data)
        assert facts is not None
        assert is_whole(data, facts)
        assert not is_whole(data[: len(data) // 2], facts)
        assert not is_whole(data[:-20], facts)
