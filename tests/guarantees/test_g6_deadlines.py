"""G6: deadlines hold, deferred or not and across a restart of the triggerer, and running out of time never
submits again.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowTaskTimeout

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamGenerationTimeoutError
from tests.airflow.deferral import first_event
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, Chain, records

LIMIT_SECONDS = 0.5
# one poll, and Airflow's processes on a machine that is busy otherwise; below any interval here
SLACK_SECONDS = 40.0
ENDLESS = "a watch [never-ends]"


@contextmanager
def taking(at_least: float) -> Iterator[None]:
    """The block ends at its deadline: not before it, and not later than one poll after it."""
    started = time.monotonic()
    yield
    assert at_least <= time.monotonic() - started < at_least + SLACK_SECONDS


class TestTheTimeoutOfASensor:
    @pytest.mark.parametrize(
        "timeout", [LIMIT_SECONDS, timedelta(seconds=LIMIT_SECONDS)], ids=["seconds", "timedelta"]
    )
    def test_it_fails_then_without_retries_and_keeps_the_id(
        self, timeout: Any, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, chain = (
            Runner(),
            build(prompt=ENDLESS, land={"deferrable": deferrable, "timeout": timeout, "retries": 3}),
        )
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        with taking(LIMIT_SECONDS):
            outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries) == ("failed", 1)
        assert isinstance(outcome.error, SeedreamGenerationTimeoutError)
        assert isinstance(outcome.error, AirflowSensorTimeout)
        assert task_id in str(outcome.error)
        assert "Paid: yes." in str(outcome.error)
        assert emulator.books.posts_received == 1

    def test_an_interval_longer_than_the_timeout_does_not_stretch_it(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        land = {"deferrable": deferrable, "timeout": LIMIT_SECONDS, "poke_interval": 60}
        runner, chain = Runner(), build(prompt=ENDLESS, land=land)
        runner.run(chain.submit)
        with taking(LIMIT_SECONDS):
            assert isinstance(runner.run(chain.land).error, SeedreamGenerationTimeoutError)

    def test_a_job_that_ends_at_the_last_moment_is_landed(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        """At the deadline itself it polls once more."""
        land = {"deferrable": deferrable, "timeout": 1, "poke_interval": 60}
        runner, chain = Runner(), build(prompt="a watch [takes:0.3]", land=land)
        runner.run(chain.submit)
        assert runner.run(chain.land).state == "success"

    def test_a_clear_waits_anew_and_submits_nothing(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(prompt=ENDLESS, land={"deferrable": deferrable, "timeout": 0.2})
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        assert runner.run(chain.land).state == "failed"
        emulator.inject("takes", seconds=0, seedream_task_id=task_id)
        runner.clear(chain.land)
        assert runner.run(chain.land).state == "success"
        assert emulator.books.posts_received == 1

    def test_a_restarted_triggerer_does_not_start_the_clock_anew(
        self, emulator: Emulator, build: Build
    ) -> None:
        runner, chain = Runner(), build(prompt=ENDLESS, land={"deferrable": True, "timeout": 2})
        runner.run(chain.submit)
        with taking(2):
            runner.run(chain.land, until="deferred")
            lose_a_triggerer_after(0.5, runner, chain)
            outcome = runner.run(chain.land)
        assert (outcome.state, emulator.books.posts_received) == ("failed", 1)


class TestTheTimeoutOfAnOperatorThatWaits:
    def test_it_fails_then_without_retries_and_a_clear_attaches(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        runner, task = (
            Runner(),
            build(prompt=ENDLESS, wait=True, deferrable=deferrable, timeout=LIMIT_SECONDS, retries=3).submit,
        )
        with taking(LIMIT_SECONDS):
            outcome = runner.run(task)
        assert (outcome.state, outcome.tries, type(outcome.error)) == (
            "failed",
            1,
            SeedreamGenerationTimeoutError,
        )
        runner.clear(task)
        assert isinstance(runner.run(task).error, SeedreamGenerationTimeoutError)
        assert (emulator.books.posts_received, emulator.books.credits_charged) == (1, 10)


class TestTheExecutionTimeout:
    """Airflow's own limit of one try. It is retried, as everywhere in Airflow; a retry attaches."""

    LIMIT = timedelta(seconds=2)  # in which a busy machine sends a POST, too

    def test_a_sensor_honours_it_while_deferred(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        land = {"deferrable": deferrable, "execution_timeout": self.LIMIT, "retries": 1}
        runner, chain = Runner(), build(prompt=ENDLESS, land=land)
        runner.run(chain.submit)
        with taking(2 * self.LIMIT.total_seconds()):
            outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries) == ("failed", 2)
        assert [type(error) for error in outcome.errors] == [AirflowTaskTimeout, AirflowTaskTimeout]
        assert emulator.books.posts_received == 1

    def test_an_operator_that_waits_attaches_in_its_retry(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        task = build(
            prompt=ENDLESS, wait=True, deferrable=deferrable, execution_timeout=self.LIMIT, retries=1
        ).submit
        outcome = Runner().run(task)
        assert (outcome.state, outcome.tries, type(outcome.error)) == ("failed", 2, AirflowTaskTimeout)
        assert (emulator.books.posts_received, emulator.books.credits_charged) == (1, 10)

    def test_the_shorter_of_both_limits_decides(
        self, emulator: Emulator, build: Build, deferrable: bool
    ) -> None:
        land = {
            "deferrable": deferrable,
            "timeout": 0.3,
            "execution_timeout": timedelta(seconds=20),
            "retries": 3,
        }
        runner, chain = Runner(), build(prompt=ENDLESS, land=land)
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert (outcome.tries, type(outcome.error)) == (1, SeedreamGenerationTimeoutError)


class TestAnExecutionTimeoutThatStrikesThePost:
    def test_the_next_try_finds_the_intent_and_pays_nothing(self, emulator: Emulator, build: Build) -> None:
        """A limit shorter than the POST: what was sent stays an unknown outcome, however often the task is
        tried.
        """
        limit = timedelta(seconds=3)
        task = build(prompt="a watch [stall-after-accept:60]", execution_timeout=limit, retries=2).submit
        outcome = Runner().run(task)
        assert outcome.state == "failed"
        assert (emulator.books.posts, emulator.books.posts_received) == (1, 1)


def lose_a_triggerer_after(seconds: float, runner: Runner, chain: Chain) -> None:
    """One triggerer runs the row for a while and is gone without a word."""

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first_event(runner.deferral(chain.land).trigger()), seconds)

    asyncio.run(run())


