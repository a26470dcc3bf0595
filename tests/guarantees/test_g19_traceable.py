"""G19: every image is traceable: the manifest says from what, by whom, at what price, and the files are
what was downloaded.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from PIL import Image

from airflow_provider_seedream import __version__
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, images, records
from tests.guarantees.whole import read_files, served_bytes, the_manifest

PROMPT = "a leather watch, „Zürich“, 夜 🌙"
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
RUN = {"dag_id": "guarantees", "run_id": "manual__2026-03-01", "map_index": -1}


def picture(color: str) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(target, "PNG")
    return target.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class TestAGeneratedImage:
    @pytest.mark.parametrize("seed", [7, None])
    def test_a_generated_image_is_described_from_prompt_to_bytes(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, seed: int | None
    ) -> None:
        request = {
            "image_size": "landscape_4_3",
            "num_images": 2,
            "seed": seed,
            "enable_safety_checker": False,
            "take": 2,
        }
        chain = build(prompt=PROMPT, name="hero", submit=request, land={"deferrable": deferrable})
        runner = Runner()
        submitted = runner.run(chain.submit)
        runner.run(chain.land)

        manifest = the_manifest(read_files(folder))
        (paid,) = emulator.books.submissions
        (record,) = records(folder)
        assert manifest["submission"] == {"prompt": PROMPT, "kind": "generate", "sources": [], **request}
        assert {
            field: manifest[field]
            for field in (
                "schema_version",
                "kind",
                "model",
                "endpoint",
                "credits",
                "digital_source_type",
                "provider",
            )
        } == {
            "schema_version": 1,
            "kind": "generate",
            "model": "seedream-v5-lite",
            "endpoint": "/v1/images/seedream/v5/lite/generate/",
            "credits": paid.credits,
            "digital_source_type": f"{IPTC}trainedAlgorithmicMedia",
            "provider": f"airflow-provider-seedream/{__version__}",
        }
        assert manifest["seedream_task_id"] == paid.seedream_task_id == submitted.value["seedream_task_id"]
        assert manifest["made_by"] == {**RUN, "task_id": "submit", "try_number": 1} == record["made_by"]
        assert manifest["landed_by"] == {**RUN, "task_id": "land", "try_number": 1}
        assert manifest["created_at"] == submitted.value["created_at"] <= manifest["landed_at"]
        assert json.loads((folder / manifest["record"]).read_text()) == record
        assert (record["outcome"], record["seedream_task_id"]) == ("landed", paid.seedream_task_id)

        served = served_bytes(emulator, paid.seedream_task_id)
        assert [image["sha256"] for image in manifest["images"]] == [sha256(data) for data in served]
        assert [(folder / name).read_bytes() for name in images(folder)] == served
        for image, data in zip(manifest["images"], served, strict=True):
            with Image.open(io.BytesIO(data)) as picture:
                assert (image["width"], image["height"], image["media_type"]) == (*picture.size, "image/png")

    def test_a_generated_image_names_the_tries_that_paid_and_that_landed(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = build(submit={"retries": 2, "timeout": 1}, land={"retries": 2, "deferrable": deferrable})
        emulator.inject("rate-limited", seconds=60, times=1)
        runner = Runner()
        runner.run(chain.submit)
        emulator.inject("refuse", endpoint="download", status=404, times=2)
        runner.run(chain.land)
        manifest = the_manifest(read_files(folder))
        assert (manifest["made_by"]["try_number"], manifest["landed_by"]["try_number"]) == (2, 2)


class TestAnEditedImage:
    def test_an_edited_image_names_its_sources_by_uri_and_hash(
        self, emulator: Emulator, destination: str, folder: Path, tmp_path: Path, deferrable: bool
    ) -> None:
        teal, red = tmp_path / "teal.png", tmp_path / "red.png"
        teal.write_bytes(picture("teal"))
        red.write_bytes(picture("red"))
        with DAG("guarantees", schedule=None):
            task = SeedreamEditOperator(
                task_id="edit",
                prompt="bluer",
                images=[str(teal), f"file://{red}"],
                destination=destination,
                wait=True,
                deferrable=deferrable,
                poke_interval=0.05,
            )
        outcome = Runner().run(task)
        manifest = the_manifest(read_files(folder))
        assert (manifest["kind"], manifest["endpoint"]) == ("edit", "/v1/images/seedream/v5/lite/edit/")
        assert manifest["digital_source_type"] == f"{IPTC}compositeWithTrainedAlgorithmicMedia"
        assert manifest["made_by"] == manifest["landed_by"] == {**RUN, "task_id": "edit", "try_number": 1}
        assert manifest["submission"]["sources"] == [
            {"uri": uri, "sha256": sha256(data), "size_bytes": len(data), "media_type": "image/png"}
            for uri, data in ((str(teal), picture("teal")), (f"file://{red}", picture("red")))
        ]
        sent: list[dict[str, Any]] = emulator.books.submissions[0].payload["image_urls"]
        assert [source["sha256"] for source in sent] == [sha256(picture("teal")), sha256(picture("red"))]
        assert [(folder / name).read_bytes() for name in images(folder)] == served_bytes(
            emulator, outcome.value["seedream_task_id"]
        )

    def test_an_edit_of_a_landed_image_leads_back_to_its_manifest(
        self, emulator: Emulator, build: Build, destination: str, folder: Path
    ) -> None:
        chain = build(name="first")
        runner = Runner()
        runner.run(chain.submit)
        landed = runner.run(chain.land).value
        with DAG("second", schedule=None):
            task = SeedreamEditOperator(
                task_id="edit",
                prompt="bluer",
                images=landed,
                destination=f"{destination}/second",
                wait=True,
                poke_interval=0.05,
            )
        Runner().run(task)
        (file,) = (folder / "second").glob("*.json")
        (source,) = json.loads(file.read_text())["submission"]["sources"]
        first = json.loads((folder / "first.json").read_text())
        assert source["sha256"] == first["images"][0]["sha256"]
        assert source["uri"] == landed["images"][0]["uri"]


class TestARescuedImage:
    def test_a_rescued_image_says_what_is_known_and_guesses_nothing(
        self, emulator: Emulator, build: Build, folder: Path, destination: str
    ) -> None:
        task_id = Runner().run(build(prompt=PROMPT).submit).value["seedream_task_id"]
        with DAG("rescue", schedule=None):
            task = SeedreamGenerationSensor(
                task_id="rescue", generation=task_id, destination=f"{destination}/rescued", poke_interval=0.05
            )
        assert Runner().run(task).state == "success"
        manifest = the_manifest(read_files(folder / "rescued"))
        assert manifest["seedream_task_id"] == task_id
        unknown = (
            "kind",
            "endpoint",
            "submission",
            "credits",
            "images_requested",
            "digital_source_type",
            "made_by",
            "record",
        )
        assert {manifest[field] for field in unknown} == {None}
        assert manifest["landed_by"]["task_id"] == "rescue"
        assert emulator.books.posts == 1
