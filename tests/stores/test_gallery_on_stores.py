"""The gallery reads what was landed on every kind of store, and says so in words where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_seedream.gallery.reading import CannotShowError, read_image, read_manifest, read_piece
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.storage import Folder
from tests.gallery.stage import land
from tests.stores.servers import Place

BY = TaskRef(dag_id="watches", run_id="manual__1", task_id="land")


@pytest.fixture
def landed(store: Place, tmp_path: Path) -> str:
    """The URI of a manifest on the store."""
    land(tmp_path / "local", BY)
    for file in (tmp_path / "local").iterdir():
        Folder(store.uri).create(file.name, file.read_bytes())
    return f"{store.uri}/hero.json"


class TestReading:
    def test_the_manifest_and_the_images_are_read(self, store: Place, landed: str) -> None:
        manifest = read_manifest(landed, (store.uri,))
        for image in manifest.images:
            assert len(read_image(store.uri, image.file)[0]) == image.size_bytes
            assert read_image(store.uri, image.thumbnail or "")[1] == "image/png"

    def test_a_table_is_read_by_pieces(self, store: Place) -> None:
        Folder(store.uri).create("results.jsonl", bytes(range(100)) * 10)
        pieces = [
            read_piece(f"{store.uri}/results.jsonl", (store.uri,), start=start, max_bytes=600)
            for start in (0, 600)
        ]
        assert b"".join(pieces) == bytes(range(100)) * 10

    def test_what_is_not_there_is_not_an_outage(self, store: Place, landed: str) -> None:
        with pytest.raises(CannotShowError, match="not in the storage any more"):
            read_manifest(f"{store.uri}/other.json", (store.uri,))
        with pytest.raises(CannotShowError, match="not in the storage any more"):
            read_image(store.uri, "other.png")

    def test_whoever_may_not_is_told(self, store: Place) -> None:
        with pytest.raises(CannotShowError, match="does not answer, or refuses"):
            read_manifest(f"{store.forbidden_uri}/hero.json", (store.forbidden_uri,))
