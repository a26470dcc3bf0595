"""G4, G5, G8 for the wallet: a wait for a top-up ends the same deferred or not, spends nothing, and skips
only what came late.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowTaskTimeout
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import (
    SeedreamAuthenticationError,
    SeedreamInputError,
    SeedreamNotFoundError,
)
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor
from airflow_provider_seedream.triggers.credits import SeedreamCreditsTrigger, event_from, outcome_from
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Connect

EMPTY = 20
Sensor = Callable[..., SeedreamCreditsSensor]


@pytest.fixture(autouse=True)
def empty(emulator: Emulator) -> None:
    emulator.configure(balance_credits=EMPTY)


@pytest.fixture
def sensor(deferrable: bool) -> Sensor:
    def sensor(**options: Any) -> SeedreamCreditsSensor:
        with DAG("guarantees", schedule=None):
            return SeedreamCreditsSensor(
                task_id="top_up",
                **{
                    "min_credits": 100,
                    "poke_interval": POKE_SECONDS,
                    "timeout": 120,
                    "deferrable": deferrable,
                    **options,
                },
            )

    return sensor


class TopUp:
    """Fills the wallet once somebody has polled it `after` times."""

    def __init__(self, emulator: Emulator, after: int = 3) -> None:
        self._emulator, self._after = emulator, after
        self._person = threading.Thread(target=self._wait_and_pay)

    def __enter__(self) -> None:
        self._person.start()

    def __exit__(self, *error: object) -> None:
        self._person.join()

    def _wait_and_pay(self) -> None:
        polled = lambda books: polls(self._emulator) >= self._after  # noqa: E731
        if self._emulator.books.wait_until(polled, timeout_seconds=120):
            self._emulator.configure(balance_credits=500)


def polls(emulator: Emulator) -> int:
    return sum("wallet" in request.path for request in emulator.books.requests)


class TestAWallet:
    def test_a_wallet_that_holds_enough_needs_one_poll(self, emulator: Emulator, sensor: Sensor) -> None:
        outcome = Runner().run(sensor(min_credits=EMPTY))
        assert (outcome.state, outcome.value) == ("success", {"balance": "20.00"})
        assert (len(outcome.deferrals), polls(emulator)) == (0, 1)

    def test_a_wallet_that_is_topped_up_ends_the_wait(
        self, emulator: Emulator, sensor: Sensor, deferrable: bool
    ) -> None:
        with TopUp(emulator):
            outcome = Runner().run(sensor(min_credits="{{ 10 * 50 }}"))
        assert (outcome.state, outcome.tries, outcome.value) == ("success", 1, {"balance": "500.00"})
        assert len(outcome.deferrals) == deferrable
        assert {request.method for request in emulator.books.requests} == {"GET"}
        assert emulator.books.credits_charged == 0

    def test_a_wallet_that_stays_empty_is_late(self, sensor: Sensor) -> None:
        outcome = Runner().run(sensor(timeout=0.3, retries=2))
        assert (outcome.state, outcome.tries) == ("failed", 1)
        assert isinstance(outcome.error, AirflowSensorTimeout)
        assert "did not hold 100 credits within" in str(outcome.error)

    def test_execution_timeout_is_airflows_own(self, sensor: Sensor) -> None:
        outcome = Runner().run(sensor(execution_timeout=timedelta(seconds=1)))
        assert (outcome.state, type(outcome.error)) == ("failed", AirflowTaskTimeout)

    def test_rescheduled_it_leaves_the_worker_and_comes_back(
        self, emulator: Emulator, sensor: Sensor, deferrable: bool
    ) -> None:
        if deferrable:
            pytest.skip("a deferred wait has left already")
        with TopUp(emulator, after=2):
            outcome = Runner().run(sensor(mode="reschedule", poke_interval=0.2))
        assert outcome.state == "success"
        assert "up_for_reschedule" in [step.state for step in outcome.steps]


class TestTrouble:
    @pytest.mark.parametrize(
        ("status", "error"), [(401, SeedreamAuthenticationError), (404, SeedreamNotFoundError)]
    )
    def test_an_answer_that_is_final_fails_at_once(
        self, status: int, error: type[Exception], emulator: Emulator, sensor: Sensor
    ) -> None:
        emulator.inject("refuse", endpoint="wallet", status=status)
        outcome = Runner().run(sensor(retries=3))
        assert (outcome.state, outcome.tries, type(outcome.error)) == ("failed", 1, error)
        assert "Paid: no." in str(outcome.error)

    @pytest.mark.parametrize(
        ("kind", "details"),
        [("refuse", {"status": 503}), ("rate-limited", {"seconds": 0}), ("html", {}), ("drop", {})],
    )
    def test_an_outage_and_429s_are_waited_out(
        self, kind: str, details: dict[str, Any], emulator: Emulator, sensor: Sensor
    ) -> None:
        emulator.configure(balance_credits=500)
        emulator.inject(kind, endpoint="wallet", times=3, **details)
        outcome = Runner().run(sensor())
        assert (outcome.state, outcome.tries, polls(emulator)) == ("success", 1, 4)

    def test_a_connection_without_a_key_fails_at_once(
        self, monkeypatch: pytest.MonkeyPatch, sensor: Sensor
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps({"conn_type": "seedream"}))
        outcome = Runner().run(sensor())
        assert (outcome.state, type(outcome.error)) == ("failed", SeedreamInputError)

    def test_where_polls_count_a_deferred_one_waits_for_its_turn(
        self, emulator: Emulator, connect: Connect, sensor: Sensor
    ) -> None:
        connect(emulator, status_counts_toward_limit=True, requests_per_minute=600)
        with TopUp(emulator):
            assert Runner().run(sensor()).state == "success"


class TestWhatIsSkipped:
    @pytest.mark.parametrize(
        ("flag", "late", "broken"),
        [
            ({}, "failed", "failed"),
            ({"soft_fail": True}, "skipped", "failed"),
            ({"never_fail": True}, "skipped", "skipped"),
        ],
    )
    def test_soft_fail_skips_lateness_and_never_fail_everything(
        self, flag: dict[str, Any], late: str, broken: str, emulator: Emulator, sensor: Sensor
    ) -> None:
        assert Runner(run_id="late").run(sensor(timeout=0.2, **flag)).state == late
        emulator.inject("refuse", endpoint="wallet", status=401)
        assert Runner(run_id="broken").run(sensor(**flag)).state == broken


class TestTheParameter:
    @pytest.mark.parametrize("value", [-1, "many", True, None])
    def test_the_parameter_is_judged_when_the_dag_is_parsed(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="min_credits"):
            SeedreamCreditsSensor(task_id="top_up", min_credits=value)

    def test_the_parameter_is_judged_once_rendered(self, emulator: Emulator, sensor: Sensor) -> None:
        outcome = Runner().run(sensor(min_credits="{{ 'many' }}"))
        assert (type(outcome.error), polls(emulator)) == (SeedreamInputError, 0)


class TestTheTrigger:
    def test_the_trigger_survives_the_database(self) -> None:
        original = SeedreamCreditsTrigger(
            seedream_conn_id="seedream_default",
            min_credits="150.50",
            first_poll_epoch=1.5,
            deadline_epoch=1e9,
            poke_interval=60.0,
            outage_seconds=1800.0,
            watch={"finished_epoch": None, "outage_epoch": 7.0},
        )
        path, kwargs = original.serialize()
        assert path == "airflow_provider_seedream.triggers.credits.SeedreamCreditsTrigger"
        again = SeedreamCreditsTrigger(**json.loads(json.dumps(kwargs)))
        assert (again.serialize(), again.policy, again.watch) == (
            original.serialize(),
            original.policy,
            original.watch,
        )

    @pytest.mark.parametrize(
        "event",
        [
            None,
            "done",
            {},
            {"schema_version": 1, "outcome": "free"},
            {"schema_version": 2, "outcome": "done"},
        ],
    )
    def test_an_event_that_is_not_ours_is_lost_which_costs_a_free_retry(self, event: Any) -> None:
        assert outcome_from(event).verdict == "lost"

    def test_an_event_stays_small(self) -> None:
        verdict = outcome_from({"schema_version": 1, "outcome": "lost", "detail": "ü" * 5000})
        assert len(json.dumps(event_from(verdict), ensure_ascii=False).encode()) < 1000
