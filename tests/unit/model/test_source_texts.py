"""How people write input images: each way is read or refused at once, and no error or result repeats an
image.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from airflow_provider_seedream.batch.rows import build_row, columns_of_refused
from airflow_provider_seedream.exceptions import MAX_MESSAGE_CHARACTERS, SeedreamError, SeedreamInputError
from airflow_provider_seedream.tasks.sources import read_sources
from tests.unit.values import png

IMAGE = png(40, 30)
PLAIN = base64.b64encode(IMAGE).decode()
WRITTEN = {
    "a data URI": f"data:image/png;base64,{PLAIN}",
    "blanks around it": f" \n data:image/png;base64,{PLAIN}\n",
    "capitals": f"DATA:image/PNG;BASE64,{PLAIN}",
    "lines of 76": f"data:image/png;base64,{base64.encodebytes(IMAGE).decode()}",
    "plain base64": PLAIN,
    "plain base64 in lines": f"\n{base64.encodebytes(IMAGE).decode()}",
}
JUNK = {
    "a text of 30 MB": "x" * 30_000_000,
    "URL-safe base64": base64.urlsafe_b64encode(b"\xfb\xff" * 5000).decode(),
    "a HEIC photo in plain base64": base64.b64encode(b"\x00\x00\x00\x18ftypheic" + bytes(90_000)).decode(),
    "a broken data URI": "data:image/png;base64," + "!" * 100_000,
    "a data URI of another form": "data:text/plain," + "x" * 100_000,
}


class TestWaysToWriteAnImage:
    @pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
    def test_each_is_the_same_image(self, written: str) -> None:
        [source] = read_sources([written])
        assert (source.data, source.origin) == (IMAGE, "data: (image 1)")

    @pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
    def test_no_result_of_a_batch_repeats_it(self, written: str) -> None:
        row = build_row(1, "row 1", {"prompt": "at night", "images": [written]}, defaults={})
        assert row.columns()["sources"] == ["data:"]
        assert columns_of_refused({"images": [written]}) == {"sources": ["data:"]}

    @pytest.mark.parametrize("written", JUNK.values(), ids=JUNK)
    def test_what_is_none_of_them_is_refused_at_once_and_not_repeated(self, written: str) -> None:
        with pytest.raises(SeedreamInputError, match=r"^WRONG INPUT: images: .*image 1") as refused:
            read_sources([written])
        assert len(str(refused.value)) < 500
        assert refused.value.__cause__ is None  # a log prints the cause as well

    @pytest.mark.parametrize(
        "address",
        ["/data/" + "a" * 100, "s3://bucket/" + "a/" * 200 + "b.png", "/9j/in.jpg", "Qk/" + "b" * 20],
    )
    def test_a_path_or_a_key_stays_one(self, address: str) -> None:
        row = build_row(1, "row 1", {"prompt": "at night", "images": [f" {address} "]}, defaults={})
        assert row.images == (address,)


class TestQuotedValues:
    @pytest.mark.parametrize("column", ["prompt", "num_images", "promt", "image"])
    def test_an_image_in_a_wrong_column_is_not_repeated_in_the_results(self, column: str) -> None:
        raw: dict[str, Any] = {
            "prompt": "a fox",
            column: [PLAIN * 50_000] if column == "prompt" else PLAIN * 50_000,
        }
        with pytest.raises(SeedreamInputError) as refused:
            build_row(1, "row 1", raw, defaults={})
        assert len(str(refused.value)) < 500
        if column in ("prompt", "num_images"):
            assert len(json.dumps(columns_of_refused(raw))) < 1200

    def test_no_error_is_longer_than_a_page(self) -> None:
        error = SeedreamError(f"s3://b/k cannot be read ({'x' * 1_000_000}).")
        assert len(str(error)) < MAX_MESSAGE_CHARACTERS + 200
        assert error.message.startswith("s3://b/k cannot be read (xxx")
        assert error.message.endswith("xxx).")
        assert "characters ...]" in error.message
