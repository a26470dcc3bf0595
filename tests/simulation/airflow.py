"""Airflow in a night: tries, retries, deferrals, clears, and the ways in which it runs one task twice.

The operators, sensors and triggers' decisions are the real ones. A trigger is decided here without an event
loop: its stored arguments make the real policy, the real poller and the real limiter, and its event is built
by the real code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, TaskDeferred
from airflow.sdk.bases.operator import ExecutorSafeguard

from airflow_provider_seedream.model import clock
from airflow_provider_seedream.polling.loops import wait
from airflow_provider_seedream.polling.policy import PollState
from airflow_provider_seedream.polling.poller import Poller
from airflow_provider_seedream.rate_limit.limiter import RateLimiter
from airflow_provider_seedream.triggers.batch import PATIENCE_SECONDS
from airflow_provider_seedream.triggers.seedream import event_from
from tests.simulation.api import SimHook
from tests.simulation.night import KilledError, Machine, Night, Process

HEARTBEAT_SECONDS = 300.0  # after so long without a sign of life Airflow takes a task for dead
RETRY_SECONDS = 60.0


@dataclass(slots=True)
class Instance:
    """A task instance as Airflow's database has it.

    :param make: a fresh operator, as each process has one of its own.
    :param owner: the process that Airflow takes for the task's; reports of others are refused.
    """

    task_id: str
    make: Callable[[], Any]
    retries: int = 0
    map_index: int = -1
    after: Instance | None = None
    state: str = "scheduled"
    try_number: int = 0
    began: float = 0.0
    tries_left: int = 0
    owner: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    deferral: tuple[Any, ...] | None = None
    errors: list[BaseException] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For the story."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"

    @property
    def has_ended(self) -> bool:
        return self.state in ("success", "failed")


class Airflow:
    """The scheduler, the triggerer and the database of one night.

    :param machines: the workers; each process runs on one of them.
    :param twice: the chance that two schedulers run a task, or two triggerers a trigger.
    :param keeps_state: Airflow 3.3 and later have a state of a task that survives a retry.
    """

    def __init__(self, night: Night, machines: list[Machine], *, twice: float, keeps_state: bool) -> None:
        self.night = night
        self.instances: list[Instance] = []
        self._machines = machines
        self._twice = twice
        self._keeps_state = keeps_state
        self._limiter = RateLimiter(3)
        self._deferrals = 0
        self.succeeded: Callable[[Instance, Any], None] = lambda instance, result: None
        night.stopped = self._stopped

    def add(self, instance: Instance, *, delay: float) -> Instance:
        self.instances.append(instance)
        if instance.after is None:
            self.night.at(self.night.now + delay, lambda: self.schedule(instance, fresh=True))
        return instance

    def schedule(self, instance: Instance, *, fresh: bool) -> None:
        """Begin a try. XComs of the one before are deleted, as Airflow does."""
        if fresh:
            instance.tries_left = instance.retries
        instance.try_number += 1
        instance.state, instance.deferral, instance.began = "running", None, self.night.now
        instance.xcoms.clear()
        self._run(instance, "execute", None)

    def clear(self, instance: Instance) -> None:
        """As a person clears a task, in whatever state it is. A process that still runs goes on until it
        has to report.
        """
        self.night.tell(f"A person CLEARS {instance.name}")
        if instance.state == "running":
            self.night.hurt.add("clear")
        before = instance.after
        if before is not None and (before.state != "success" or "return_value" not in before.xcoms):
            instance.state = "scheduled"
            if before.has_ended:  # its XCom is gone, so the person clears both
                self.schedule(before, fresh=True)
            return
        self.schedule(instance, fresh=True)

    def wipe(self, instance: Instance) -> None:
        """XComs and the task's state are lost."""
        self.night.tell(f"The XComs and the state of {instance.name} are WIPED")
        instance.xcoms.clear()
        instance.kept.clear()

    def _run(self, instance: Instance, method: str, kwargs: dict[str, Any] | None) -> None:
        instance.owner += 1
        copies = 2 if not self.night.is_calm and self.night.choices.happens(self._twice) else 1
        for copy in range(copies):
            owner = instance.owner
            number = f"{instance.name}#{instance.try_number}{'b' if copy else ''}"
            machine = self.night.choices.of(self._machines)
            if copy:
                self.night.hurt.add("twice")
                self.night.tell(f"A second scheduler starts {instance.name} as well")
            process = self.night.start(
                number,
                lambda owner=owner: self._work(instance, owner, method, kwargs),
                machine,
                delay=0.5 + 2.0 * copy,
            )
            process.reports_to = (instance, owner)

    def _work(self, instance: Instance, owner: int, method: str, kwargs: dict[str, Any] | None) -> None:
        """The body of a worker's process."""
        night = self.night
        try:
            night.interlude("its first line")
            operator, context = instance.make(), self._context(instance)
            if method == "execute":
                ExecutorSafeguard.tracker.set(operator)  # as Airflow's task runner does
                result = operator.execute(context)
            else:
                result = operator.resume_execution(method, kwargs, context)
        except TaskDeferred as deferred:
            how: tuple[str, Any] = ("deferred", deferred)
        except KilledError:
            night.at(night.now + HEARTBEAT_SECONDS, lambda: self._lost(instance, owner))
            raise
        except (Exception, AirflowTaskTimeout) as error:
            night.tell(f"FAILS: {type(error).__name__}: {str(error)[:150]}")
            how = ("failed", error)
        else:
            night.tell("succeeds")
            how = ("success", result)
        night.at(night.now, lambda: self._reported(instance, owner, *how))

    def _context(self, instance: Instance) -> Any:
        ti = _TaskInstance(self.night, instance)
        context: dict[str, Any] = {"ti": ti, "task_instance": ti, "run_id": ti.run_id}
        if self._keeps_state:
            context["task_state_store"] = _State(self.night, instance)
        return context

    def _reported(self, instance: Instance, owner: int, state: str, result: Any) -> None:
        """A process has ended. Only the one that Airflow takes for the task's counts."""
        if state == "failed":
            instance.errors.append(result)
        if owner != instance.owner or instance.state != "running":
            return
        if state == "deferred":
            self._defer(instance, result)
        elif state == "success":
            instance.state, instance.xcoms["return_value"] = "success", json.loads(json.dumps(result))
            self.succeeded(instance, result)
            for later in self.instances:
                if later.after is instance and later.state in ("scheduled", "failed"):
                    self.schedule(later, fresh=True)
        else:
            self._retry(instance, is_final=isinstance(result, AirflowFailException))

    def _retry(self, instance: Instance, *, is_final: bool) -> None:
        if is_final or instance.tries_left <= 0:
            instance.state = "failed"
            return
        instance.tries_left -= 1
        instance.state, owner = "up_for_retry", instance.owner
        self.night.at(self.night.now + RETRY_SECONDS, lambda: self._again(instance, owner))

    def _again(self, instance: Instance, owner: int) -> None:
        if instance.state == "up_for_retry" and instance.owner == owner:
            self.schedule(instance, fresh=False)

    def _lost(self, instance: Instance, owner: int) -> None:
        """No heartbeat came: the process is dead, or only stopped."""
        if instance.owner == owner and instance.state == "running":
            self.night.tell(f"{instance.name} gives no sign of life: Airflow takes it for dead")
            self._retry(instance, is_final=False)

    def _stopped(self, process: Process, seconds: float) -> None:
        if process.reports_to and seconds > HEARTBEAT_SECONDS:
            instance, owner = process.reports_to
            self.night.at(self.night.now + HEARTBEAT_SECONDS, lambda: self._lost(instance, owner))

    # Deferrals

    def _defer(self, instance: Instance, deferred: TaskDeferred) -> None:
        """Store the trigger as JSON, and run it in a triggerer or two."""
        self._deferrals += 1
        number = self._deferrals
        path, arguments = deferred.trigger.serialize()
        stored = json.loads(json.dumps(arguments))
        kwargs = json.loads(json.dumps(deferred.kwargs or {}))
        instance.state, instance.deferral = "deferred", (number, path, stored, deferred.method_name, kwargs)
        copies = 2 if not self.night.is_calm and self.night.choices.happens(self._twice) else 1
        for _ in range(copies):
            self._watch(instance, number)
        if deferred.timeout is not None:
            limit = self.night.now + deferred.timeout.total_seconds()
            self.night.at(limit, lambda: self._heard(instance, number, None))

    def _watch(self, instance: Instance, number: int, delay: float = 1.0) -> None:
        if instance.deferral and instance.deferral[0] == number:
            _, path, stored, _, _ = instance.deferral
            body = lambda: self._trigger(instance, number, path, stored)  # noqa: E731
            self.night.start(
                f"trigger of {instance.name}", body, self.night.choices.of(self._machines), delay=delay
            )

    def _trigger(self, instance: Instance, number: int, path: str, stored: dict[str, Any]) -> None:
        """The body of a trigger. One that dies is begun anew from its stored arguments, as Airflow does."""
        try:
            self.night.interlude("its first poll")
            module, name = path.rsplit(".", 1)
            trigger = getattr(import_module(module), name)(**stored)
            event = DECIDE[name](trigger, self)
        except (KilledError, AirflowTaskTimeout):
            self.night.at(self.night.now + 40.0, lambda: self._watch(instance, number))
            raise KilledError from None
        self.night.at(
            self.night.now + 0.5, lambda: self._heard(instance, number, json.loads(json.dumps(event)))
        )

    def _heard(self, instance: Instance, number: int, event: dict[str, Any] | None) -> None:
        """A trigger has sent its event, or the deferral has timed out (None)."""
        if instance.state != "deferred" or not instance.deferral or instance.deferral[0] != number:
            return
        _, _, _, method, kwargs = instance.deferral
        instance.state, instance.deferral = "running", None
        if event is None:
            self._run(instance, "__fail__", {"error": "Trigger timeout"})
        else:
            self._run(instance, method, {"event": event, **kwargs})

    def turn(self, trigger: Any) -> dict[str, Any]:
        """The decision of a turn's trigger: the limiter's, for the triggerer of this night."""
        if trigger.throttled_epoch is not None:
            self._limiter.throttled(
                trigger.throttled_epoch,
                retry_after_seconds=trigger.retry_after_seconds,
                granted_epoch=trigger.granted_epoch,
            )
        clock.sleep(trigger.not_before_epoch - clock.now_epoch())
        while (seconds := self._limiter.turn_epoch(clock.now_epoch()) - clock.now_epoch()) > 0:
            if clock.now_epoch() + seconds > trigger.deadline_epoch:
                return {**trigger._event(is_late=True), "schema_version": 1}
            clock.sleep(min(seconds, 60.0))
        self._limiter.take(clock.now_epoch())
        return {**trigger._event(granted_epoch=clock.now_epoch()), "schema_version": 1}


