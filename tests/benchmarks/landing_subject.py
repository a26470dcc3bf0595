"""Subject: images from https links into storage, by our landing or by one of the usual ways, at the same concurrency.

Prints seconds, CPU and peak memory above what the process had before.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import requests

from airflow_provider_seedream.generations import Generation, GenerationStatus, ResultLinks
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.landing import PARALLEL_IMAGES, Origin, land
from airflow_provider_seedream.manifest import Manifest, ManifestImage, build_manifest
from airflow_provider_seedream.storage import Folder
from tests.benchmarks.measuring import peak_memory, reset_peak_memory

IMAGES_PER_GENERATION = 6
Land = Callable[[list[str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is measured."""

    way: str
    links: list[str]
    destination: str
    bundle: str


def by_landing(task: Task) -> Land:
    """Ours: verified, hashed, published once, and a manifest."""
    return partial(_land, task)


def _land(task: Task, links: list[str]) -> None:
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

    def build(images: tuple[ManifestImage, ...]) -> Manifest:
        return build_manifest(generation, images, record=None, record_file=None, landed_by={}, landed_at="now")

    with Downloads(max_bytes=2**26, timeout_seconds=60, verify=task.bundle, allow_loopback=True) as downloads:
        land(Folder(task.destination), generation, Origin(status=lambda: status, fetch=downloads.fetch), build)


def by_streaming(task: Task) -> Land:
    """The obvious way in Airflow: ObjectStoragePath.open, and pieces of 8 KB as in requests' documentation."""
    from airflow.sdk import ObjectStoragePath

    folder = ObjectStoragePath(task.destination)
    folder.mkdir(parents=True, exist_ok=True)

    def stream(session: requests.Session, link: str) -> None:
        with session.get(link, verify=task.bundle, stream=True, timeout=60) as answer, (folder / _file(link)).open("wb") as file:
            for piece in answer.iter_content(8192):
                file.write(piece)

    return partial(_each, stream)


def by_boto3(task: Task) -> Land:
    """Without Airflow's storage: one boto3 client for all, upload_fileobj straight from the socket."""
    import boto3

    known = json.loads(os.environ["AIRFLOW_CONN_SEEDREAM_S3"])
    client = boto3.client("s3", aws_access_key_id=known["login"], aws_secret_access_key=known["password"], **known["extra"])
    bucket, _, folder = task.destination.partition("@")[2].partition("/")

    def upload(session: requests.Session, link: str) -> None:
        with session.get(link, verify=task.bundle, stream=True, timeout=60) as answer:
            client.upload_fileobj(answer.raw, bucket, f"{folder}/{_file(link)}")

    return partial(_each, upload)


def _each(act: Callable[[requests.Session, str], None], links: list[str]) -> None:
    """As many threads as our landing has, and one session, as a careful author would."""
    with requests.Session() as session, ThreadPoolExecutor(max_workers=PARALLEL_IMAGES) as pool:
        list(pool.map(partial(act, session), links))


def _file(link: str) -> str:
    return f"{link.rpartition('/')[2]}.png"


WAYS: dict[str, Callable[[Task], Land]] = {"landing": by_landing, "streaming": by_streaming, "boto3": by_boto3}


def measure(task: Task) -> dict[str, Any]:
    """Generations of six images one after the other, each with connections of its own, as tasks have it."""
    land = WAYS[task.way](task)
    first, *rest = (task.links[at : at + IMAGES_PER_GENERATION] for at in range(0, len(task.links), IMAGES_PER_GENERATION))
    land(first)  # pays for the imports
    baseline = reset_peak_memory()
    seconds, cpu = time.perf_counter(), time.process_time()
    for links in rest:
        land(links)
    return {
        "seconds": time.perf_counter() - seconds,
        "cpu_seconds": time.process_time() - cpu,
        "memory_bytes": peak_memory() - baseline,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Task(**json.loads(sys.argv[1])))))
