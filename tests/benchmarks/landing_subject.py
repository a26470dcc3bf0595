"""Subject: images from https links into storage, by our landing, a part of it, or one of the usual ways, at
the same concurrency.

Prints seconds, CPU (programs that were run included) and peak memory above what the process had before.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from airflow.sdk import ObjectStoragePath

from tests.benchmarks.landing_ours import OURS
from tests.benchmarks.landing_ways import IMAGES_PER_GENERATION, OTHERS, Task
from tests.benchmarks.measuring import peak_memory, reset_peak_memory


def measure(task: Task) -> dict[str, Any]:
    """Generations of six images one after the other, each with connections of its own, as tasks have it."""
    land = (OURS | OTHERS)[task.way](task)
    links = task.links()
    first, *rest = (
        links[at : at + IMAGES_PER_GENERATION] for at in range(0, len(links), IMAGES_PER_GENERATION)
    )
    land(first)  # pays for the imports
    baseline = reset_peak_memory()
    seconds, cpu = time.perf_counter(), _cpu_seconds()
    for links in rest:
        land(links)
    found = {
        "seconds": time.perf_counter() - seconds,
        "cpu_seconds": _cpu_seconds() - cpu,
        "memory_bytes": peak_memory() - baseline,
    }
    _clear(task.destination)
    return found


def _clear(destination: str) -> None:
    """The server keeps everything in memory, and a full one hangs."""
    folder = ObjectStoragePath(destination)
    if folder.exists():
        folder.rmdir(recursive=True)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    print(json.dumps(measure(Task(**json.loads(sys.argv[1])))))
