"""Alarms: one thread per process calls functions at their time."""

from __future__ import annotations

import os
import threading

from airflow_provider_seedream.hooks.alarms import ALARMS, Alarms

PATIENCE_SECONDS = 30.0
FAR_SECONDS = 3600.0


def test_an_alarm_rings_although_a_later_one_was_set_before_it() -> None:
    alarms, rung = Alarms(), threading.Event()
    late = alarms.set(FAR_SECONDS, lambda: None)
    alarms.set(0.01, rung.set)
    assert rung.wait(PATIENCE_SECONDS)
    alarms.cancel(late)


def test_a_cancelled_alarm_never_rings() -> None:
    alarms, rung = Alarms(), []
    first, last = alarms.set(0.05, lambda: rung.append("cancelled")), threading.Event()
    alarms.set(0.06, last.set)
    alarms.cancel(first)
    assert last.wait(PATIENCE_SECONDS)
    assert rung == []


def test_an_alarm_whose_function_fails_leaves_the_next_one_to_ring() -> None:
    alarms, rung = Alarms(), threading.Event()
    alarms.set(0.01, lambda: 1 / 0)
    alarms.set(0.02, rung.set)
    assert rung.wait(PATIENCE_SECONDS)


def test_many_alarms_take_one_thread() -> None:
    alarms, before = Alarms(), threading.active_count()
    for alarm in [alarms.set(FAR_SECONDS, lambda: None) for _ in range(100)]:
        alarms.cancel(alarm)
    assert threading.active_count() <= before + 1


def test_alarms_ring_in_a_forked_process_whose_parent_had_some() -> None:
    ALARMS.cancel(ALARMS.set(FAR_SECONDS, lambda: None))
    child = os.fork()
    if child == 0:
        rung = threading.Event()
        ALARMS.set(0.01, rung.set)
        os._exit(0 if rung.wait(PATIENCE_SECONDS) else 1)
    assert os.waitpid(child, 0)[1] == 0
