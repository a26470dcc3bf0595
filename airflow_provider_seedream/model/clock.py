"""Instants as ISO 8601 UTC text and as epoch seconds; and the clock of this process, which is read here and
nowhere else.

Decisions take the time as an argument. Acts ask :func:`now_epoch`, :func:`steady_seconds` and :func:`sleep`,
which belong to the machine, or to another :class:`Clock` inside of :func:`running`: so hours pass in a moment
in a simulation.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime


def _steady_seconds() -> float:
    return time.clock_gettime(_STEADY) if _STEADY is not None else time.monotonic()


# Linux; monotonic time stands still while a machine is suspended
_STEADY: int | None = getattr(time, "CLOCK_BOOTTIME", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The time as paying once sees it. Each part is an argument, so that a test can set it::

        Clock(now_epoch=lambda: time.time() - 300)  # a machine whose clock is five minutes slow

    :param now_epoch: the wall clock, in epoch seconds: other machines' may differ by any amount.
    :param steady_seconds: for durations within this process.
    :param sleep: waits for so many seconds.
    """

    now_epoch: Callable[[], float] = time.time
    steady_seconds: Callable[[], float] = _steady_seconds
    sleep: Callable[[float], None] = time.sleep


MACHINE = Clock()  # for threads that serve the whole process, also callers with another clock
_running: ContextVar[Clock] = ContextVar("seedream_clock", default=MACHINE)


@contextmanager
def running(clock: Clock) -> Iterator[None]:
    """Context manager: all that this thread does goes by another clock, in place of the machine's.

    ::

        with clock.running(Clock(now_epoch=lambda: 1_795_816_800.0)):
            clock.now_epoch()  # 1795816800.0
    """
    before = _running.set(clock)
    try:
        yield
    finally:
        _running.reset(before)


def now_epoch() -> float:
    """The wall clock in epoch seconds. It may be set back, so durations use :func:`steady_seconds`."""
    return _running.get().now_epoch()


def steady_seconds() -> float:
    """Seconds since an arbitrary start, by a clock that is never set and that goes on while the machine
    sleeps.
    """
    return _running.get().steady_seconds()


def sleep(seconds: float) -> None:
    """Wait for so many seconds."""
    _running.get().sleep(seconds)


CLOCK = Clock(now_epoch=now_epoch, steady_seconds=steady_seconds, sleep=sleep)


def to_iso(epoch: float) -> str:
    """Epoch seconds as ``2026-02-25T12:00:00Z``, the form of all instants in files, to the second."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def minute_of(epoch: float) -> str:
    """An instant to the minute: ``2026-11-29 16:48 UTC``."""
    return to_iso(epoch)[:16].replace("T", " ") + " UTC"


def spell(seconds: float) -> str:
    """A duration as people say it, rounded: ``45 s``, ``60 min``, ``24 h``."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def to_epoch(iso: str | None) -> float | None:
    """ISO 8601 as epoch seconds; a missing zone is read as UTC.

    :returns: None for anything else, as files, answers and XComs may hold anything.
    """
    try:
        instant = datetime.fromisoformat(iso or "")
    except (TypeError, ValueError):
        return None
    in_zone = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return in_zone.timestamp()
