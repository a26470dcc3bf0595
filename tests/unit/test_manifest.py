"""The manifest: complete, readable by people, and refused when it does not add up."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from airflow_provider_seedream.manifest import Manifest, ManifestImage, build_manifest, landed_generation
from tests.unit.values import TASK_ID, generation, record

LANDED_BY = {"dag_id": "d", "run_id": "r", "task_id": "land", "map_index": -1, "try_number": 2}


def image(number: int = 1) -> ManifestImage:
    return ManifestImage(
        number=number,
        file=f"hero_{number}.png",
        sha256="f" * 64,
        size_bytes=100,
        width=4,
        height=3,
        media_type="image/png",
        thumbnail=None,
    )


def manifest(*images: ManifestImage, **changes: Any) -> Manifest:
    paid = asdict(record())
    return build_manifest(
        generation(**changes),
        images or (image(),),
        record=paid,
        record_file=record().file,
        landed_by=LANDED_BY,
        landed_at="2026-02-25T12:01:00Z",
    )


class TestWhatItSays:
    def test_an_image_can_be_traced(self) -> None:
        said = json.loads(manifest().to_json())
        assert said["submission"]["prompt"] == "a leather watch"
        assert (said["model"], said["endpoint"]) == (
            "seedream-v5-lite",
            "/v1/images/seedream/v5/lite/generate/",
        )
        assert (said["made_by"]["task_id"], said["landed_by"]["task_id"]) == ("t", "land")
        assert said["digital_source_type"].endswith("/trainedAlgorithmicMedia")
        assert (said["seedream_task_id"], said["credits"], said["images_landed"]) == (TASK_ID, 10, 1)

    def test_an_edit_is_a_composite(self) -> None:
        assert str(manifest(kind="edit").digital_source_type).endswith(
            "/compositeWithTrainedAlgorithmicMedia"
        )

    def test_a_rescued_id_says_what_is_not_known(self) -> None:
        bare = generation(kind=None, created_at=None, num_images=None, credits=None, record=None)
        rescued = build_manifest(bare, (image(),), record=None, record_file=None, landed_by={}, landed_at="x")
        assert (rescued.submission, rescued.made_by, rescued.endpoint, rescued.digital_source_type) == (
            None,
        ) * 4
        assert rescued.missing_images == 0

    def test_missing_images_are_counted(self) -> None:
        assert manifest(image(1), image(3), num_images=4).missing_images == 2
        assert manifest(image(1), image(2), num_images=1).missing_images == 0

    def test_xcom_gets_locations_and_no_prompt(self) -> None:
        landed = landed_generation(manifest(), "s3://bucket/watches")
        assert landed.manifest == "s3://bucket/watches/hero.json"
        assert [one.uri for one in landed.images] == ["s3://bucket/watches/hero_1.png"]
        assert "leather" not in json.dumps(landed.to_dict())


class TestReadingItBack:
    def test_it_survives_its_file(self) -> None:
        written = manifest(image(1), image(2))
        assert Manifest.from_json(written.to_json()) == written

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"x"', b"{}"])
    def test_what_is_none_is_refused(self, data: bytes) -> None:
        with pytest.raises(ValueError):
            Manifest.from_json(data)

    @pytest.mark.parametrize(
        "change",
        [
            {"schema_version": 2},
            {"images_landed": 2},
            {"images_landed": None},
            {"images": []},
            {"images": None},
            {"images": [{"file": "x"}]},
            {"images": 1},
            {"added_later": 1},
        ],
    )
    def test_what_does_not_add_up_is_refused(self, change: dict[str, Any]) -> None:
        fields = {**json.loads(manifest().to_json()), **change}
        with pytest.raises(ValueError):
            Manifest.from_json(json.dumps(fields).encode())

    @pytest.mark.parametrize("field", ["seedream_task_id", "images", "name", "landed_at", "credits"])
    def test_a_missing_field_is_refused(self, field: str) -> None:
        fields = json.loads(manifest().to_json())
        del fields[field]
        with pytest.raises(ValueError):
            Manifest.from_json(json.dumps(fields).encode())
