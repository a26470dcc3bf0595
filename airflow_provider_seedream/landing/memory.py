"""The memory of images that are landing: bounded by their bytes, so that small images land many at a time and
large ones few.

Knows sizes, not images. No I/O; never imports HTTP, storage or Airflow.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_seedream.model import threads

MAX_BYTES_IN_FLIGHT = 256 * 1024 * 1024  # of all images that a process lands at the same time


class BytesInFlight:
    """A bound on the bytes that the threads of a process hold together.

    ::

        memory = BytesInFlight(256 * 1024 * 1024)
        with memory.share():
            memory.hold(4_000_000)  # waits until they fit beside what the other threads hold
            data = answer.read()
            store(data)

    A thread holds one image at a time, so threads that wait for each other cannot come to a standstill.

    :param most: the bound in bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._changed = threading.Condition()
        self._mine = threading.local()

    @contextmanager
    def share(self) -> Iterator[None]:
        """Context manager around the time in which this thread has an image: at its end the bytes are free
        for other threads.
        """
        self._mine.size = 0
        try:
            yield
        finally:
            self._give_back()
            del self._mine.size

    def hold(self, size: int) -> None:
        """Wait until so many bytes fit, and hold them until the share ends. A second call replaces the first.

        An image that is larger than the bound waits until no other thread holds one. Outside of a share
        nothing is counted.
        """
        if not hasattr(self._mine, "size"):
            return
        self._give_back()
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + size <= self._most)
            self._held += size
        self._mine.size = size

    def _give_back(self) -> None:
        with self._changed:
            self._held -= self._mine.size
            self._changed.notify_all()
        self._mine.size = 0


MEMORY = threads.renewed(BytesInFlight, MAX_BYTES_IN_FLIGHT)
