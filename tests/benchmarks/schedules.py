"""When to poll: generations that end at random moments, and the decision core that waits for them, in
simulated time. Pure.

Counts the status calls and the delay between ready (all links are there) and noticed. No server, no clock,
seeded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from statistics import fmean

from airflow_provider_seedream.generations import GenerationStatus, ResultLinks
from airflow_provider_seedream.polling.decision import DOCUMENTED, decide, learn
from airflow_provider_seedream.polling.policy import PollPolicy, PollState
from airflow_provider_seedream.polling.poller import Poller
from airflow_provider_seedream.polling.schedule import CALL_SECONDS, PollSchedule

GENERATIONS = 200
SUBMITTING_SECONDS = 1.0  # from the job's creation to the deferral
DEADLINE_SECONDS = 3600.0
_LINK = ResultLinks(image="https://link", thumbnail=None)
_NO_LINK = ResultLinks(image=None, thumbnail=None)
_PENDING = GenerationStatus(status="IN_PROGRESS", progress=None, failure_reason=None, results=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One job: FINISHED after so many seconds, and its links after that."""

    finished_seconds: float
    links_seconds: float = 0.0
    num_images: int = 1
    image_size: str = "auto_2K"

    @property
    def ready_seconds(self) -> float:
        return self.finished_seconds + self.links_seconds

    def status(self, age: float) -> GenerationStatus:
        if age < self.finished_seconds:
            return _PENDING
        link = _LINK if age >= self.ready_seconds else _NO_LINK
        return GenerationStatus(
            status="FINISHED", progress=None, failure_reason=None, results=(link,) * self.num_images
        )


@dataclass(frozen=True, slots=True)
class Waited:
    """The means over a night's generations: status calls of each, and seconds from ready to noticed."""

    calls: float
    delay_seconds: float


Night = Callable[[Random], list[Generation]]
Policy = Callable[[Generation, Random], tuple[int, float]]


def wait_for(
    generation: Generation,
    policy: PollPolicy,
    first: float,
    random: Random,
    *,
    schedule: PollSchedule,
    noted_in: PollSchedule,
) -> tuple[int, float]:
    """Calls and delay of one wait, whose first poll is at this age."""
    state, now, calls = PollState(), first, 1
    while True:
        outcome, state = decide(
            generation.status(now), state, policy, now_epoch=now, jitter=random.random(), schedule=schedule
        )
        learn(outcome, state, policy, now_epoch=now, schedule=noted_in)
        if outcome.verdict != "wait":
            assert outcome.verdict == "done"
            return calls, now - generation.ready_seconds
        now, calls = now + outcome.wait_seconds, calls + 1


def ours(*, learning: bool, call_seconds: float = CALL_SECONDS) -> Policy:
    """The default schedule; without learning every job is its process's first."""
    schedule = PollSchedule(call_seconds)
    noted_in = schedule if learning else PollSchedule()

    def wait(generation: Generation, random: Random) -> tuple[int, float]:
        policy = rules_for(generation, None)
        first = SUBMITTING_SECONDS + Poller(policy, schedule=schedule).first_poll_seconds(
            now_epoch=SUBMITTING_SECONDS
        )
        return wait_for(generation, policy, first, random, schedule=schedule, noted_in=noted_in)

    return wait


def fixed(interval: float, *, from_estimate: bool = False) -> Policy:
    """A poll every so many seconds from the submission on, or from the documented 20 s per image on, as a
    number means to us.

    The poll that such a sensor takes at the very start is left out.
    """

    def wait(generation: Generation, random: Random) -> tuple[int, float]:
        policy = rules_for(generation, interval)
        estimate = SUBMITTING_SECONDS + Poller(policy, schedule=DOCUMENTED).first_poll_seconds(
            now_epoch=SUBMITTING_SECONDS
        )
        return wait_for(
            generation,
            policy,
            estimate if from_estimate else interval,
            random,
            schedule=PollSchedule(),
            noted_in=PollSchedule(),
        )

    return wait


def rules_for(generation: Generation, interval: float | None) -> PollPolicy:
    return PollPolicy(
        deadline_epoch=DEADLINE_SECONDS,
        poke_interval_seconds=interval,
        num_images=generation.num_images,
        image_size=generation.image_size,
        kind="generate",
        created_epoch=0.0,
    )


