"""G19 with ``embed_metadata=True``: the file says that AI made it, the manifest keeps the hash of what was
downloaded; G9 holds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.landing import xmp
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, records


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest(folder: Path) -> Any:
    return json.loads((folder / "hero.json").read_text())


def land(build: Build, prompt: str = "a watch", **options: Any) -> Runner:
    chain, runner = build(prompt=prompt, submit={"name": "hero", "num_images": 2}, land=options), Runner()
    assert runner.run(chain.submit).state == "success"
    assert runner.run(chain.land).state == "success"
    return runner


@pytest.mark.parametrize("kind", ["", "[jpeg]", "[webp]"])
class TestEmbedded:
    def test_the_file_says_that_ai_made_it(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool, kind: str
    ) -> None:
        land(build, f"a watch {kind}", embed_metadata=True, deferrable=deferrable)
        for image in manifest(folder)["images"]:
            with Image.open(folder / image["file"]) as opened:
                said = str(opened.info["xmp"])
            assert "trainedAlgorithmicMedia" in said
            assert manifest(folder)["seedream_task_id"] in said
            assert "a watch" not in said

    def test_the_manifest_has_both_hashes(
        self, emulator: Emulator, build: Build, folder: Path, kind: str
    ) -> None:
        land(build, f"a watch {kind}", embed_metadata=True)
        for image in manifest(folder)["images"]:
            data = (folder / image["file"]).read_bytes()
            assert (image["sha256"], image["size_bytes"]) == (sha256(data), len(data))
            assert image["downloaded_sha256"] != image["sha256"]

    def test_a_landing_that_is_repeated_meets_its_own_files(
        self, emulator: Emulator, build: Build, folder: Path, kind: str
    ) -> None:
        runner = land(build, f"a watch {kind}", embed_metadata=True)
        before = {path.name: path.read_bytes() for path in folder.glob("hero_*")}
        (folder / "hero.json").unlink()
        del runner
        land(build, f"a watch {kind}", embed_metadata=True)
        assert {path.name: path.read_bytes() for path in folder.glob("hero_*")} == before


class TestTheRecord:
    """``airflow seedream land`` reads in the record how the task would land."""

    def test_a_sensor_writes_how_it_lands_before_it_waits(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        how = {"embed_metadata": True, "max_image_bytes": 10_000_000}
        chain = build(prompt="a watch [never-ends]", land={**how, "timeout": 0.5, "deferrable": deferrable})
        runner = Runner()
        runner.run(chain.submit)
        assert runner.run(chain.land).state != "success"
        (told,) = records(folder)
        assert (told["outcome"], told["embed_metadata"], told["max_image_bytes"]) == (
            "submitted",
            True,
            10_000_000,
        )

    def test_an_operator_that_waits_writes_it_with_the_request(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        chain = build(prompt="a watch [drop-after-accept]", submit={"wait": True, "embed_metadata": True})
        assert Runner().run(chain.submit).state == "failed"
        (told,) = records(folder)
        assert (told["outcome"], told["embed_metadata"]) == ("unknown", True)
        assert "max_image_bytes" not in told

    def test_defaults_leave_a_record_that_0_2_can_read(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        land(build)
        (told,) = records(folder)
        assert told["outcome"] == "landed"
        assert not {"embed_metadata", "max_image_bytes"} & set(told)


class TestByDefault:
    def test_the_file_is_what_was_downloaded(self, emulator: Emulator, build: Build, folder: Path) -> None:
        land(build)
        for image in manifest(folder)["images"]:
            assert (
                image["downloaded_sha256"] == image["sha256"] == sha256((folder / image["file"]).read_bytes())
            )


class TestUnchanged:
    """A paid image lands whatever becomes of its metadata."""

    def test_an_image_that_is_signed_lands_as_it_came(
        self, emulator: Emulator, build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The emulator signs nothing, so what tells a signed file is replaced here; the unit test has a
        signed one.
        """
        monkeypatch.setattr(xmp, "has_content_credentials", lambda data: True)
        land(build, embed_metadata=True)
        assert all(image["downloaded_sha256"] == image["sha256"] for image in manifest(folder)["images"])

    def test_an_image_that_the_library_cannot_write_lands_as_it_came(
        self, emulator: Emulator, build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(xmp, "embed", lambda data, **_: data[:1].decode("utf-16"))
        land(build, embed_metadata=True)
        assert all(image["downloaded_sha256"] == image["sha256"] for image in manifest(folder)["images"])


class TestWithWait:
    def test_the_operator_embeds_as_well(self, emulator: Emulator, build: Build, folder: Path) -> None:
        chain = build(submit={"name": "hero", "wait": True, "embed_metadata": True, "timeout": 20})
        assert Runner().run(chain.submit).state == "success"
        [image] = manifest(folder)["images"]
        assert image["downloaded_sha256"] != image["sha256"]

    def test_a_worker_without_the_library_pays_nothing(
        self, emulator: Emulator, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_seedream.tasks.wait_options.find_spec", lambda name: None)
        chain = build(submit={"embed_metadata": True, "wait": True, "retries": 2})
        outcome = Runner().run(chain.submit)
        assert (outcome.state, outcome.tries) == ("failed", 1)
        assert emulator.books.posts_received == 0
