"""Calls functions at their time, in one thread per process.

A ``threading.Timer`` is a thread of its own. A row of a batch needs seven alarms that almost never ring, and
starting and ending their threads took a tenth of its CPU.
"""

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from airflow_provider_seedream.model import clock, threads


class Alarms:
    """Alarms that are usually cancelled before their time::

        alarm = ALARMS.set(60.0, lambda: sock.shutdown(socket.SHUT_RD))
        try:
            answer.begin()
        finally:
            ALARMS.cancel(alarm)

    Setting and cancelling take a lock and a dict. The thread is started by the first alarm, and woken only by
    one that is due before all others. A function must be short, as later alarms wait for it; its errors are
    dropped.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # when each is due, by the steady clock
        self._alarms: dict[object, tuple[float, Callable[[], Any]]] = {}
        self._thread: threading.Thread | None = None
        self._wakes_seconds = math.inf  # when the thread looks again

    def set(self, seconds: float, act: Callable[[], Any]) -> object:
        """Call ``act`` in so many seconds, in another thread. Returns the alarm, for :meth:`cancel`."""
        alarm, due_seconds = object(), clock.MACHINE.steady_seconds() + seconds
        with self._changed:
            self._alarms[alarm] = (due_seconds, act)
            if self._thread is None:
                thread = threading.Thread(target=self._ring, name="seedream-alarms", daemon=True)
                thread.start()
                self._thread = thread  # last: a timeout of the task may strike at any line
            elif due_seconds < self._wakes_seconds:
                self._changed.notify()
        return alarm

    def cancel(self, alarm: object) -> None:
        """Forget an alarm. One that is ringing at this moment is not stopped."""
        with self._changed:
            self._alarms.pop(alarm, None)

    def _ring(self) -> None:
        """The thread: call what is due, then sleep until the next alarm that was set by then."""
        while True:
            with self._changed:
                now = clock.MACHINE.steady_seconds()
                due = [alarm for alarm, (due_seconds, _) in self._alarms.items() if due_seconds <= now]
                acts = [self._alarms.pop(alarm)[1] for alarm in due]
                if not acts:
                    self._wakes_seconds = min(
                        (due_seconds for due_seconds, _ in self._alarms.values()), default=math.inf
                    )
                    self._changed.wait(None if math.isinf(self._wakes_seconds) else self._wakes_seconds - now)
            for act in acts:
                with suppress(Exception):
                    act()


ALARMS = threads.renewed(Alarms)
