"""What bytes are, whatever they are called; and whether they are all there."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from PIL import Image

from airflow_provider_seedream.model.images import EXTENSIONS, foreign_format, inspect_image, is_whole
from tests.unit.values import png


def drawn(image_format: str, mode: str = "RGB", **how: Any) -> bytes:
    target = io.BytesIO()
    Image.effect_noise((64, 48), 80).convert(mode).save(target, image_format, **how)
    return target.getvalue()


def with_exif_thumbnail() -> bytes:
    """A JPEG that holds a whole JPEG, end marker included, inside its EXIF segment: as cameras write it."""
    exif = b"Exif\x00\x00" + b"II*\x00\x08\x00\x00\x00\x00\x00" + drawn("JPEG")
    whole = drawn("JPEG")
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]


def os2_bitmap() -> bytes:
    """A BMP with the 12-byte header of OS/2: 64 by 48 pixels of 24 bits."""
    pixels = bytes(64 * 3 * 48)
    return (
        b"BM"
        + struct.pack("<IHHI", 26 + len(pixels), 0, 0, 26)
        + struct.pack("<IHHHH", 12, 64, 48, 1, 24)
        + pixels
    )


def top_down_bitmap() -> bytes:
    whole = bytearray(drawn("BMP"))
    whole[22:26] = struct.pack("<i", -48)
    return bytes(whole)


WHOLE: dict[str, bytes] = {
    "PNG": drawn("PNG"),
    "PNG of a palette": drawn("PNG", "P"),
    "JPEG": drawn("JPEG"),
    "progressive JPEG": drawn("JPEG", progressive=True, quality=95),
    "JPEG with restart markers": drawn("JPEG", restart_marker_blocks=2),
    "JPEG with a thumbnail": with_exif_thumbnail(),
    "JPEG with fill bytes": drawn("JPEG")[:-2] + b"\xff\xff\xff\xd9",
    "WEBP": drawn("WEBP"),
    "lossless WEBP": drawn("WEBP", lossless=True),
    "WEBP with VP8X": drawn("WEBP", "RGBA", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00"),
    "GIF": drawn("GIF"),
    "GIF with a byte between its blocks": drawn("GIF")[:-1] + b"\x00\x3b",
    "GIF of two frames": drawn("GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")]),
    "BMP": drawn("BMP"),
    "BMP of a palette": drawn("BMP", "P"),
    "top-down BMP": top_down_bitmap(),
    "OS/2 BMP": os2_bitmap(),
    "TIFF": drawn("TIFF"),
    "compressed TIFF": drawn("TIFF", compression="tiff_lzw"),
    "TIFF of two pages": drawn(
        "TIFF", save_all=True, append_images=[Image.new("RGB", (64, 48), "blue")]
    ).rstrip(b"\x00"),  # padding
}


@pytest.fixture(params=WHOLE.values(), ids=list(WHOLE))
def data(request: pytest.FixtureRequest) -> bytes:
    return request.param


class TestFacts:
    def test_type_and_size_come_from_the_bytes(self, data: bytes) -> None:
        facts = inspect_image(data)
        assert facts is not None
        with Image.open(io.BytesIO(data)) as image:
            assert (facts.media_type, facts.width, facts.height) == (
                f"image/{str(image.format).lower()}",
                64,
                48,
            )
        assert facts.media_type in EXTENSIONS

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"<html></html>",
            b"RIFF0000AVI ",
            png()[:12],
            png(0, 3),
            b"\xff\xd8\xff",
            b"BM",
            b"GIF8",
            b"II*\x00",
        ],
    )
    def test_bytes_without_a_header_of_a_known_kind_are_no_image(self, data: bytes) -> None:
        assert inspect_image(data) is None

    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
            (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "HEIC"),
            (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1", "AVIF"),
            (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avif", "AVIF"),
            (b"\xff\x0a\xfa\x1f", "JPEG XL"),
            (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
            (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
            (b"\xff\x4f\xff\x51\x00", "JPEG 2000"),
            (b"II+\x00\x08\x00\x00\x00", "BigTIFF"),
            (b"MM\x00+\x00\x08\x00\x00", "BigTIFF"),
            (b"%PDF-1.7", "PDF"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
            (
                b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n<!DOCTYPE svg PUBLIC "x" "y">\n<svg>',
                "SVG",
            ),
            (b"<!DOCTYPE html><html>", "HTML"),
            (b"just text", None),
            (b"", None),
        ],
    )
    def test_formats_that_are_none_of_ours_are_known_by_name(self, data: bytes, name: str | None) -> None:
        assert foreign_format(data) == name
        assert inspect_image(data) is None

    def test_the_size_is_that_of_the_pixels_whatever_way_up_they_are_shown(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # Orientation: turned by 90 degrees
        facts = inspect_image(drawn("JPEG", exif=exif))
        assert facts is not None
        assert (facts.width, facts.height) == (64, 48)


class TestWholeness:
    def whole(self, data: bytes) -> bool:
        facts = inspect_image(data)
        return facts is not None and is_whole(data, facts)

    def test_an_image_of_a_real_encoder_is_whole(self, data: bytes) -> None:
        assert self.whole(data)

    @pytest.mark.parametrize(
        "extra", [b"\x00", b"tail" * 25_000, b"\x00" * 5000], ids=["a byte", "100 kB", "zeros"]
    )
    def test_bytes_behind_its_end_do_not_matter(self, data: bytes, extra: bytes) -> None:
        assert self.whole(data + extra)

    def test_it_is_not_whole_wherever_it_is_cut(self, data: bytes) -> None:
        cuts = {*range(0, len(data), max(1, len(data) // 200)), *range(len(data) - 12, len(data))}
        assert [cut for cut in sorted(cuts) if self.whole(data[:cut])] == []

    def test_a_jpeg_cut_behind_its_thumbnail_is_not_whole(self) -> None:
        data = with_exif_thumbnail()
        thumbnail_end = data.index(b"\xff\xd9") + 2
        assert not self.whole(data[:thumbnail_end])
        assert not self.whole(data[: thumbnail_end + 600])

    @pytest.mark.parametrize(
        "data",
        [
            b"RIFF\x04\x00\x00\x00WEBP" + drawn("WEBP")[12:],  # a RIFF without its chunks
            b"RIFF" + struct.pack("<I", 22) + drawn("WEBP")[8:30],  # one that ends inside its only chunk
            png()[:33] + png()[-12:],  # header and end, no pixels
            b"GIF89a" + struct.pack("<HHBBB", 64, 48, 0, 0, 0) + b"\x3b",  # no picture
            drawn("BMP")[:54],  # a header alone
        ],
        ids=["WEBP", "cut WEBP", "PNG", "GIF", "BMP"],
    )
    def test_an_image_without_pixels_is_not_whole(self, data: bytes) -> None:
        assert not self.whole(data)

    def test_noise_in_the_middle_never_raises(self, data: bytes) -> None:
        for at in range(8, len(data), max(1, len(data) // 60)):
            assert self.whole(data[:at] + b"\xff" * 8 + data[at + 8 :]) in (True, False)
