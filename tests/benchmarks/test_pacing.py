"""How much of the rate limit is used, and how much is refused: by one triggerer, by several, and without
pacing.
"""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.rate_limit.limiter import RateLimiter
from tests.benchmarks.pacing import (
    Latency,
    Night,
    deferred,
    direct,
    mapped_refusals,
    paced_night,
    unpaced_night,
)
from tests.benchmarks.report import Report

pytestmark = pytest.mark.benchmark

HOURS = {3: 12.0, 60: 8.0, 600: 1.5}
LATENCIES: dict[str, Latency] = {"tasks that deferred": deferred, "one process": direct}


@pytest.mark.parametrize("rate", HOURS)
@pytest.mark.parametrize("way", LATENCIES)
def test_one_limiter_uses_the_limit_and_is_seldom_refused(report: Report, rate: int, way: str) -> None:
    latency, hours = LATENCIES[way], HOURS[rate]
    paced = {
        limiters: paced_night(rate, [RateLimiter(rate) for _ in range(limiters)], latency, hours=hours)
        for limiters in (1, 2, 4)
    }
    divided = paced_night(rate, [RateLimiter(rate / 4) for _ in range(4)], latency, hours=hours)
    unpaced = unpaced_night(rate, 10 * rate, latency, hours=2.0 if rate < 600 else 1.0)
    section = f"{rate} requests a minute, {way}: the limit against the feedback of 429s"
    nights = {
        "1 limiter, or one that all share": paced[1],
        "2 limiters, feedback alone": paced[2],
        "4 limiters, feedback alone": paced[4],
        "4 limiters, a quarter of the limit each": divided,
        f"{10 * rate} tasks, no pacing": unpaced,
    }
    for name, night in nights.items():
        report.add(section, name, **columns(night))
    assert paced[1].refused_share < 0.01 and paced[1].used_share > 0.8
    assert paced[2].refused_share < (0.08 if rate < 60 else 0.01) and paced[2].used_share > (
        0.6 if rate < 60 else 0.85
    )
    assert unpaced.refused_share > 0.5


@pytest.mark.parametrize("rate", [3, 60])
def test_late_instances_that_ask_first_are_refused_five_times_less(report: Report, rate: int) -> None:
    section = f"429s of a mapped task of 300, {rate} requests a minute"
    found = {asks: mapped_refusals(rate, 300, deferred, asks_first=asks) for asks in (True, False)}
    for asks, refused in found.items():
        name = "late instances ask for a turn first" if asks else "every instance begins with a POST"
        report.add(section, name, ours=asks, refusals=str(refused))
    assert found[True] < found[False] / 5


def columns(night: Night) -> Any:
    return {"of the limit": f"{night.used_share:.1%}", "429s": f"{night.refused_share:.2%}"}
