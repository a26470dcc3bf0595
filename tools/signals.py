"""Ends a tool in good order however it is asked to: Ctrl-C, SIGTERM and a closed terminal alike.

Imports the standard library only.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Turns the first such signal into a KeyboardInterrupt; further ones do not disturb the cleaning up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for one in _ASKED:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in _ASKED}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
