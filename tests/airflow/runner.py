"""Runs operators through Airflow's real task runner, in this process, without a database: under a second for most.

What is real: templating, deferral and resumption through serialized triggers, retries, XComs (deleted before every
try, as Airflow does), rendered fields, extra links, callbacks, mapped tasks. What is not: the scheduler (nothing
waits between tries) and the kill of a process; `cluster` has those. Works on Airflow 3.1 and on 3.3.

    def test_a_lost_xcom_is_not_paid_twice(emulator, tmp_path):
        runner = Runner()                                   # one DAG run; connections come from AIRFLOW_CONN_...
        with DAG("d", schedule=None):
            submit = SeedreamGenerateOperator(task_id="submit", prompt="a watch, {{ ds }}", retries=2, destination=...)
            land = SeedreamGenerationSensor(task_id="land", generation=submit.output, deferrable=True)
        runner.fail_xcom_pushes("return_value", times=1)
        outcome = runner.run(submit)                        # until it has succeeded, failed or been skipped
        assert (outcome.state, outcome.tries) == ("success", 2)
        assert outcome.value["seedream_task_id"] == outcome.xcoms["seedream_task_id"]
        runner.run(land).deferrals[0].event                 # the JSON that came back; .row is the trigger's

    runner.run(task, until="deferred")                      # stop there; the next run() goes on from the trigger
    runner.clear(task); runner.run(task)                    # as a person clears it: new id, max_tries grows
    runner.wipe()                                           # all XComs and the task state store
    runner.run(mapped, map_index=3); runner.run_mapped(mapped)      # one of a mapped task's instances, or all
    runner.ask(task)["options"]; runner.answer(task, ["Approve"])   # a question to a person, and what the person says
    runner.run_dag(dag)                                     # every task in order; what follows a failure is not run
    Runner(trigger_copies=2)                                # every trigger runs twice, as in two triggerers
    Runner(loop_index=1)                                    # its tasks are in the second round of a loop (Airflow 3.4)
    Runner(keeps_kwargs=False)                              # drops defer(kwargs=), as `dag.test()` and `airflow tasks test` do
"""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from airflow.sdk.definitions._internal.expandinput import DictOfListsExpandInput
from airflow.sdk.definitions.dag import DAG
from airflow.sdk.definitions.mappedoperator import MappedOperator

from tests.airflow.deferral import Deferral, decoded, encoded, read_deferral, resume_with, wait_for_event
from tests.airflow.execution_api import ExecutionAPI, Fault, Instance
from tests.airflow.logs import captured
from tests.airflow.supervisor import run_once

