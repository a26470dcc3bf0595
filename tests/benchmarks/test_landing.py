"""What do a verified landing and its manifest cost beside bare copies, where does it go, and is memory
bounded?
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import pytest

from airflow_provider_seedream.landing.land import PARALLEL_IMAGES
from tests.benchmarks.landing import Landing, measure_landing
from tests.benchmarks.measuring import Server
from tests.benchmarks.report import Report

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

WAYS = {
    "landing": "our landing (verified, hashed, manifest)",
    "landing in a batch": "the same in a batch, one session for all",
    "streaming": "ObjectStoragePath.open, 8 KB pieces",
    "boto3": "boto3 upload_fileobj, shared client",
    "boto3 with one session": "boto3 upload_fileobj, one session for all",
    "boto3 with hash": "boto3 put_object and sha256",
    "obstore": "obstore put",
    "landing through obstore": "our landing in a batch, obstore below it",
}
PARTS = {
    "landing": "all of it",
    "only download": "only download",
    "only verify": "only verify",
    "only hash": "only sha256",
    "only store": "only store",
}
PROGRAMS = {"landing": "our landing", "rclone": "rclone copyurl", "aws": "curl | aws s3 cp"}
QUICK = {"4 MB": (4_000_000, 36), "200 KB": (200_000, 72)}
FULL = {"4 MB": (4_000_000, 200), "200 KB": (200_000, 2000)}


@pytest.mark.parametrize("size", QUICK)
def test_landing_costs_about_what_a_bare_copy_costs(
    folder: str, server: Server, report: Report, full: bool, size: str
) -> None:
    size_bytes, images = (FULL if full else QUICK)[size]
    ways = _available(folder) + [part for part in PARTS if part != "landing"]
    found = measure_landing(
        tuple(ways), folder, server, size_bytes=size_bytes, images=images, rounds=1 if full else 2
    )
    section = f"{images} images of {size} to {_kind(folder)}, {PARALLEL_IMAGES} at once"
    _report(report, f"{section} (ratio: CPU)", found, WAYS)
    _report(report, f"Where the CPU of landing goes, {section} (ratio: CPU)", found, PARTS)
    assert found["landing"].cpu_seconds < 1.5 * found["streaming"].cpu_seconds
    if "boto3 with hash" in found:
        assert found["landing"].cpu_seconds < 1.4 * found["boto3 with hash"].cpu_seconds


def test_a_program_per_image_costs_a_multiple(folder: str, server: Server, report: Report) -> None:
    ways = [way for way in PROGRAMS if way == "landing" or shutil.which(way)]
    if folder.startswith("file:") or len(ways) == 1:
        pytest.skip("rclone and aws are for stores, where they are installed")
    found = measure_landing(tuple(ways), folder, server, size_bytes=4_000_000, images=6, rounds=1)
    _report(report, "6 images of 4 MB to a real S3, a program for each (ratio: CPU)", found, PROGRAMS)
    assert min(found[way].cpu_seconds for way in ways[1:]) > found["landing"].cpu_seconds


def test_memory_is_bounded_by_the_images_in_flight(folder: str, server: Server, report: Report) -> None:
    size_bytes = 20_000_000
    found = measure_landing(
        tuple(_available(folder)), folder, server, size_bytes=size_bytes, images=6, rounds=1
    )
    _report(
        report, f"6 images of 20 MB to {_kind(folder)}, {PARALLEL_IMAGES} at once (ratio: CPU)", found, WAYS
    )
    copies = 1 if folder.startswith("file:") else 2  # an S3 client copies the body that it sends
    assert found["landing"].memory_bytes < 1.3 * copies * PARALLEL_IMAGES * size_bytes


def _available(folder: str) -> list[str]:
    if folder.startswith("file:"):
        return ["landing", "landing in a batch", "streaming"]
    return [way for way in WAYS if "obstore" not in way or find_spec("obstore")]


def _report(report: Report, section: str, found: dict[str, Landing], names: dict[str, str]) -> None:
    for way in filter(found.__contains__, names):
        landing = found[way]
        report.add(
            section,
            names[way],
            ratio=landing.cpu_seconds / found["landing"].cpu_seconds,
            ours=way in ("landing", "landing in a batch"),
            **{
                "images/s": f"{landing.images_per_second:.1f}",
                "CPU s/GB": f"{landing.cpu_seconds_per_gb:.2f}",
                "CPU ms/image": f"{landing.cpu_seconds / landing.images * 1000:.1f}",
                "peak memory": f"{landing.memory_bytes / 1e6:.0f} MB",
            },
        )


def _kind(folder: str) -> str:
    return "file://" if folder.startswith("file:") else "a real S3"