def _decide_generation(trigger: Any, airflow: Airflow) -> dict[str, Any]:
    """The decisions of a generation's trigger: first poll, interval, verdict, event."""
    state = PollState(**(trigger.watch or {}))
    poller = Poller(trigger.policy, state)
    now = clock.now_epoch()
    poller.due_epoch = max(trigger.first_poll_epoch, now + poller.seconds_before_first_poll(now_epoch=now))
    hook = SimHook("sim")
    outcome = wait(poller, lambda: hook.poll(trigger.seedream_task_id), clock.sleep)
    return event_from(trigger.seedream_task_id, outcome, record=trigger.record)


def _decide_batch(trigger: Any, airflow: Airflow) -> dict[str, Any]:
    """The decisions of a batch's trigger: its pollers, until the worker wants to go on, or 30 s after the
    first has ended.
    """
    pollers = trigger._pollers = [trigger._poller(one) for one in trigger.in_flight]
    hook, until = SimHook("sim"), clock.now_epoch() + trigger._seconds_to_wake()
    waiting = list(zip(trigger.in_flight, pollers, strict=True))
    while waiting:
        generation, poller = min(waiting, key=lambda pair: pair[1].due_epoch)
        if poller.due_epoch >= until:
            break
        clock.sleep(poller.due_epoch - clock.now_epoch())
        poller.heard(hook.poll(generation[0]), now_epoch=clock.now_epoch())
        if poller.has_ended:
            waiting.remove((generation, poller))
            until = min(until, clock.now_epoch() + PATIENCE_SECONDS)
    clock.sleep(
        min(max(until, trigger.not_before_epoch) - clock.now_epoch(), 86_400.0)
        if waiting or not pollers
        else 0.0
    )
    clock.sleep(trigger.not_before_epoch - clock.now_epoch())
    return {"schema_version": 1, **_returned(trigger._event())}


