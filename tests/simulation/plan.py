"""What is run in a night, and in which weather: both are chosen by the night's own choices."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from airflow_provider_seedream.batch.asked import AskedBatch
from airflow_provider_seedream.batch.runner import BatchTry
from airflow_provider_seedream.emulator.faults import Fault
from airflow_provider_seedream.emulator.settings import Settings
from airflow_provider_seedream.model.caps import Cap, Period
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.simulation.accounts import Accounts
from tests.simulation.airflow import Airflow, Instance
from tests.simulation.api import SETTINGS, Api, SimHook
from tests.simulation.checks import Asked, Checks
from tests.simulation.choices import Choices
from tests.simulation.logs import logs_of
from tests.simulation.memory import forget
from tests.simulation.night import BEGINS_EPOCH, STOPS, Machine, Night, Violation, Weather
from tests.simulation.person import How, Person
from tests.simulation.sources import Sources
from tests.simulation.store import open_store

NIGHT_SECONDS = 10 * 3600.0
LONG_SECONDS = 30 * 3600.0  # longer than the API keeps results
SKEWS = (0.0, -3.0, 130.0, -700.0, 3_500.0)
_HARMLESS = {"refund"}


class _Hooked:
    """An operator on the API of the night."""

    @cached_property
    def _hook(self) -> SimHook:
        return SimHook("sim")


class Generate(_Hooked, SeedreamGenerateOperator):
    """The real operator."""


class Edit(_Hooked, SeedreamEditOperator):
    """The real operator of an edit."""


class Land(_Hooked, SeedreamGenerationSensor):
    """The real sensor."""


class Batch(SeedreamBatchOperator):
    """The real operator of a table, on the API of the night."""

    def _part(self, context: Any) -> BatchTry:
        return BatchTry(AskedBatch.of(self), context, SimHook("sim"))


@dataclass(slots=True)
class Told:
    """One night that was played.

    :param violation: the invariant that broke, with the moment; None for a good night.
    :param statement: of the morning, in words; empty where nothing can be proved.
    """

    seed: int
    made: list[int]
    violation: str | None = None
    story: list[str] = field(default_factory=list)
    acts: int = 0
    charges: int = 0
    hurt: set[str] = field(default_factory=set)
    statement: str = ""

    @property
    def invariant(self) -> str:
        """The name of the broken invariant."""
        return (self.violation or "").partition(":")[0]


def weather_of(choices: Choices) -> Weather:
    """Most faults are off in most nights: then the others reach deeper."""
    weather = Weather()
    bad = choices.of((0.2, 0.5))
    for name, strengths in {
        "kill": (0.0, 0.01, 0.05),
        "stop": (0.0, 0.01, 0.04),
        "timeout": (0.0, 0.01),
        "refuse": (0.0, 0.02, 0.15, 0.4),
        "lose": (0.0, 0.03, 0.1),
        "repeat": (0.0, 0.1),
        "unreachable": (0.0, 0.1),
        "drop": (0.0, 0.15, 0.5),
        "error": (0.0, 0.1, 0.4),
        "limit": (0.0, 0.2),
        "fail": (0.0, 0.3),
        "odd": (0.0, 0.3),
        "broken": (0.0, 0.15, 0.4),
    }.items():
        setattr(weather, name, choices.of(strengths, chance=bad))
    weather.lag_seconds = choices.of((0.0, 2.0, 30.0, 600.0), chance=0.15, apart=True)
    weather.lag_scatters = bool(weather.lag_seconds) and choices.happens(0.3, apart=True)
    return weather


def play(seed: int, replay: Sequence[int] | None = None, *, tells: bool = False) -> Told:
    """Play one night.

    :param replay: the choices of an earlier night; its seed still sets the provider's own random numbers.
    """
    random.seed(seed)
    forget()
    choices = Choices(seed, replay)
    night = Night(choices, tells=tells)
    told = Told(seed=seed, made=choices.made)
    with logs_of(night):
        try:
            tonight = _Play(night)
            tonight.play()
            told.statement = tonight.accounts.text
        except Violation as violation:
            told.violation = str(violation)
            night.tell(f"VIOLATION  {violation}")
        finally:
            told.acts, told.hurt, told.charges = night.acts, night.hurt, night.charges
            night.is_calm = True
            story, night.story = night.story, None
            night.end()
            forget()
    told.story = story or []
    return told


class _Play:
    def __init__(self, night: Night) -> None:
        choices = night.choices
        self.night = night
        night.weather = weather_of(choices)
        self.checks = Checks(night)
        is_conditional = choices.below(2) == 0
        self.destination, store = open_store(night, self.checks.writes, conditional=is_conditional)
        store.watch_delete = self.checks.deletes
        store.skew_seconds = choices.of((0.0, 400.0, -400.0), chance=0.2)
        rate = choices.of((0, 3), chance=0.3)
        price = choices.of((10, 30, 4), chance=0.25, apart=True)
        known_price = choices.of((price, 10), apart=True)
        self._seconds = choices.of((NIGHT_SECONDS, LONG_SECONDS), chance=0.1, apart=True)
        gone = choices.of((404, 200), apart=True)  # the answer about results that the API has deleted
        settings = Settings(
            rate_limit_per_minute=rate, credits_per_image=price, expired_status=gone, quirks=False
        )
        # What the provider knows of the limit: nothing, the truth, or a number that is too large.
        known_rate = choices.of((None, 3.0, 1.0, 60.0), chance=0.3, apart=True)
        # Where the price is not the expected one, the first charge tells it, and may exceed a cap.
        self._plan_caps(price, is_possible=is_conditional and known_price == price)
        self.api = Api(
            night,
            settings,
            self.checks.charged,
            replace(SETTINGS, credits_per_image=known_price, requests_per_minute=known_rate, **self._caps),
        )
        SimHook.api = self.api
        self.sources = Sources(night, store)
        self.checks.store, self.checks.api, self.checks.sources = store, self.api, self.sources
        machines = [self._machine(choices) for _ in range(3)]
        skew = max(
            abs(machine.epoch(now) - now)
            for machine in machines
            for now in (BEGINS_EPOCH, BEGINS_EPOCH + LONG_SECONDS)
        )
        self.accounts = Accounts(self.checks, self.destination, skew_seconds=skew)
        twice = choices.of((0.0, 0.3), chance=0.4)
        self.checks.budget_of_run = self._budget((None, 20, 40), chance=0.15)
        self.airflow = Airflow(night, machines, twice=twice, keeps_state=choices.below(2) == 0)
        self.airflow.succeeded = self._succeeded
        if choices.happens(0.25):
            self._add_batch("b")
        else:
            for number in range(1 + choices.below(3, chance=0.4)):
                self._add_task(f"t{number}")
        for _ in range(choices.below(4, chance=0.4)):
            self._add_clear()
        if self._seconds == LONG_SECONDS:
            for _ in range(choices.below(3, apart=True)):
                clears = choices.of(self.airflow.instances, apart=True)
                hours = choices.of((25.0, 23.9, 28.0), apart=True)
                night.at(BEGINS_EPOCH + hours * 3600.0, lambda clears=clears: self.airflow.clear(clears))  # type: ignore[misc]
        self._machines = machines
        self._person = Person(night, self.checks, self.destination)
        for _ in range(choices.below(3, chance=0.3, apart=True)):
            # A store that cannot compare and swap loses a write to a process that was stopped before its own,
            # as the docs say.
            if is_conditional or not night.weather.stop:
                self._add_resolve()

    def _plan_caps(self, price: int, *, is_possible: bool) -> None:
        """Caps of the connection, whose books need a store that compares and swaps. A night has two UTC
        days, of one month.
        """
        choices, self._caps = self.night.choices, {}
        if is_possible and choices.happens(0.2, apart=True):
            period: Period = choices.of(("day", "month"), apart=True)
            whole, labelled = (
                price * choices.of((4, 2, 1), apart=True),
                price * choices.of((2, 1), apart=True),
            )
            self._caps = {
                f"max_credits_per_{period}": whole,
                "label_caps": {"team=a": {"day": labelled}},
                "books": self.destination,
            }
            self.checks.caps = [
                Cap(period=period, credits=whole),
                Cap(period="day", credits=labelled, label="team=a"),
            ]

    def _capped(self) -> dict[str, Any]:
        """The arguments of a task under caps."""
        choices = self.night.choices
        if not self._caps:
            return {}
        labels = choices.of(({}, {"team": "a"}), apart=True)
        return {"labels": labels or None, "on_budget": choices.of(("fail", "wait"), chance=0.2, apart=True)}

    @staticmethod
    def _machine(choices: Choices) -> Machine:
        jumps_at = BEGINS_EPOCH + choices.of((60.0, 10.0, 600.0)) if choices.happens(0.1) else float("inf")
        return Machine(choices.of(SKEWS, chance=0.2), choices.of((0.0, 300.0, -300.0), chance=0.5), jumps_at)

    def _budget(self, options: tuple[int | None, ...], *, chance: float) -> int | None:
        """A budget that holds so many images at the connection's price, as at 10 credits each."""
        chosen = self.night.choices.of(options, chance=chance)
        return chosen and chosen * self.api.connection.credits_per_image // 10

    def _succeeded(self, instance: Instance, result: Any) -> None:
        if instance.after is None:  # a sensor lands what it was given
            self.checks.succeeded(result, began=instance.began)

    def _source(self, prompt: str) -> dict[str, Any]:
        """The images of an edit, which a person may replace in the night; empty where it is no edit."""
        choices = self.night.choices
        if not choices.happens(0.2, apart=True):
            return {}
        if choices.happens(0.3, apart=True):
            at = BEGINS_EPOCH + choices.of((30.0, 90.0, 900.0), apart=True)
            self.night.at(at, lambda: self.sources.replace(prompt))
        return {"images": [self.sources.add(prompt, destination=self.destination)]}

    def _add_task(self, task_id: str) -> None:
        """A task of one or more mapped instances, and for each the one that lands it: its sensor, or
        itself with ``wait=True``.
        """
        choices = self.night.choices
        waits, is_deferrable = choices.below(2) == 1, choices.below(2) == 1
        may_pay_again = choices.happens(0.1)
        images, mapped = choices.of((1, 2)), choices.of((1, 2, 3), chance=0.4)
        is_twin = choices.happens(0.4)  # mapped instances that ask for the same share one generation
        budget = self._budget((None, 10, 20, 40), chance=0.3)
        if budget:
            self.checks.budgets[task_id] = budget
        arguments: dict[str, Any] = {
            "destination": self.destination,
            "num_images": images,
            "wait": waits,
            "deferrable": is_deferrable,
            "on_unknown_submit": "resubmit" if may_pay_again else "fail",
            "max_credits": budget,
            "max_credits_per_run": self.checks.budget_of_run,
            **self._capped(),
        }
        label = "team=a" if arguments.get("labels") else None
        retries = choices.of((1, 0, 3))
        images_of: dict[str, dict[str, Any]] = {}
        for index in range(mapped):
            prompt = f"{task_id}.{0 if is_twin else index}"
            name = prompt if choices.happens(0.3) and not is_twin else None
            if prompt not in self.checks.asked:
                self.checks.asked[prompt] = Asked(task_id, may_pay_again, label)
                self._plan_course(prompt)
                images_of[prompt] = self._source(prompt)
            asked = {**arguments, "prompt": prompt, "name": name, **images_of[prompt]}
            self._add_pair(task_id, index if mapped > 1 else -1, asked, retries)

    def _add_batch(self, task_id: str) -> None:
        """A table of a few rows, some of which may ask for the same."""
        choices = self.night.choices
        may_pay_again = choices.happens(0.1)
        capped = self._capped()
        label = "team=a" if capped.get("labels") else None
        rows, images_of = list[dict[str, Any]](), dict[str, dict[str, Any]]()
        for number in range(choices.of((3, 1, 2, 5))):
            prompt = f"{task_id}.{0 if choices.happens(0.15) else number}"
            if prompt not in self.checks.asked:
                self.checks.asked[prompt] = Asked(task_id, may_pay_again, label)
                self._plan_course(prompt)
                images_of[prompt] = self._source(prompt)
            rows.append({"prompt": prompt, **images_of[prompt]})
        budget = self._budget((None, 20, 30), chance=0.3)
        if budget:
            self.checks.budgets[task_id] = budget
        arguments: dict[str, Any] = {
            "requests": rows,
            "destination": self.destination,
            "deferrable": choices.below(2) == 0,
            "on_error": choices.of(("fail", "continue")),
            "on_unknown_submit": "resubmit" if may_pay_again else "fail",
            "max_in_flight": choices.of((100, 1, 2), chance=0.3),
            "max_posts_at_once": choices.of((None, 1)),
            "max_credits": budget,
            "max_credits_per_run": self.checks.budget_of_run,
            **capped,
        }
        instance = Instance(
            task_id, lambda: Batch(task_id=task_id, **arguments), retries=choices.of((1, 0, 3))
        )
        self.airflow.add(instance, delay=0.0)

    def _add_pair(self, task_id: str, map_index: int, arguments: dict[str, Any], retries: int) -> None:
        choices, is_deferrable = self.night.choices, arguments["deferrable"]
        operator: type[SeedreamGenerateOperator] = Edit if "images" in arguments else Generate
        submit = Instance(
            task_id, lambda: operator(task_id=task_id, **arguments), retries=retries, map_index=map_index
        )
        self.airflow.add(submit, delay=choices.of((0.0, 1.0, 30.0)))
        if not arguments["wait"]:
            land = Instance(
                f"{task_id}.land",
                lambda: Land(
                    task_id=f"{task_id}_land",
                    generation=submit.xcoms["return_value"],
                    deferrable=is_deferrable,
                ),
                retries=retries,
                map_index=map_index,
                after=submit,
            )
            self.airflow.add(land, delay=0.0)

    def _plan_course(self, prompt: str) -> None:
        """How the generations of a prompt go."""
        night, choices, world = self.night, self.night.choices, self.api.world
        if choices.happens(night.weather.fail):
            world.inject(Fault("fail", prompt=prompt, times=1))
        if choices.happens(night.weather.odd):
            kind = choices.of(("late-assets", "partial", "takes"))
            details = {
                "late-assets": {"seconds": 90.0},
                "partial": {"count": 1},
                "takes": {"seconds": 900.0},
            }[kind]
            world.inject(Fault(kind, prompt=prompt, times=1, **details))  # type: ignore[arg-type]

    def _add_clear(self) -> None:
        choices, airflow = self.night.choices, self.airflow
        instance = choices.of(airflow.instances)
        does = airflow.wipe if choices.happens(0.3) else airflow.clear
        self.night.at(BEGINS_EPOCH + choices.of((20.0, 45.0, 100.0, 700.0, 8000.0)), lambda: does(instance))

    def _add_resolve(self) -> None:
        choices = self.night.choices
        # The wallet proves nothing where clocks differ by more than a minute, as the command says.
        is_in_time = not any(
            machine.skew_seconds or machine.jumps_at < float("inf") for machine in self._machines
        )
        how: How = "wallet" if choices.happens(0.3, apart=True) and is_in_time else "truth"
        machine = choices.of(self._machines, apart=True)
        at = BEGINS_EPOCH + choices.of((700.0, 1.5, 4.0, 60.0, 2_500.0, 8_000.0), apart=True)
        self.night.at(at, lambda: self._person.begin(how, machine))

    def play(self) -> None:
        night, airflow = self.night, self.airflow
        night.run(BEGINS_EPOCH + self._seconds)
        night.is_calm = True
        night.tell("MORNING: nothing goes wrong from here on")
        night.run(night.now + STOPS[-1] + 1800.0)  # the last process that was stopped goes on, and ends
        is_resolved = night.choices.happens(0.3, apart=True)
        if is_resolved:
            self._person.begin("truth", self._machines[0])
            night.run(night.now + 600.0)
        for is_first in (True, False):
            # a person clears the failed tasks; the second time with the tasks before them
            for instance in airflow.instances:
                if instance.state == "failed" or (instance.after is None and instance.state != "success"):
                    airflow.clear(instance if is_first else instance.after or instance)
            night.run(night.now + 1.5 * 3600.0)
        errors = [error for instance in airflow.instances for error in instance.errors]
        for instance in airflow.instances:
            summary = instance.xcoms.get("return_value")
            if instance.task_id == "b" and instance.state == "success" and summary:
                self.checks.reconciles(summary)
        if is_resolved:
            self.checks.resolved()
        open_faults = night.hurt - _HARMLESS
        self.checks.morning(errors, settled=not open_faults)
        self.accounts.check()
