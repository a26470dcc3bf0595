"""Subject: the peak memory of an edit with large sources, from reading them to the answer of the POST."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.model.submissions import build_submission
from airflow_provider_seedream.tasks.sources import read_sources
from tests.benchmarks.measuring import peak_memory, reset_peak_memory
from tests.benchmarks.server import png


def edit(sources: list[str]) -> None:
    """What the operator does between its ledger's intent and the id."""
    submission = build_submission(
        kind="edit",
        prompt="memory",
        image_size="square",
        num_images=1,
        seed=None,
        enable_safety_checker=True,
        take=1,
        sources=read_sources(sources),
    )
    SeedreamHook().submit(submission)


def measure(folder: Path, count: int, size_bytes: int) -> dict[str, Any]:
    sources = []
    for number in range(count):
        path = folder / f"source-{number}.png"
        path.write_bytes(png(size_bytes))
        sources.append(str(path))
    small = folder / "small.png"
    small.write_bytes(png(1000))
    png.cache_clear()
    edit([str(small)])  # pays for the imports
    baseline = reset_peak_memory()
    edit(sources)
    return {"memory_bytes": peak_memory() - baseline}


def main() -> None:
    task = json.loads(sys.argv[1])
    connection = {
        "conn_type": "seedream",
        "host": task["url"],
        "password": "benchmark",
        "extra": {"verify": task["bundle"]},
    }
    os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"] = json.dumps(connection)
    print(json.dumps(measure(Path(task["folder"]), task["count"], task["size_bytes"])))


if __name__ == "__main__":
    main()
