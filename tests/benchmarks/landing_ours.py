"""Our landing as a benchmark runs it, and its parts one by one: what is left out of a part costs the rest."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from airflow_provider_seedream.generations import Generation, GenerationStatus, ResultLinks
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.land import PARALLEL_IMAGES, land_images, publish_manifest
from airflow_provider_seedream.landing.links import Links
from airflow_provider_seedream.manifest import build_manifest
from airflow_provider_seedream.model.images import inspect_image, is_whole
from airflow_provider_seedream.storage import Folder
from tests.benchmarks.landing_ways import Land, Task, file_name, obstore_store
from tests.benchmarks.server import png


def by_landing(task: Task) -> Land:
    """Verified, hashed, published once, and a manifest; each generation by a task, with connections of its
    own.
    """
    return partial(_land, task)


def by_landing_in_a_batch(task: Task) -> Land:
    """The same in one task, as a batch does it: one session for all downloads."""
    return partial(_land_from, _downloads(task), task, Folder)


def by_landing_through_obstore(task: Task) -> Land:
    """That of a batch with another library below its folder: what an accelerator could win."""
    store = obstore_store(task)
    prefix = task.destination.partition("@")[2].partition("/")[2]

    class Accelerated(Folder):
        def create(self, name: str, data: bytes, *, remember: bool = False) -> bool:
            store.put(f"{prefix}/{name}", data, mode="create")
            return True

    return partial(_land_from, _downloads(task), task, Accelerated)


def _land(task: Task, links: list[str]) -> None:
    with _downloads(task) as downloads:
        _land_from(downloads, task, Folder, links)


def _land_from(downloads: Downloads, task: Task, folder: type[Folder], links: list[str]) -> None:
    name = str(uuid.uuid4())
    results = tuple(ResultLinks(image=link, thumbnail=None) for link in links)
    status = GenerationStatus(status="FINISHED", progress=None, failure_reason=None, results=results)
    generation = Generation(
        seedream_task_id=name,
        kind=None,
        created_at=None,
        num_images=len(links),
        credits=None,
        destination=task.destination,
        name=name,
        record=None,
    )

    place, known = folder(task.destination), Links(generation, SeedreamHook(), downloads, status)
    images = land_images(place, generation, known, embed_metadata=False, without_dead_links=False)
    manifest = build_manifest(
        generation, images, record=None, record_file=None, landed_by={}, landed_at="now"
    )
    publish_manifest(place, generation, manifest)


def _downloads(task: Task) -> Downloads:
    return Downloads(max_bytes=2**26, timeout_seconds=60, verify=task.bundle, allow_loopback=True)


def only_download(task: Task) -> Land:
    def land(links: list[str]) -> None:
        with _downloads(task) as downloads:
            _in_threads(lambda link: len(downloads.fetch(link)), links)

    return land


def only_verify(task: Task) -> Land:
    data = png(task.size_bytes)
    return partial(_in_threads, lambda _: is_whole(data, inspect_image(data)))  # type: ignore[arg-type]


def only_hash(task: Task) -> Land:
    data = png(task.size_bytes)
    return partial(_in_threads, lambda _: hashlib.sha256(data).hexdigest())


def only_store(task: Task) -> Land:
    data, folder = png(task.size_bytes), Folder(task.destination)
    return partial(_in_threads, lambda link: folder.create(file_name(link), data))


def _in_threads(act: Callable[[str], object], links: list[str]) -> None:
    with ThreadPoolExecutor(max_workers=PARALLEL_IMAGES) as pool:
        list(pool.map(act, links))


OURS: dict[str, Callable[[Task], Land]] = {
    "landing": by_landing,
    "landing in a batch": by_landing_in_a_batch,
    "landing through obstore": by_landing_through_obstore,
    "only download": only_download,
    "only verify": only_verify,
    "only hash": only_hash,
    "only store": only_store,
}
