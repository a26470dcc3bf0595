"""What do a verified landing and its manifest cost beside a bare copy, and is memory bounded?"""

from __future__ import annotations

import pytest

from airflow_provider_seedream.landing import PARALLEL_IMAGES
from tests.benchmarks.landing import Landing, measure_landing
from tests.benchmarks.measuring import Server
from tests.benchmarks.report import Report

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(240)]

WAYS = {
    "landing": "our landing (verified, manifest)",
    "streaming": "ObjectStoragePath.open, 8 KB pieces",
    "boto3": "boto3 upload_fileobj, shared client",
}
ROUNDS = 3


@pytest.mark.parametrize(("size_bytes", "images"), [(4_000_000, 18), (200_000, 36)], ids=["4 MB", "200 KB"])
def test_landing_costs_about_what_a_bare_copy_costs(
    folder: str, server: Server, report: Report, size_bytes: int, images: int
) -> None:
    found = _measure(folder, server, size_bytes=size_bytes, images=images, rounds=ROUNDS)
    section = f"{images} images of {size_bytes / 1e6:g} MB to {_kind(folder)}, {PARALLEL_IMAGES} at once (ratio: CPU)"
    _report(report, section, found)
    assert found["landing"].cpu_seconds < 2 * found["streaming"].cpu_seconds


def test_memory_is_bounded_by_the_images_in_flight(folder: str, server: Server, report: Report) -> None:
    size_bytes = 20_000_000
    found = _measure(folder, server, size_bytes=size_bytes, images=6, rounds=1)
    section = f"6 images of 20 MB to {_kind(folder)}, {PARALLEL_IMAGES} at once (ratio: CPU)"
    _report(report, section, found)
    copies = 1 if folder.startswith("file:") else 2  # an S3 client copies the body that it sends
    assert found["landing"].memory_bytes < 1.3 * copies * PARALLEL_IMAGES * size_bytes


def _measure(folder: str, server: Server, *, size_bytes: int, images: int, rounds: int) -> dict[str, Landing]:
    ways = tuple(way for way in WAYS if way != "boto3" or folder.startswith("s3:"))
    return measure_landing(ways, folder, server, size_bytes=size_bytes, images=images, rounds=rounds)


def _report(report: Report, section: str, found: dict[str, Landing]) -> None:
    for way, landing in found.items():
        report.add(
            section,
            WAYS[way],
            ratio=landing.cpu_seconds / found["landing"].cpu_seconds,
            ours=way == "landing",
            **{
                "images/s": f"{landing.images_per_second:.1f}",
                "CPU s/GB": f"{landing.cpu_seconds_per_gb:.1f}",
                "CPU ms/image": f"{landing.cpu_seconds / landing.images * 1000:.1f}",
                "peak memory": f"{landing.memory_bytes / 1e6:.0f} MB",
            },
        )


def _kind(folder: str) -> str:
    return "file://" if folder.startswith("file:") else "a real S3"
