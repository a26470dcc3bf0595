"""G12: small footprint. What Airflow stores of a task is counted in hundreds of bytes; what a worker holds
is bounded.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from PIL import Image

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.landing.land import PARALLEL_IMAGES
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator
from tests.airflow.deferral import Deferral
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, images
from tests.guarantees.landing_process import TaskProcess

KIB = 1024
MIB = 1024 * KIB
LONG_REASONS = {
    "latin": "The model is tired. " * 500,
    "Chinese": "画像を生成できませんでした。" * 500,
    "emoji": "🌙" * 5000,
    "quotes": '"\\' * 5000,
    "control characters": "\x00\x1f" * 3000,
}
# What Python, requests, fsspec and malloc may take beside the payload.
OVERHEAD_BYTES = 24 * MIB


def size_of(value: Any) -> int:
    """Bytes as JSON in a database column: everything beyond ASCII is escaped."""
    return len(value if isinstance(value, str) else json.dumps(value))


def assert_small(deferrals: list[Deferral]) -> None:
    assert deferrals
    for deferral in deferrals:
        assert size_of(deferral.row) < KIB
        assert size_of(deferral.event or "") < KIB


class TestWhatAirflowStores:
    def test_what_airflow_stores_of_six_images_stays_below_its_bounds(
        self, emulator: Emulator, build: Build, tmp_path: Path
    ) -> None:
        destination = f"file://{tmp_path}/{'a-rather-long-folder-name/' * 4}2026-03-01"
        long_name = "a-descriptive-name-" * 5
        prompt = "a long prompt " * 200 + "[takes:1]"
        chain = build(
            prompt=prompt, num_images=6, name=long_name, destination=destination, land={"deferrable": True}
        )
        runner = Runner()
        submitted = runner.run(chain.submit)
        landed = runner.run(chain.land)
        assert landed.state == "success"
        assert len(landed.value["images"]) == 6
        assert len(destination) > 180
        for outcome in (submitted, landed):
            assert max(map(size_of, outcome.xcoms.values())) < 4 * KIB
        assert_small(landed.deferrals)
        assert size_of(landed.deferrals[0].next_kwargs) < 2 * KIB

    @pytest.mark.parametrize("name", ["画" * 50, "n" * 150])
    def test_what_airflow_stores_of_the_longest_names_stays_below_its_bounds_too(
        self, emulator: Emulator, build: Build, name: str
    ) -> None:
        chain = build(prompt="a watch", num_images=6, name=name, submit={"wait": True, "deferrable": True})
        outcome = Runner().run(chain.submit)
        assert outcome.state == "success"
        assert max(map(size_of, outcome.xcoms.values())) < 4 * KIB
        assert_small(outcome.deferrals)

    @pytest.mark.parametrize("kind", ["fail", "safety", "finished-failed"])
    @pytest.mark.parametrize("reason", LONG_REASONS)
    def test_what_airflow_stores_of_a_failure_with_an_endless_reason_stays_small(
        self, emulator: Emulator, build: Build, reason: str, kind: str
    ) -> None:
        emulator.inject(kind, message=LONG_REASONS[reason])
        emulator.inject("takes", seconds=1)  # longer than the way to the deferral, on a busy machine as well
        chain = build(submit={"wait": True, "deferrable": True})
        outcome = Runner().run(chain.submit)
        assert outcome.state == "failed"
        assert_small(outcome.deferrals)
        assert outcome.deferrals[0].payload["detail"]

    @pytest.mark.parametrize("status", [401, 404])
    @pytest.mark.parametrize("reason", LONG_REASONS)
    def test_what_airflow_stores_of_a_refused_poll_with_an_endless_message_stays_small(
        self, emulator: Emulator, build: Build, reason: str, status: int
    ) -> None:
        chain = build(land={"deferrable": True})
        emulator.inject("takes", seconds=2)
        runner = Runner()
        runner.run(chain.submit)
        assert runner.run(chain.land, until="deferred").state == "deferred"
        emulator.inject("refuse", endpoint="status", status=status, message=LONG_REASONS[reason])
        outcome = runner.run(chain.land)
        assert outcome.state == "failed"
        assert_small(outcome.deferrals)

    def test_what_airflow_stores_of_a_status_word_nobody_knows_stays_small(
        self, emulator: Emulator, build: Build
    ) -> None:
        emulator.inject("unknown-status", message="未知" * 3000, times=3)
        chain = build(submit={"wait": True, "deferrable": True})
        outcome = Runner().run(chain.submit)
        assert outcome.state == "success"
        assert_small(outcome.deferrals)
        assert max(map(len, outcome.log)) < 4 * KIB

    def test_what_airflow_stores_of_an_edit_are_locations_not_bytes(
        self, emulator: Emulator, destination: str, tmp_path: Path
    ) -> None:
        source = tmp_path / "source.bmp"
        source.write_bytes(bitmap(1 * MIB))
        with DAG("edits", schedule=None):
            task = SeedreamEditOperator(
                task_id="edit",
                prompt="bluer",
                images=[str(source)] * 10,
                destination=destination,
                wait=True,
                deferrable=True,
                poke_interval=0.05,
            )
        outcome: Outcome = Runner().run(task)
        assert outcome.state == "success"
        assert max(map(size_of, outcome.xcoms.values())) < 4 * KIB
        assert size_of(outcome.rendered_fields) < 4 * KIB
        assert_small(outcome.deferrals)
        assert max(map(len, outcome.log)) < 4 * KIB


def bitmap(size_bytes: int) -> bytes:
    """A square image of at most so many bytes, uncompressed."""
    side = int((size_bytes / 3) ** 0.5) // 4 * 4 - 4
    target = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(target, "BMP")
    return target.getvalue()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read, and forgotten, in /proc")
class TestWhatAWorkerHolds:
    """Measured in a process of its own, after a first job of the same kind has loaded what is loaded once."""

    def test_landing_six_images_of_20_mb_is_bounded_by_those_in_flight(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        size_bytes = 20_000_000
        prompt = f"a watch [webp] [huge:{size_bytes}]"
        generation = Runner().run(build(prompt=prompt, num_images=6, name="large").submit).value
        small = Runner().run(build(prompt="a watch", num_images=6, name="small").submit).value
        process = TaskProcess(
            "land",
            {"generation": generation, "poke_interval": 0.1},
            warm_up={"generation": small, "poke_interval": 0.1},
        )
        process.ready()
        process.go()
        report = process.report()
        assert report["state"] == "success", report
        landed = [name for name in images(folder) if name.startswith("large")]
        assert [(folder / name).stat().st_size for name in landed] == [size_bytes] * 6
        print(f"landing 6 x 20 MB: {report['grown_bytes'] / MIB:.0f} MiB above rest")
        assert report["grown_bytes"] < PARALLEL_IMAGES * size_bytes + OVERHEAD_BYTES

    def test_an_edit_with_ten_images_of_10_mb_is_bounded_by_one_request_body(
        self, emulator: Emulator, destination: str, tmp_path: Path
    ) -> None:
        source, small = tmp_path / "source.bmp", tmp_path / "small.bmp"
        source.write_bytes(bitmap(10 * MIB))
        small.write_bytes(bitmap(MIB // 10))
        assert source.stat().st_size > 9.9 * MIB
        process = TaskProcess(
            "edit",
            {"prompt": "bluer", "images": [str(source)] * 10, "destination": destination},
            warm_up={"prompt": "redder", "images": [str(small)] * 10, "destination": destination},
        )
        process.ready()
        process.go()
        report = process.report()
        assert report["state"] == "success", report
        body_bytes = max(request.body_bytes for request in emulator.books.requests)
        assert body_bytes > 130 * MIB
        print(f"posting {body_bytes / MIB:.0f} MiB: {report['grown_bytes'] / MIB:.0f} MiB above rest")
        assert report["grown_bytes"] < body_bytes + OVERHEAD_BYTES
        assert emulator.books.posts == 2
