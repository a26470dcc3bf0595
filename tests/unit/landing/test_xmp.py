"""What is written into an image file, read back by Pillow, which knows nothing of the library that wrote
it.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from airflow_provider_seedream.landing.xmp import CREDIT, embed, has_content_credentials
from tests.unit.values import TASK_ID, png

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SAID = {"seedream_task_id": TASK_ID, "model": "seedream-v5-lite", "digital_source_type": SOURCE_TYPE}

# How a C2PA signer names a manifest that it keeps on a server of its own.
REMOTE = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="https://manifests.example/one.c2pa"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def picture(kind: str, **how: Any) -> bytes:
    made = Image.effect_noise((64, 48), 40).convert("RGB")
    file = io.BytesIO()
    made.save(file, kind, **how)
    return file.getvalue()


def xmp(data: bytes) -> str:
    """The XMP packet of a file."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        found = image.info["xmp"]
    return found.decode() if isinstance(found, bytes) else str(found)


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return bytes(image.tobytes())


@pytest.fixture(params=["PNG", "JPEG", "WEBP", "transparent PNG", "lossless WEBP"])
def data(request: pytest.FixtureRequest) -> bytes:
    if request.param == "transparent PNG":
        file = io.BytesIO()
        Image.new("RGBA", (64, 48), (10, 20, 30, 40)).save(file, "PNG")
        return file.getvalue()
    if request.param == "lossless WEBP":
        return picture("WEBP", lossless=True)
    return picture(request.param)


class TestEmbedding:
    def test_bytes_behind_the_end_are_kept(self, data: bytes) -> None:
        embedded = embed(data + b"of the sender" * 9, **SAID)
        assert embedded.endswith(b"of the sender" * 9)
        assert embedded.removesuffix(b"of the sender" * 9) == embed(data, **SAID)

    def test_it_says_where_the_image_comes_from(self, data: bytes) -> None:
        packet = xmp(embed(data, **SAID))
        for said in (SOURCE_TYPE, CREDIT, "seedream-v5-lite", TASK_ID):
            assert said in packet
        assert 'xmlns:iptcExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"' in packet

    def test_no_pixel_changes(self, data: bytes) -> None:
        assert pixels(embed(data, **SAID)) == pixels(data)

    def test_the_same_bytes_become_the_same_bytes(self, data: bytes) -> None:
        """A retry meets its own files."""
        assert embed(data, **SAID) == embed(data, **SAID)

    def test_what_is_not_known_is_not_said(self, data: bytes) -> None:
        assert "DigitalSourceType" not in xmp(embed(data, **{**SAID, "digital_source_type": None}))

    def test_xmp_that_is_there_stays(self) -> None:
        packet = (
            xmp(embed(picture("JPEG"), **SAID)).replace(CREDIT, "somebody").replace("AISystemUsed", "Event")
        )
        again = xmp(embed(picture("JPEG", xmp=packet.encode()), **SAID))
        assert re.search(r"iptcExt:Event=\"seedream-v5-lite\"", again)
        assert CREDIT in again
        assert "somebody" not in again

    def test_what_is_no_image_is_an_error(self) -> None:
        with pytest.raises(Exception, match=r"."):
            embed(b"\x89PNG\r\n\x1a\nnot an image", **SAID)


class TestContentCredentials:
    def test_a_file_with_a_manifest_store_is_known_by_its_box(self) -> None:
        whole = png(padding_bytes=64)
        signed = whole.replace(
            bytes(40), b"\x00\x00\x00\x20jumb\x00\x00\x00\x10jumdc2pa".ljust(40, b"\x00"), 1
        )
        assert has_content_credentials(signed)
        assert not has_content_credentials(whole)

    @pytest.mark.parametrize("prefix", ["dcterms", "q"])
    @pytest.mark.parametrize("kind", ["PNG", "compressed PNG", "JPEG", "WEBP"])
    def test_a_manifest_elsewhere_is_known_by_the_xmp_that_names_it(self, kind: str, prefix: str) -> None:
        packet = REMOTE.replace("dcterms", prefix)
        if kind.endswith("PNG"):
            chunks = PngInfo()
            chunks.add_itxt("XML:com.adobe.xmp", packet, zip=kind.startswith("compressed"))
            assert has_content_credentials(picture("PNG", pnginfo=chunks))
        else:
            assert has_content_credentials(picture(kind, xmp=packet.encode()))

    def test_xmp_of_another_kind_is_no_manifest(self, data: bytes) -> None:
        assert not has_content_credentials(data)
        assert not has_content_credentials(embed(data, **SAID))


class TestTheDocs:
    def test_every_property_is_told(self) -> None:
        page = (Path(__file__).parents[3] / "docs" / "provenance.md").read_text()
        told = {name.rpartition(":")[2] for name in re.findall(r"^\| `(\w+:\w+)` \|", page, re.MULTILINE)}
        packet = xmp(embed(png(), **SAID))
        assert told == set(re.findall(r"(?:iptcExt|photoshop|dc):(\w+)=", packet))
