"""The gallery before 100,000 landed generations on PostgreSQL, among 300,000 other XComs and behind 2,000
failed runs.

``pytest -s -m benchmark tests/gallery/test_at_scale.py`` prints what each page takes; `GENERATIONS=10000`
makes it small.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.gallery.prompts import index_of
from airflow_provider_seedream.gallery.roots import gallery_roots
from airflow_provider_seedream.manifest import Manifest, ManifestImage, landed_generation
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.airflow.postgres import find_binaries, postgres
from tests.gallery.browsing import THINGS
from tests.gallery.conftest import airflow_tables, cookies_of
from tests.gallery.stage import LINK_KEY, NOON, manifest_fields, submitted
from tests.gallery.xcom_tables import Filling, filling

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
GENERATIONS, OTHERS, FAILED, MAPPED = int(os.environ.get("GENERATIONS", "100000")), 300_000, 2_000, 100


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_ROOTS", tmp_path.as_uri())
    with postgres(binaries) as url, airflow_tables(url, passwords=tmp_path / "passwords.json"):
        fill(tmp_path)
        yield TestClient(create_app(apps="core"), cookies=cookies_of("admin"), follow_redirects=False)


def fill(root: Path) -> None:
    with filling() as rows:
        for number in range(OTHERS):
            other = TaskRef(
                dag_id=f"other{number % 40}", run_id=f"r{number // 100}", task_id=f"t{number % 100}"
            )
            rows.add(other, "return_value", {"n": number}, after(number))
        for number in range(GENERATIONS):
            generation(rows, root / f"{number // 1000:03d}", number)
        for number in range(FAILED):
            failed = TaskRef(dag_id="watches", run_id=f"failed{number}", task_id="land")
            rows.add(failed, LINK_KEY, "x", after(GENERATIONS + 100 + number))


def after(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def generation(rows: Filling, folder: Path, number: int) -> None:
    """The six XComs of a mapped submission and its landing, and the manifest."""
    run, name = number // MAPPED, f"pic{number}"
    own = {
        "dag_id": "watches" if run % 2 else "shoes",
        "run_id": f"scheduled__{run:05d}",
        "map_index": number % MAPPED,
    }
    submit, land = TaskRef(**own, task_id="submit"), TaskRef(**own, task_id="land")
    prompt = (
        f"a {THINGS[number % len(THINGS)]} on wet stone, catalogue picture number {number}, soft "
        "morning light"
    )
    fields = {"size_bytes": 1_000_000, "width": 2048, "height": 2048, "media_type": "image/png"}
    images = [
        ManifestImage(
            number=n,
            file=f"{name}_{n}.png",
            sha256=f"{number * 10 + n:064x}",
            thumbnail=f"{name}_{n}.t.png",
            **fields,
        )
        for n in (1, 2)
    ]
    manifest = Manifest(**{**manifest_fields(land, name, prompt, 2), "images": tuple(images)})
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_bytes(manifest.to_json())
    value = landed_generation(manifest, folder.as_uri()).to_dict()
    for place, result, second in ((submit, submitted(name), number), (land, value, number + 60)):
        rows.add(place, "return_value", result, after(second))
        rows.add(place, LINK_KEY, place.address("task"), after(second))
    rows.add(submit, "seedream_task_id", f"id-of-{name}", after(number))
    rows.add(land, "images", [image["uri"] for image in value["images"]], after(number + 60))


def test_pages_and_searches_before_everything_that_was_ever_landed(client: Any) -> None:
    took = {
        path: timed(client, path)
        for path in ("/seedream/", "/seedream/dag/watches", "/seedream/?run=scheduled__00001")
    }
    timed(client, "/seedream/?text=number 50,")
    start = time.monotonic()
    index_of(gallery_roots()).wait(1500)
    print(f"The prompts were read in {time.monotonic() - start:.0f} s.")
    for words in ("number 50,", "lighthouse", "no such thing"):
        took[f"/seedream/?text={words}"] = timed(client, f"/seedream/?text={words}")
    print("\n".join(f"{seconds:6.3f} s  {path}" for path, seconds in took.items()))
    found = client.get("/seedream/?text=number 50,").text
    assert found.count('<article class="card') == 1
    assert f"prompts of {GENERATIONS} generations" in re.sub("<[^>]+>", "", found)
    assert client.get("/seedream/").text.count('<article class="card') == 24


def timed(client: Any, path: str) -> float:
    """Seconds of the second answer: the first one opens files and connections."""
    client.get(path)
    start = time.perf_counter()
    assert client.get(path).status_code == 200
    return time.perf_counter() - start
