"""What holds in a process that this one forks, as Airflow forks the processes of tasks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def holds_in_a_fork(check: Callable[[], bool]) -> bool:
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the time limit of tests handles it, and would go on as a second worker
        signal.alarm(20)  # ends a child that waits for a lock of its parent
        code = 1
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0
