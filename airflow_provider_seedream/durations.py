"""How long generations take, as far as this process has seen, and when looking at one pays. Pure.

A ``Seen`` is a few numbers per sort of job, kept in memory alone: never written anywhere, and harmless when lost. Never imports
Airflow, and never reads a clock.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from airflow_provider_seedream import contract
from airflow_provider_seedream.contract import Kind

CALL_SECONDS = 1.0  # a call costs as much as noticing an image so much later
MIN_INTERVAL_SECONDS = 2.0
MAX_INTERVAL_SECONDS = 60.0
PRIOR_WEIGHT = 2.0  # what the documentation says counts as much as two jobs that were seen,
REMEMBERED = 0.96  # and a job counts that share of the next one: about the last 25 matter
MAX_JOBS = 64

_EDGES = (0.0, *(4.0 * 1.04**step for step in range(174)))  # seconds; the last is about an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What jobs that take equally long have in common; None for what is unknown."""

    image_size: str | None = None
    num_images: int | None = None
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """From each edge at which a job was not ready, the edge to look at next: the plan of the least cost.

    A look costs ``call_seconds``, and an image that lies ready costs its delay. For a dense plan the least cost is an interval of
    sqrt(2 * call_seconds / hazard); a plan of two or three looks is far from dense, so it is found by dynamic programming over the
    edges, backwards. The next look never moves back when the last one moves on (Monge), which bounds the search.
    """

    following: tuple[int, ...]

    @property
    def first_seconds(self) -> float:
        return _EDGES[self.following[0]]

    def interval(self, age_seconds: float) -> float:
        """Seconds to the next look at a job of this age that is not ready."""
        if age_seconds < self.first_seconds - MIN_INTERVAL_SECONDS:
            return self.first_seconds - max(0.0, age_seconds)
        at = bisect_right(_EDGES, age_seconds * 1.02) - 1
        seconds = _EDGES[self.following[at]] - age_seconds
        return min(max(seconds, MIN_INTERVAL_SECONDS), MAX_INTERVAL_SECONDS)


class Seen:
    """What has been seen of how long jobs take. Of more than ``MAX_JOBS`` sorts the oldest is forgotten."""

    def __init__(self, call_seconds: float = CALL_SECONDS) -> None:
        self._call_seconds = call_seconds
        self._jobs: dict[Job, _Durations] = {}

    def plan(self, job: Job) -> Plan:
        durations = self._of(job)
        if durations.plan is None:
            durations.plan = best_plan(durations.weights(), self._call_seconds)
        return durations.plan

    def note(self, job: Job, *, after_seconds: float, by_seconds: float) -> None:
        """A job was ready at some age in between: at the first the last look found it not ready, at the second it was."""
        if by_seconds > max(0.0, after_seconds):
            self._of(job).add(after_seconds, by_seconds)

    def _of(self, job: Job) -> "_Durations":
        if job not in self._jobs:
            while len(self._jobs) >= MAX_JOBS:
                del self._jobs[next(iter(self._jobs))]
            self._jobs[job] = _Durations(prior=prior(job))
        return self._jobs[job]


SEEN = Seen()  # this process's own


@dataclass(slots=True)
class _Durations:
    """How much weight the durations between each two edges have."""

    prior: list[float]
    seen: list[float] = field(default_factory=lambda: [0.0] * (len(_EDGES) - 1))
    plan: Plan | None = None

    def weights(self) -> list[float]:
        return [PRIOR_WEIGHT * prior + seen for prior, seen in zip(self.prior, self.seen, strict=True)]

    def add(self, after: float, by: float) -> None:
        """One job more, spread over where it can have been ready as the others are."""
        within = [weight * _overlap(*bin_, after, by) for weight, bin_ in zip(self.weights(), pairwise(_EDGES), strict=True)]
        if total := sum(within):
            self.seen = [REMEMBERED * seen + new / total for seen, new in zip(self.seen, within, strict=True)]
            self.plan = None


def prior(job: Job) -> list[float]:
    """What the documentation says (20 to 40 s per image, more for ``auto_3K``), links some seconds later, and some far off."""
    images = job.num_images or 1
    low = images * contract.SECONDS_PER_IMAGE
    high = (
        images * contract.SLOW_SECONDS_PER_IMAGE * (1.5 if job.image_size == "auto_3K" else 1.0) + contract.USUAL_SETTLING_SECONDS
    )

    def share(age: float) -> float:
        usual = min(max(age - low, 0.0) / (high - low), 1.0)
        late = 1 - (low / age) ** 1.5 if age > low else 0.0
        return 0.01 * min(age / low, 1.0) + 0.84 * usual + 0.15 * late

    return [share(end) - share(start) for start, end in pairwise(_EDGES)]


def best_plan(weights: list[float], call_seconds: float) -> Plan:
    """The plan of the least cost for durations of these weights."""
    upto = [0.0, *accumulate(weights)]
    moments = [0.0, *accumulate(weight * (start + end) / 2 for weight, (start, end) in zip(weights, pairwise(_EDGES), strict=True))]
    last = len(_EDGES) - 1
    costs, following = [0.0] * (last + 1), [last] * (last + 1)
    for at in range(last - 1, -1, -1):

        def cost(then: int, at: int = at) -> float:
            return _EDGES[then] * (upto[then] - upto[at]) - (moments[then] - moments[at]) + costs[then]

        following[at] = min(range(at + 1, following[at + 1] + 1), key=cost)
        costs[at] = cost(following[at]) + call_seconds * (upto[last] - upto[at])
    return Plan(tuple(following))


def _overlap(start: float, end: float, after: float, by: float) -> float:
    """The share of one span that lies within another."""
    return max(0.0, min(end, by) - max(start, after)) / (end - start)
