"""Landing: images from links into storage, ours beside the usual ways, in turns so that a busy machine is
unfair to all alike.
"""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from tests.benchmarks.measuring import Server, run_subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """What a number of images cost: the median of the rounds."""

    images: int
    size_bytes: int
    seconds: float
    cpu_seconds: float
    memory_bytes: float

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds

    @property
    def cpu_seconds_per_gb(self) -> float:
        return self.cpu_seconds / (self.images * self.size_bytes / 1e9)


def measure_landing(
    ways: tuple[str, ...], folder: str, server: Server, *, size_bytes: int, images: int, rounds: int
) -> dict[str, Landing]:
    """Each way, ``rounds`` times in turns, into the folder with this URI."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            arguments = {
                "way": way,
                "url": server.url,
                "size_bytes": size_bytes,
                "images": images,
                "destination": f"{folder}/{uuid.uuid4().hex}",
                "bundle": server.bundle,
            }
            found[way].append(run_subject("landing_subject", arguments, timeout_seconds=600))
    return {
        way: Landing(images=images, size_bytes=size_bytes, **dict(_medians(rounds_of)))
        for way, rounds_of in found.items()
    }


def _medians(rounds: list[dict[str, float]]) -> Iterator[tuple[str, float]]:
    for name in rounds[0]:
        yield name, statistics.median(one[name] for one in rounds)