@contextmanager
def gate(to_port: int, *, holds: int) -> Iterator[int]:
    """A port that leads to another one, but for one connection, by its number, that is accepted and left
    without an answer.
    """
    held: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):  # the listener is closed
            for number in count(1):
                client, _ = listener.accept()
                held.append(client)
                if number != holds:
                    held.append(server := socket.create_connection(("127.0.0.1", to_port)))
                    for ends in ((client, server), (server, client)):
                        threading.Thread(target=pump, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for one in held:
        one.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class TestBeforeTheFirstByte:
    @pytest.fixture
    def tls(self) -> bool:
        """A connection stands only after its handshake."""
        return True

    def test_execution_timeout_while_it_connects_leaves_no_claim_and_a_retry_submits_at_once(
        self, emulator: Emulator, build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = json.loads(os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"])
        port = urlsplit(connection["host"]).port
        assert port
        with gate(port, holds=2) as gated:  # the first reads the wallet
            connection["host"] = connection["host"].replace(str(port), str(gated))
            monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
            runner, submit = (
                Runner(),
                build(
                    submit={"execution_timeout": timedelta(seconds=8), "retries": 1, "name": "hero"}
                ).submit,
            )
            first = runner.run(submit, until="up_for_retry")
            assert isinstance(first.error, AirflowTaskTimeout)
            assert (
                records(folder),
                [*folder.glob("_seedream/names/*")],
                [*folder.glob("_seedream/spent/*/*/*")],
            ) == ([], [], [])
            assert runner.run(submit).state == "success"
        assert emulator.books.posts_received == 1

    def test_execution_timeout_after_it_keeps_the_claim(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        emulator.inject("stall-after-accept", seconds=60, endpoint="generate")
        submit = build(
            submit={"execution_timeout": timedelta(seconds=6), "retries": 1, "name": "hero"}
        ).submit
        assert isinstance(Runner().run(submit, until="up_for_retry").error, AirflowTaskTimeout)
        assert ([record["outcome"] for record in records(folder)], emulator.books.posts) == (["intent"], 1)
        assert len([*folder.glob("_seedream/spent/*/*/*")]) == 1