def _returned(coroutine: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """What a coroutine returns that sleeps for 0 s at most, so that it needs no event loop."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            returned: dict[str, Any] = end.value
            return returned


DECIDE: dict[str, Callable[[Any, Airflow], dict[str, Any]]] = {
    "SeedreamGenerationTrigger": _decide_generation,
    "SeedreamBatchTrigger": _decide_batch,
    "SeedreamTurnTrigger": lambda trigger, airflow: airflow.turn(trigger),
}


class _TaskInstance:
    """What an operator asks of its task instance. Each push is an act: the process may die around it."""

    def __init__(self, night: Night, instance: Instance) -> None:
        self._night = night
        self._instance = instance
        self.dag_id, self.run_id = "night", "run"
        self.task_id, self.map_index = instance.task_id, instance.map_index
        self.try_number, self.max_tries = instance.try_number, instance.try_number + instance.tries_left
        self.id = SimpleNamespace(hex="ti")

    def xcom_push(self, key: str, value: Any) -> None:
        self._night.act(
            f"pushes XCom {key}", lambda: self._instance.xcoms.__setitem__(key, json.loads(json.dumps(value)))
        )

    def xcom_pull(self, *, key: str = "return_value", **where: Any) -> Any:
        return self._night.act(f"pulls XCom {key}", lambda: self._instance.xcoms.get(key))

    def get_first_reschedule_date(self, context: Any) -> None:
        return None


class _State:
    """The state of a task, of Airflow 3.3."""

    def __init__(self, night: Night, instance: Instance) -> None:
        self._night = night
        self._kept = instance.kept

    def get(self, name: str) -> Any:
        return self._night.act("reads the task's state", lambda: self._kept.get(name))

    def set(self, name: str, value: Any) -> None:
        self._night.act(
            "writes the task's state", lambda: self._kept.__setitem__(name, json.loads(json.dumps(value)))
        )

    def delete(self, name: str) -> None:
        self._night.act("deletes the task's state", lambda: self._kept.pop(name, None))