def simulate(night: Night, policy: Policy, *, warm_up: int = 0) -> Waited:
    """The first generations of the night, the warm-up, are waited for and not counted."""
    generations, random = night(Random(20)), Random(30)
    waits = [policy(generation, random) for generation in generations][warm_up:]
    return Waited(fmean(calls for calls, _ in waits), fmean(delay for _, delay in waits))


def jobs(draw: Callable[[Random, float], Generation]) -> Night:
    """A night of jobs; each is drawn knowing how far the night has gone, from 0 to 1."""
    return lambda random: [draw(random, number / GENERATIONS) for number in range(GENERATIONS)]


def documented(num_images: int) -> Callable[[Random, float], Generation]:
    """20 to 40 s per image, links 3 to 12 s later: each job has its own speed, which is the worst case."""
    return lambda random, _: Generation(
        finished_seconds=num_images * random.uniform(20, 40),
        links_seconds=random.uniform(3, 12),
        num_images=num_images,
    )


def two_speeds(random: Random, _: float) -> Generation:
    is_slow = random.random() < 0.3
    return Generation(
        finished_seconds=random.gauss(95, 8) if is_slow else random.gauss(38, 4), image_size="auto_3K"
    )


def slowing(random: Random, progress: float) -> Generation:
    return Generation(
        finished_seconds=22 + 40 * progress + random.uniform(-2, 2), links_seconds=random.uniform(3, 12)
    )


NIGHTS: dict[str, Night] = {
    "1 image, 20 to 40 s, links at once": jobs(
        lambda random, _: Generation(finished_seconds=random.uniform(20, 40))
    ),
    "1 image, 20 to 40 s, links 3 to 12 s later": jobs(documented(1)),
    "6 images, 120 to 240 s, links 3 to 12 s later": jobs(documented(6)),
    "1, 2, 4 and 6 images mixed": jobs(
        lambda random, night: documented(random.choice((1, 2, 4, 6)))(random, night)
    ),
    "log-normal around 28 s": jobs(
        lambda random, _: Generation(finished_seconds=28 * random.lognormvariate(0, 0.25))
    ),
    "auto_3K: 38 s, three in ten 95 s": jobs(two_speeds),
    "from 22 to 62 s during the night": jobs(slowing),
    "from 62 to 22 s during the night": jobs(lambda random, night: slowing(random, 1 - night)),
}

INTERVALS = (2.0, 5.0, 10.0, 30.0, 60.0)
WARM_UP = 30  # generations of a night that are not counted, once there is something to learn
# seconds of delay that a call is worth; ours is 1
CALL_PRICES = (0.03, 0.1, 0.2, 0.4, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One night. ``priced`` is our schedule with other prices of a call: what it could trade."""

    ours: Waited
    first_of_their_kind: Waited
    from_estimate: Waited
    fixed: dict[float, Waited]
    priced: tuple[Waited, ...]

    @property
    def rows(self) -> dict[str, Waited]:
        return {
            "ours": self.ours,
            "ours, nothing seen yet": self.first_of_their_kind,
            "20 s per image, then every 10 s": self.from_estimate,
            **{f"every {interval:.0f} s": waited for interval, waited in self.fixed.items()},
        }

    @property
    def reachable(self) -> list[Waited]:
        """Without those that another one beats."""
        found: list[Waited] = []
        for waited in sorted(
            (self.ours, *self.priced), key=lambda waited: (waited.calls, waited.delay_seconds)
        ):
            if not found or waited.delay_seconds < found[-1].delay_seconds:
                found.append(waited)
        return found

    def best_within(self, delay_seconds: float) -> Waited | None:
        """Our schedule of the fewest calls among those that notice as soon."""
        return next((waited for waited in self.reachable if waited.delay_seconds <= delay_seconds), None)

    def no_later(self, name: str) -> str:
        """What ours needs to notice as soon as that row does."""
        best = self.best_within(self.rows[name].delay_seconds)
        return f"{best.calls:.2f} calls" if best else "not within reach"


@cache
def measure_schedules(name: str) -> Found:
    night = NIGHTS[name]
    return Found(
        ours=simulate(night, ours(learning=True), warm_up=WARM_UP),
        first_of_their_kind=simulate(night, ours(learning=False)),
        from_estimate=simulate(night, fixed(10.0, from_estimate=True)),
        fixed={interval: simulate(night, fixed(interval)) for interval in INTERVALS},
        priced=tuple(
            simulate(night, ours(learning=True, call_seconds=price), warm_up=WARM_UP) for price in CALL_PRICES
        ),
    )
