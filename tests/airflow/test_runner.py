"""The harness keeps the promises the guarantee tests lean on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, task
from airflow.triggers.base import BaseTrigger, TriggerEvent

from tests.airflow.runner import Runner, run_task


class EchoTrigger(BaseTrigger):
    """Fires after a moment with what it was given; counts how often it ran."""

    runs = 0

    def __init__(self, word: str, delay_seconds: float = 0.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.word, self.delay_seconds = word, delay_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.EchoTrigger", {"word": self.word, "delay_seconds": self.delay_seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        type(self).runs += 1
        await asyncio.sleep(self.delay_seconds)
        if self.word == "raise":
            raise ValueError("the trigger broke")
        yield TriggerEvent({"echo": self.word})


class DeferringOperator(BaseOperator):
    """Defers once and returns what came back; `fail_tries` tries fail after the resumption."""

    template_fields = ("word",)

    def __init__(
        self, *, word: str, fail_tries: int = 0, delay_seconds: float = 0.0, limit: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.word, self.fail_tries, self.delay_seconds, self.limit = (word, fail_tries, delay_seconds, limit)

    def execute(self, context: Any) -> None:
        context["ti"].xcom_push("seen", self.word)
        trigger = EchoTrigger(self.word, self.delay_seconds)
        self.defer(trigger=trigger, method_name="resume", kwargs={"more": 1}, timeout=self.limit)

    def resume(self, context: Any, event: dict[str, Any], more: int) -> dict[str, Any]:
        if context["ti"].try_number <= self.fail_tries:
            raise AirflowException(f"try {context['ti'].try_number}")
        return {**event, "more": more}


class ThriceSensor(BaseSensorOperator):
    """Is satisfied at the third poke."""

    pokes = 0

    def poke(self, context: Any) -> bool:
        type(self).pokes += 1
        return type(self).pokes >= 3


def in_dag(operator: type, **kwargs: Any) -> Any:
    with DAG("harness", schedule=None):
        return operator(task_id="one", **kwargs)


def test_a_deferred_task_resumes_with_the_event_of_the_trigger_rebuilt_from_json() -> None:
    outcome = run_task(in_dag(DeferringOperator, word="hello {{ ds }}"))
    assert (outcome.state, outcome.tries) == ("success", 1)
    assert outcome.value == {"echo": "hello 2026-03-01", "more": 1}
    assert [step.method for step in outcome.steps] == ["execute", "resume"]
    assert outcome.deferrals[0].kwargs == {"word": "hello 2026-03-01", "delay_seconds": 0.0}
    assert outcome.deferrals[0].payload == {"echo": "hello 2026-03-01"}
    assert outcome.rendered_fields["word"] == "hello 2026-03-01"


def test_retries_are_honoured_and_xcoms_are_deleted_before_each_try() -> None:
    runner, one = Runner(), in_dag(DeferringOperator, word="w", fail_tries=2, retries=2)
    runner.run(one, until="up_for_retry")
    runner.push("one", "left over", dag_id="harness", key="old")
    outcome = runner.run(one)
    assert (outcome.state, outcome.tries) == ("success", 3)
    assert outcome.xcoms == {"seen": "w", "return_value": {"echo": "w", "more": 1}}


def test_a_task_out_of_tries_has_failed() -> None:
    outcome = run_task(in_dag(DeferringOperator, word="w", fail_tries=9, retries=1))
    assert (outcome.state, outcome.tries) == ("failed", 2)
    assert [str(error) for error in outcome.errors] == ["try 1", "try 2"]
    assert "AirflowException: try 2" in outcome.log_text


def test_an_injected_xcom_failure_fails_one_try() -> None:
    runner, one = Runner(), in_dag(DeferringOperator, word="w", retries=1)
    runner.fail_xcom_pushes("return_value")
    outcome = runner.run(one)
    assert (outcome.state, outcome.tries) == ("success", 2)
    assert "API_SERVER_ERROR" in str(outcome.errors[0])


def test_a_trigger_that_raises_ends_as_a_deferral_error() -> None:
    outcome = run_task(in_dag(DeferringOperator, word="raise"))
    assert (outcome.state, type(outcome.error).__name__) == ("failed", "TaskDeferralError")
    assert "the trigger broke" in str(outcome.deferrals[0].failure)


def test_the_timeout_of_a_deferral_is_enforced() -> None:
    outcome = run_task(in_dag(DeferringOperator, word="w", delay_seconds=30, limit=timedelta(seconds=0.05)))
    assert (outcome.state, type(outcome.error).__name__) == ("failed", "TaskDeferralTimeout")


def test_two_copies_of_a_trigger_both_run() -> None:
    EchoTrigger.runs = 0
    assert run_task(in_dag(DeferringOperator, word="w"), trigger_copies=2).state == "success"
    assert EchoTrigger.runs == 2


def test_a_clear_while_deferred_starts_over_with_more_tries_allowed() -> None:
    runner, one = Runner(), in_dag(DeferringOperator, word="w", retries=2)
    assert runner.run(one, until="deferred").state == "deferred"
    first_id = runner.instance(one).id
    runner.clear(one)
    outcome = runner.run(one)
    assert (outcome.state, outcome.tries, outcome.max_tries) == ("success", 2, 3)
    assert runner.instance(one).id != first_id


def test_a_task_that_forbids_retries_uses_none() -> None:
    def refuse(context: Any) -> None:
        raise AirflowFailException("no")

    outcome = run_task(in_dag(DeferringOperator, word="w", retries=5, pre_execute=refuse))
    assert (outcome.state, outcome.tries) == ("failed", 1)


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_sensor_pokes_until_it_is_satisfied(mode: str) -> None:
    ThriceSensor.pokes = 0
    outcome = run_task(in_dag(ThriceSensor, poke_interval=0.05, mode=mode))
    assert (outcome.state, outcome.tries, ThriceSensor.pokes) == ("success", 1, 3)


def test_a_mapped_chain_runs_as_a_dag() -> None:
    with DAG("chain", schedule=None) as dag:
        first = DeferringOperator.partial(task_id="first").expand(word=["a", "b", "c"])

        @task
        def shout(result: dict[str, Any]) -> str:
            return str(result["echo"]).upper()

        @task
        def join(words: list[str]) -> str:
            return "".join(words)

        join(shout.expand(result=first.output))  # type: ignore[arg-type]
    outcomes = Runner().run_dag(dag)
    assert outcomes["join"].value == "ABC"  # type: ignore[union-attr]


def test_a_row_is_plain_json() -> None:
    runner, one = Runner(), in_dag(DeferringOperator, word="w")
    runner.run(one, until="deferred")
    assert json.loads(runner.deferral(one).row)
    assert runner.deferral(one).trigger().word == "w"  # type: ignore[attr-defined]
