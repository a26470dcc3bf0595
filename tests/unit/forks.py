"""What holds in a process that another one forks, as Airflow forks the processes of tasks: ``python -m
tests.unit.forks NAME``.

Each check runs in a Python of its own: a worker of the tests has threads and objects of many libraries, and
some of those hang in a child of it.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType

import airflow_provider_seedream
from airflow_provider_seedream.landing.memory import MAX_BYTES_IN_FLIGHT, MEMORY
from airflow_provider_seedream.ledger import books
from airflow_provider_seedream.ledger.prices import _TRAFFIC
from airflow_provider_seedream.rate_limit import limiter

LOCK = type(threading.Lock())


def holds_in_a_fork(check: Callable[[], bool]) -> bool:
    if (child := os.fork()) == 0:
        signal.alarm(20)  # ends a child that waits for a lock of its parent
        code = 1
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def modules() -> list[ModuleType]:
    """All of ours but those that run as programs, and the one that needs Airflow 3.3."""
    found = pkgutil.walk_packages(airflow_provider_seedream.__path__, "airflow_provider_seedream.")
    return [
        importlib.import_module(one.name)
        for one in found
        if not one.name.endswith(("__main__", ".retry_policy"))
    ]


def no_lock_of_a_module_is_held() -> bool:
    locks = {
        f"{module.__name__}.{name}": value
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, LOCK)
    }
    names = {name.removeprefix("airflow_provider_seedream.") for name in locks}
    assert names >= {"rate_limit.limiter._lock", "storage.folder._probing"}
    with ExitStack() as held:
        for lock in locks.values():
            held.enter_context(lock)
        left = [
            name
            for name, lock in locks.items()
            if not holds_in_a_fork(lambda lock=lock: lock.acquire(blocking=False))
        ]  # type: ignore[misc]
    assert left == [], left
    return True


def a_limiter_is_found_while_the_lock_is_held() -> bool:
    with limiter._lock:
        return holds_in_a_fork(lambda: limiter.limiter_for("forked", 3).turn_epoch(0.0) <= 0)


def books_are_found_while_the_lock_is_held() -> bool:
    with books._making:
        return holds_in_a_fork(lambda: bool(books.books_at("file:///tmp/books")))


def no_images_of_the_parent_are_waited_for() -> bool:
    with MEMORY.share():
        MEMORY.hold(MAX_BYTES_IN_FLIGHT)

        def lands() -> bool:
            with MEMORY.share():
                MEMORY.hold(MAX_BYTES_IN_FLIGHT)
            return True

        with MEMORY._changed:
            return holds_in_a_fork(lands)


def no_posts_of_the_parent_are_under_way() -> bool:
    with _TRAFFIC.post():
        return holds_in_a_fork(lambda: _TRAFFIC.is_quiet)


CHECKS: tuple[Callable[[], bool], ...] = (
    no_lock_of_a_module_is_held,
    a_limiter_is_found_while_the_lock_is_held,
    books_are_found_while_the_lock_is_held,
    no_images_of_the_parent_are_waited_for,
    no_posts_of_the_parent_are_under_way,
)

if __name__ == "__main__":
    sys.exit(0 if {check.__name__: check for check in CHECKS}[sys.argv[1]]() else 1)
