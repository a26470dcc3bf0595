"""The threads of this process: a pool is made here, so that a simulation can run the same work without them;
and what is new in each forked process.

Starts nothing by itself. Never imports HTTP, storage or Airflow.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

MakePool = Callable[[int, str], Executor]
P = ParamSpec("P")
T = TypeVar("T")


def _pool(max_workers: int, name: str) -> Executor:
    return ThreadPoolExecutor(max_workers=max_workers, thread_name_prefix=name)


_running: ContextVar[MakePool] = ContextVar("seedream_threads", default=_pool)


def pool(max_workers: int, name: str) -> Executor:
    """A pool of threads, to be shut down by the caller::

        with threads.pool(3, "seedream-landing") as landing:
            landing.submit(land, 1)

    :param max_workers: the most of them at work at the same time.
    :param name: begins the names of the threads.
    """
    return _running.get()(max_workers, name)


def lock() -> threading.Lock:
    """A lock for a whole module, free again in each forked process::

        _lock = threads.lock()

    A thread of the parent that holds it at the fork never releases it in the child.
    """
    made = threading.Lock()
    os.register_at_fork(after_in_child=made._at_fork_reinit)  # type: ignore[attr-defined]
    return made


def renewed(kind: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """An object for a whole module that holds locks or counts threads. It is as new in each forked process::

        MEMORY = threads.renewed(BytesInFlight, MAX_BYTES_IN_FLIGHT)

    No thread of the parent goes on in the child, so nothing that they hold or wait for may stay.
    """
    made = kind(*args, **kwargs)
    os.register_at_fork(after_in_child=lambda: made.__init__(*args, **kwargs))  # type: ignore[misc]
    return made


@contextmanager
def running(make: MakePool) -> Iterator[None]:
    """Context manager: pools that this thread asks for come from ``make``, as in a simulation."""
    before = _running.set(make)
    try:
        yield
    finally:
        _running.reset(before)
