"""Airflow forks task processes, from a process that may have threads: no lock and no count of theirs stays with the task."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from contextlib import ExitStack
from types import ModuleType

import airflow_provider_seedream
from airflow_provider_seedream.landing.memory import MAX_BYTES_IN_FLIGHT, MEMORY
from airflow_provider_seedream.ledger.prices import _TRAFFIC
from airflow_provider_seedream.rate_limit.limiter import limiter_for
from tests.unit.forks import holds_in_a_fork

LOCK = type(threading.Lock())


def modules() -> list[ModuleType]:
    """All of ours but those that run as programs, and the one that needs Airflow 3.3."""
    found = pkgutil.walk_packages(airflow_provider_seedream.__path__, "airflow_provider_seedream.")
    return [importlib.import_module(one.name) for one in found if not one.name.endswith(("__main__", ".retry_policy"))]


def test_a_forked_task_never_waits_for_a_lock_that_a_thread_of_its_parent_holds() -> None:
    locks = {
        f"{module.__name__}.{name}": value
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, LOCK)
    }
    assert {name.removeprefix("airflow_provider_seedream.") for name in locks} >= {"rate_limit.limiter._lock", "storage._probing"}
    with ExitStack() as held:
        for lock in locks.values():
            held.enter_context(lock)
        left = [name for name, lock in locks.items() if not holds_in_a_fork(lambda lock=lock: lock.acquire(blocking=False))]  # type: ignore[misc]
    assert left == []


def test_a_forked_task_gets_its_limiter_while_another_thread_holds_the_lock() -> None:
    from airflow_provider_seedream.rate_limit import limiter

    with limiter._lock:
        assert holds_in_a_fork(lambda: limiter_for("forked", 3).turn_epoch(0.0) <= 0)


def test_a_forked_task_does_not_wait_for_the_images_of_its_parent() -> None:
    with MEMORY.share():
        MEMORY.hold(MAX_BYTES_IN_FLIGHT)

        def lands() -> bool:
            with MEMORY.share():
                MEMORY.hold(MAX_BYTES_IN_FLIGHT)
            return True

        with MEMORY._changed:
            assert holds_in_a_fork(lands)


def test_the_posts_of_its_parent_do_not_keep_a_forked_task_from_measuring_a_price() -> None:
    with _TRAFFIC.post():
        assert holds_in_a_fork(lambda: _TRAFFIC.is_quiet)
