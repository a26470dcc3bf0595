"""Is the memory of an edit bounded by its sources?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.measuring import Server, run_subject
from tests.benchmarks.report import Report

pytestmark = pytest.mark.benchmark

COUNT, SIZE_BYTES = 10, 10_000_000


def test_an_edit_holds_its_sources_once_and_never_their_encoded_body(
    server: Server, report: Report, tmp_path: Path
) -> None:
    arguments = {
        "url": server.url,
        "bundle": server.bundle,
        "folder": str(tmp_path),
        "count": COUNT,
        "size_bytes": SIZE_BYTES,
    }
    peak = run_subject("memory_subject", arguments)["memory_bytes"]
    sources, body = COUNT * SIZE_BYTES, COUNT * SIZE_BYTES * 4 // 3
    values = {
        "sources": f"{sources / 1e6:.0f} MB",
        "body": f"{body / 1e6:.0f} MB",
        "peak memory": f"{peak / 1e6:.0f} MB",
    }
    report.add(
        f"An edit with {COUNT} sources of {SIZE_BYTES / 1e6:g} MB (ratio: to its sources)",
        "our edit",
        ratio=peak / sources,
        ours=True,
        **values,
    )
    assert peak < 1.2 * sources