ENDED = ("success", "failed", "skipped")
Stop = Literal["ended", "deferred", "up_for_retry", "up_for_reschedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One process of the task: a try, a poke, or a resumption."""

    try_number: int
    method: str  # "execute", or the method the deferral named
    state: str
    error: BaseException | None
    # what the task runner told the server, with e.g. `retry_delay_seconds`, `outlet_events`
    report: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a task instance, over all its steps so far in this call of `run`."""

    state: str
    tries: int
    max_tries: int
    xcoms: dict[str, Any]
    rendered_fields: dict[str, Any]
    steps: list[Step] = field(default_factory=list)
    deferrals: list[Deferral] = field(default_factory=list)
    log: list[str] = field(default_factory=list)  # before masking

    @property
    def error(self) -> BaseException | None:
        """What the last step failed with."""
        return self.steps[-1].error if self.steps else None

    @property
    def errors(self) -> list[BaseException]:
        return [step.error for step in self.steps if step.error is not None]

    @property
    def value(self) -> Any:
        return self.xcoms.get("return_value")

    @property
    def log_text(self) -> str:
        return "\n".join(self.log)


class Runner:
    """One DAG run and the state Airflow keeps about it."""

    def __init__(
        self,
        *,
        run_id: str = "manual__2026-03-01",
        logical_date: datetime | None = datetime(2026, 3, 1, tzinfo=UTC),
        conf: dict[str, Any] | None = None,
        trigger_copies: int = 1,
        patience_seconds: float = 60,
        keeps_kwargs: bool = True,
        loop_index: int | None = None,
    ) -> None:
        self.api = ExecutionAPI(logical_date=logical_date, conf=conf or {}, run_id=run_id)
        self.trigger_copies, self.patience_seconds = trigger_copies, patience_seconds
        self.keeps_kwargs = keeps_kwargs
        self.loop_index = loop_index

    def run(self, task: Any, *, map_index: int = -1, until: Stop = "ended") -> Outcome:
        """Run a task instance until it has ended, or until it first reaches the state `until`."""
        instance = self.instance(task, map_index=map_index)
        if instance.state in ENDED:
            raise RuntimeError(f"{instance.task_id} has ended ({instance.state}); clear() it to run it again")
        steps: list[Step] = []
        deferrals: list[Deferral] = []
        with captured() as log:
            while instance.state not in ENDED and not (steps and instance.state == until):
                if instance.state == "deferred":
                    deferrals.append(self._wait(instance))
                steps.append(self._step(task, instance))
        return Outcome(
            state=str(instance.state),
            tries=instance.try_number,
            max_tries=instance.max_tries,
            xcoms=self.api.xcoms_of(instance.key),
            rendered_fields=instance.rendered_fields,
            steps=steps,
            deferrals=deferrals,
            log=log,
        )

    def run_mapped(self, task: Any, *, order: Sequence[int] | None = None) -> list[Outcome]:
        """Run all instances of a mapped task, one after the other, by default in the order of their
        indexes.
        """
        return [self.run(task, map_index=index) for index in order or range(self.map_length(task))]

    def run_dag(self, dag: DAG) -> dict[str, Outcome | list[Outcome]]:
        """Run every task whose upstream tasks all succeeded, in topological order."""
        outcomes: dict[str, Outcome | list[Outcome]] = {}
        for task in dag.topological_sort():
            if all(_succeeded(outcomes.get(name)) for name in task.upstream_task_ids):
                mapped = isinstance(task, MappedOperator)
                outcomes[task.task_id] = self.run_mapped(task) if mapped else self.run(task)
        return outcomes

    def ask(self, task: Any, *, map_index: int = -1) -> dict[str, Any]:
        """Run a human-in-the-loop task until it waits for its person; the question as the server got it."""
        instance = self.instance(task, map_index=map_index)
        instance.question = None
        while instance.question is None:
            if instance.state == "deferred":
                self._wait(instance)
            step = self._step(task, instance)
            if instance.state in ENDED:
                raise RuntimeError(f"{instance.task_id} asked nobody") from step.error
        return instance.question

    def answer(self, task: Any, chosen: list[str], *, map_index: int = -1) -> Outcome:
        """The person answers, as the server hands it on: the task goes on to its end."""
        event = {
            "chosen_options": chosen,
            "params_input": {},
            "responded_at": datetime.now(UTC),
            "responded_by_user": None,
        }
        return self.resume_asked(task, event, map_index=map_index)

    def resume_asked(self, task: Any, event: dict[str, Any], *, map_index: int = -1) -> Outcome:
        """A task that waits for its person is resumed with this event: an answer, or the error of one that
        did not come.
        """
        instance = self.instance(task, map_index=map_index)
        kept = decoded(instance.report.get("next_kwargs") or {}) if self.keeps_kwargs else {}
        instance.next_method, instance.next_kwargs = (
            instance.report["next_method"],
            encoded({**kept, "event": event}),
        )
        instance.state = "queued"
        return self.run(task, map_index=map_index)

    def clear(self, task: Any, *, map_index: int = -1) -> None:
        """What the server does when a person clears the task: its XComs stay until the next try begins."""
        instance = self.instance(task, map_index=map_index)
        instance.new_try()
        instance.max_tries = instance.try_number + task.retries
        instance.state = None

    def deferral(self, task: Any, *, map_index: int = -1) -> Deferral:
        """The stored deferral of a task that waits: its row, and fresh triggers from it."""
        return read_deferral(self.instance(task, map_index=map_index).report)

    def wipe(self, *, xcoms: bool = True, task_store: bool = True) -> None:
        if xcoms:
            self.api.xcoms.clear()
        if task_store:
            self.api.task_store.clear()

    def fail_xcom_pushes(self, key: str | None = None, *, times: int = 1) -> None:
        """Answer the next pushes of this key (of any, if None) with an error."""
        self.api.faults.append(Fault(key=key, times=times))

    def push(
        self, task_id: str, value: Any, *, dag_id: str, key: str = "return_value", map_index: int = -1
    ) -> None:
        """Put an XCom there as if a task that is not part of the test had returned it."""
        self.api.xcoms[dag_id, self.api.run_id, task_id, map_index, key] = value

    def instance(self, task: Any, *, map_index: int = -1) -> Instance:
        key = (task.dag_id, self.api.run_id, task.task_id, map_index)
        if key not in self.api.instances:
            self.api.instances[key] = Instance(
                dag_id=key[0],
                run_id=key[1],
                task_id=key[2],
                map_index=map_index,
                max_tries=task.retries,
                loop_index=self.loop_index,
                loop_end=getattr(task.task_group, "terminal_task_id", task.task_id),
            )
        return self.api.instances[key]

    def map_length(self, task: Any) -> int:
        """How many instances a mapped task has: literal lists, and XComs that are there already."""
        expand = task._get_specified_expand_input()
        if isinstance(expand, DictOfListsExpandInput):
            return math.prod(self._length(value) for value in expand.value.values())
        return self._length(expand.value)

    def _length(self, value: Any) -> int:
        if not hasattr(value, "iter_references"):
            return len(value)
        source, key = next(iter(value.iter_references()))
        values = self.api.values(source.dag_id, self.api.run_id, source.task_id, key)
        return len(values) if isinstance(source, MappedOperator) else len(values[0])

    def _wait(self, instance: Instance) -> Deferral:
        stored = read_deferral(instance.report)
        if not self.keeps_kwargs:
            stored = dataclasses.replace(stored, next_kwargs={})
        ended, instance.next_method, instance.next_kwargs = resume_with(
            stored,
            lambda: wait_for_event(
                stored, copies=self.trigger_copies, patience_seconds=self.patience_seconds
            ),
        )
        return ended

    def _step(self, task: Any, instance: Instance) -> Step:
        if instance.state == "up_for_retry":
            instance.new_try()
        if instance.state == "up_for_reschedule":
            _wait_until(instance.report["reschedule_date"])
        instance.begin()
        method, handler = (instance.next_method or "execute", signal.getsignal(signal.SIGTERM))
        try:
            error = run_once(task, instance, self.api.transport)
        finally:
            signal.signal(signal.SIGTERM, handler)  # the task runner sets its own
        return Step(
            try_number=instance.try_number,
            method=method,
            state=str(instance.state),
            error=error,
            report=instance.report,
        )


def run_task(task: Any, **options: Any) -> Outcome:
    """Run one task to its end in a DAG run of its own; `options` are the Runner's."""
    return Runner(**options).run(task)


def _succeeded(outcome: Outcome | list[Outcome] | None) -> bool:
    outcomes = outcome if isinstance(outcome, list) else [outcome]
    return all(one is not None and one.state == "success" for one in outcomes)


def _wait_until(date: str) -> None:
    """A poke of a rescheduled sensor happens at its time, not before."""
    time.sleep(max(0.0, (datetime.fromisoformat(date) - datetime.now(UTC)).total_seconds()))
