"""Does one event loop hold 1,000 waiting generations?"""

from __future__ import annotations

from math import isinf

import pytest

from tests.benchmarks.certificate import Certificate
from tests.benchmarks.measuring import null_server
from tests.benchmarks.polling import Polling, measure_polling
from tests.benchmarks.report import Report

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(180)]

WAYS = {"trigger": "SeedreamGenerationTrigger", "threads": "asyncio.to_thread(requests)"}
WAITING, SECONDS = 1000, 12.0


@pytest.mark.parametrize("latency_seconds", [0.0, 0.3], ids=["fast server", "answers after 0.3 s"])
def test_a_thousand_waiting_generations_are_looked_at_on_time(
    certificate: Certificate, report: Report, latency_seconds: float
) -> None:
    with null_server(certificate, latency_seconds) as server:
        found = {
            way: measure_polling(way, server, latency_seconds=latency_seconds, waiting=WAITING, seconds=SECONDS) for way in WAYS
        }
    section = f"{WAITING} waiting generations, a look every 5 s each, answers after {latency_seconds} s (ratio: CPU per look)"
    for way, polling in found.items():
        ratio = polling.cpu_per_look / found["trigger"].cpu_per_look
        report.add(section, WAYS[way], ratio=ratio, ours=way == "trigger", **columns(polling))
    ours = found["trigger"]
    if ours.idle_warnings:
        pytest.skip(f"a thread that only sleeps was held up {ours.idle_warnings} times: this machine is too busy to judge")
    assert ours.on_time >= 0.95
    assert ours.warnings == 0


def columns(polling: Polling) -> dict[str, str]:
    return {
        "on time": f"{polling.on_time:.1%}",
        "looks/s": f"{polling.looks_per_second:.0f} of {polling.wanted_per_second:.0f}",
        "p99 late": "never" if isinf(polling.p99_late_seconds) else f"{polling.p99_late_seconds * 1000:.0f} ms",
        "CPU": f"{polling.cpu_share:.0%}",
        "longest block": f"{polling.longest_block_seconds * 1000:.0f} ms",
        "warnings": str(polling.warnings),
        "idle thread's": str(polling.idle_warnings),
        "memory": f"{polling.memory_bytes / 1e6:.0f} MB",
    }
