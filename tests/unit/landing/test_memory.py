"""The bytes of images in flight: what is held together, who waits, and what is free again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_seedream.landing.memory import BytesInFlight


class Watched(BytesInFlight):
    """Notes the most bytes that were held at the same time."""

    most_held = 0

    def hold(self, size: int) -> None:
        super().hold(size)
        with self._changed:
            self.most_held = max(self.most_held, self._held)


def hold_in_threads(memory: BytesInFlight, sizes: list[int]) -> None:
    def land(size: int) -> None:
        with memory.share():
            memory.hold(size)

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(land, sizes))


class TestBytesInFlight:
    def test_threads_never_hold_more_together_than_the_bound(self) -> None:
        memory = Watched(100)
        hold_in_threads(memory, [30, 40, 50, 60, 70] * 40)
        assert 60 < memory.most_held <= 100

    def test_small_images_are_held_many_at_a_time(self) -> None:
        memory, together = Watched(100), threading.Barrier(8, timeout=60)

        def land(size: int) -> None:
            with memory.share():
                memory.hold(size)
                together.wait()

        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(land, [10] * 8))
        assert memory.most_held == 80

    def test_one_that_is_larger_than_the_bound_is_held_alone(self) -> None:
        memory = Watched(100)
        hold_in_threads(memory, [10, 500, 10, 20, 500] * 20)
        assert memory.most_held == 500

    def test_a_second_download_of_an_image_replaces_the_first(self) -> None:
        memory = Watched(100)
        with memory.share():
            memory.hold(80)
            memory.hold(90)
        assert memory.most_held == 90

    def test_an_error_gives_the_bytes_back(self) -> None:
        memory = Watched(100)
        for _ in range(3):
            with pytest.raises(OSError, match="cut"), memory.share():
                memory.hold(100)
                raise OSError("cut")
        hold_in_threads(memory, [100])

    def test_outside_of_a_share_nothing_is_counted(self) -> None:
        memory = Watched(100)
        memory.hold(1000)
        assert memory.most_held == 0
