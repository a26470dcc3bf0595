"""How long jobs take: what is known at first, what is learned, and that the plan made of it is the
cheapest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random
from statistics import fmean

import pytest

from airflow_provider_seedream.polling.schedule import (
    _EDGES,
    CALL_SECONDS,
    MAX_JOBS,
    SETTLING,
    Job,
    Plan,
    PollSchedule,
    best_plan,
)

ONE = Job(image_size="auto_2K", num_images=1, kind="generate")
HOUR = 3600.0


def polls(plan: Plan, upto: float = HOUR) -> list[float]:
    """The ages at which a job that is never ready is polled."""
    ages = [plan.first_seconds]
    while ages[-1] < upto:
        ages.append(ages[-1] + plan.interval(ages[-1]))
    return ages


def seen(*spans: tuple[float, float], job: Job = ONE) -> PollSchedule:
    memory = PollSchedule()
    for after, by in spans:
        memory.note(job, after_seconds=after, by_seconds=by)
    return memory


def wait_for(duration: float, memory: PollSchedule) -> tuple[int, float]:
    """Polls and delay of one wait, which is remembered."""
    last, age, calls = 0.0, memory.plan(ONE).first_seconds, 1
    while age < duration:
        last, age, calls = age, age + memory.plan(ONE).interval(age), calls + 1
    memory.note(ONE, after_seconds=last, by_seconds=age)
    return calls, age - duration


def cost(next_age: Callable[[float], float], durations: list[float]) -> float:
    """The mean cost of waiting for jobs of these durations."""
    costs = []
    for duration in durations:
        age, calls = next_age(0.0), 1
        while age < duration:
            age, calls = next_age(age), calls + 1
        costs.append(calls * CALL_SECONDS + age - duration)
    return fmean(costs)


class TestWhatIsKnownAtFirst:
    @pytest.mark.parametrize("images", [1, 2, 3, 4, 5, 6])
    def test_no_poll_comes_before_the_job_can_be_ready(self, images: int) -> None:
        first = PollSchedule().plan(Job(num_images=images)).first_seconds
        assert 20 * images <= first <= 40 * images

    def test_an_unknown_number_is_one(self) -> None:
        assert PollSchedule().plan(Job()) == PollSchedule().plan(Job(num_images=1))

    def test_large_images_may_take_longer(self) -> None:
        large = Job(image_size="auto_3K", num_images=2)
        assert (
            PollSchedule().plan(large).first_seconds >= PollSchedule().plan(Job(num_images=2)).first_seconds
        )

    def test_links_are_asked_for_within_seconds(self) -> None:
        ages = polls(PollSchedule().plan(SETTLING), upto=120)
        assert 2 <= ages[0] <= 6
        assert sum(age <= 15 for age in ages) >= 3
        assert len(ages) <= 20

    @pytest.mark.parametrize("job", [ONE, Job(num_images=6), SETTLING])
    def test_a_job_far_beyond_everything_is_polled_less_and_less_but_once_a_minute(self, job: Job) -> None:
        ages = polls(PollSchedule().plan(job), upto=3 * HOUR)
        intervals = {age: later - age for age, later in pairwise(ages)}
        assert max(intervals.values()) == pytest.approx(60)
        assert all(interval == pytest.approx(60) for age, interval in intervals.items() if age > HOUR + 120)
        assert (
            intervals[min(age for age in ages if age > 100)]
            < intervals[min(age for age in ages if age > 1000)]
        )


class TestWhatIsLearned:
    @pytest.mark.parametrize(("duration", "calls"), [(7.0, 1.6), (29.0, 1.6), (55.0, 2.4), (300.0, 8.0)])
    def test_jobs_that_take_equally_long_are_soon_noticed_at_once(
        self, duration: float, calls: float
    ) -> None:
        memory = PollSchedule()
        waits = [wait_for(duration, memory) for _ in range(60)][-30:]
        assert fmean(polls for polls, _ in waits) <= calls
        assert fmean(delay for _, delay in waits) < max(1.0, duration / 20)

    @pytest.mark.parametrize(("before", "after"), [(30.0, 60.0), (30.0, 12.0), (300.0, 30.0)])
    def test_jobs_that_became_slower_or_faster_are_found_out(self, before: float, after: float) -> None:
        memory = PollSchedule()
        for duration in [before] * 60 + [after] * 40:
            polls, delay = wait_for(duration, memory)
        assert polls <= 3
        assert delay < after / 10

    def test_each_sort_of_job_is_known_by_itself(self) -> None:
        memory = seen(*[(8.0, 9.0)] * 20)
        for other in (
            replace(ONE, image_size="auto_3K"),
            replace(ONE, num_images=2),
            replace(ONE, kind="edit"),
        ):
            assert memory.plan(other) == PollSchedule().plan(other)

    @pytest.mark.parametrize(("after", "by"), [(0.0, 0.0), (-9.0, -5.0), (30.0, 20.0), (1e5, 2e5)])
    def test_what_cannot_be_is_left_aside(self, after: float, by: float) -> None:
        assert seen((after, by)).plan(ONE) == PollSchedule().plan(ONE)

    def test_each_of_the_first_jobs_makes_a_new_plan_and_later_about_every_third(self) -> None:
        memory, plans = PollSchedule(), []
        for number in range(60):
            memory.note(ONE, after_seconds=20.0 + number % 7, by_seconds=31.0 + number % 5)
            plans.append(memory.plan(ONE))
        new = [later is not earlier for earlier, later in pairwise(plans)]
        assert all(new[:8])
        assert 10 <= sum(new[-40:]) <= 20

    def test_the_memory_is_bounded_and_forgets_the_oldest_sort(self) -> None:
        memory = seen(*[(8.0, 9.0)] * 20)
        for number in range(MAX_JOBS):
            memory.plan(Job(num_images=number + 1))
        assert len(memory._jobs) == MAX_JOBS
        assert memory.plan(ONE) == PollSchedule().plan(ONE)


class TestThePlan:
    @pytest.mark.parametrize(
        "draw",
        [
            lambda random: random.uniform(20, 40),
            lambda random: random.lognormvariate(4, 0.4),
            lambda random: random.choice((30, 150)) + random.uniform(0, 10),
        ],
        ids=["even", "skewed", "two speeds"],
    )
    def test_no_even_spacing_from_any_first_poll_costs_less(self, draw: Callable[[Random], float]) -> None:
        random = Random(7)
        durations = [draw(random) for _ in range(2000)]
        plan = best_plan(
            [sum(start < one <= end for one in durations) / 2000 for start, end in pairwise(_EDGES)],
            CALL_SECONDS,
        )
        ours = cost(lambda age: age + plan.interval(age), durations)
        for first in range(10, 60, 2):
            for interval in (1, 2, 3, 5, 7, 10, 15, 20, 30, 60):
                even = cost(
                    lambda age, first=first, interval=interval: age + interval if age else first, durations
                )  # type: ignore[misc]
                assert ours <= even, (first, interval)
