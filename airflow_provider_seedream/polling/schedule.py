"""The poll schedule: how long generations take, as this process has measured, and when to poll one. Pure: no
I/O, no clock.

A ``PollSchedule`` is a few numbers per sort of job, in memory only. If it is lost, plans follow the
documentation again. Never imports Airflow.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import Kind

CALL_SECONDS = 1.0  # one call costs as much as an image that is noticed so much later
MIN_INTERVAL_SECONDS = 1.0
MAX_INTERVAL_SECONDS = 60.0
PRIOR_WEIGHT = 1.0  # the documented duration weighs as much as one observed job
REMEMBERED = 0.96  # each job weighs this share of the next one, so that about the last 25 matter
DOUBT = 0.05  # share of an observed job that is spread evenly over the interval in which it may have finished
# A plan is made anew when this share of the remembered jobs is new: after each of the first ten jobs, later
# after every third. Making a plan costs as much CPU as a poll (0.4 ms), and a wait takes about three polls.
REPLANNED = 0.1
MAX_JOBS = 64

_EDGES = (0.0, *(1.04**step for step in range(210)))  # seconds; the last is about an hour
_WIDTHS = [end - start for start, end in pairwise(_EDGES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A sort of job: jobs of one sort take about equally long. None means unknown::

        Job(image_size="auto_2K", num_images=2, kind="generate").usual_seconds  # (40.0, 92.0)

    :param is_settling: True for a job that is FINISHED and whose links are still missing.
    """

    image_size: str | None = None
    num_images: int | None = None
    kind: Kind | None = None
    is_settling: bool = False

    @property
    def usual_seconds(self) -> tuple[float, float]:
        """The shortest and the longest usual time, as documented or reported."""
        if self.is_settling:
            return 1.0, contract.USUAL_SETTLING_SECONDS
        images = self.num_images or 1
        slowness = 1.5 if self.image_size == "auto_3K" else 1.0
        longest = images * contract.SLOW_SECONDS_PER_IMAGE * slowness + contract.USUAL_SETTLING_SECONDS
        return images * contract.SECONDS_PER_IMAGE, longest


SETTLING = Job(is_settling=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """The cheapest plan: for each edge at which a job was not ready, the edge at which to poll next::

        SCHEDULE.plan(job).first_seconds  # age of the job at the first poll

    A poll costs ``call_seconds``, and an image that is ready costs its delay. With many polls the cheapest
    interval would be sqrt(2 * call_seconds / hazard). A usual plan has two or three, so dynamic programming
    over the edges finds it, backwards. The next poll moves forward when the last one does (Monge), which
    bounds the search.
    """

    following: tuple[int, ...]

    @property
    def first_seconds(self) -> float:
        return _EDGES[self.following[0]]

    def interval(self, age_seconds: float) -> float:
        """Seconds until the next poll of a job of this age that is not ready."""
        if age_seconds < self.first_seconds - MIN_INTERVAL_SECONDS:
            return self.first_seconds - max(0.0, age_seconds)
        at = bisect_right(_EDGES, age_seconds * 1.02) - 1
        seconds = (
            _EDGES[self.following[at]] - age_seconds if age_seconds < _EDGES[-1] else MAX_INTERVAL_SECONDS
        )
        return min(max(seconds, MIN_INTERVAL_SECONDS), MAX_INTERVAL_SECONDS)


class PollSchedule:
    """The durations of jobs that this process has waited for. It keeps ``MAX_JOBS`` sorts and drops the
    oldest one.

    Example::

        seen = PollSchedule()
        seen.note(job, after_seconds=41, by_seconds=45)  # not ready at the age of 41 s, ready at 45 s
        seen.plan(job)
    """

    def __init__(self, call_seconds: float = CALL_SECONDS) -> None:
        self._call_seconds = call_seconds
        self._jobs: dict[Job, _Durations] = {}

    def plan(self, job: Job) -> Plan:
        """The cheapest plan for this sort of job, by the documentation and by the jobs noted so far."""
        durations = self._of(job)
        if durations.plan is None:
            durations.plan = best_plan(durations.weights(), self._call_seconds)
        return durations.plan

    def note(self, job: Job, *, after_seconds: float, by_seconds: float) -> None:
        """Note that a job became ready between two ages: a poll at the first found it unfinished, a poll
        at the second ready.
        """
        if by_seconds > max(0.0, after_seconds):
            self._of(job).add(after_seconds, by_seconds)

    def forget(self) -> None:
        """Drop all durations, for tests that share a process."""
        self._jobs.clear()

    def _of(self, job: Job) -> "_Durations":
        """The durations of a sort of job; a new sort takes the place of the oldest one if there are
        ``MAX_JOBS``.
        """
        if job not in self._jobs:
            while len(self._jobs) >= MAX_JOBS:
                del self._jobs[next(iter(self._jobs))]
            self._jobs[job] = _Durations(prior=prior(job))
        return self._jobs[job]


SCHEDULE = PollSchedule()  # this process's own


@dataclass(slots=True)
class _Durations:
    """The weight of the durations between each two edges, and the plan that was made of them."""

    prior: list[float]
    seen: list[float] = field(default_factory=lambda: [0.0] * len(_WIDTHS))
    plan: Plan | None = None
    unplanned: int = 0  # jobs since the plan

    def weights(self) -> list[float]:
        """The weight between each two edges: the documented duration counts as one job."""
        return [PRIOR_WEIGHT * prior + seen for prior, seen in zip(self.prior, self.seen, strict=True)]

    def add(self, after: float, by: float) -> None:
        """Add one job, spread over the interval in which it may have finished: like the earlier jobs, and a
        small share evenly.

        The even share matters: without it a job that was ready at its first poll would teach nothing, so jobs
        that have become faster would go unnoticed.
        """
        bins = range(max(0, bisect_right(_EDGES, after) - 1), min(bisect_left(_EDGES, by), len(_WIDTHS)))
        spans = [min(_EDGES[one + 1], by) - max(_EDGES[one], after) for one in bins]
        weights = [PRIOR_WEIGHT * self.prior[one] + self.seen[one] for one in bins]
        shares = [
            weight * span / _WIDTHS[one] for weight, one, span in zip(weights, bins, spans, strict=True)
        ]
        known, possible = sum(shares), sum(spans)
        if not possible:
            return
        self.seen = [REMEMBERED * seen for seen in self.seen]
        for one, span, share in zip(bins, spans, shares, strict=True):
            self.seen[one] += (1 - DOUBT) * share / known + DOUBT * span / possible
        self.unplanned += 1
        if self.unplanned >= REPLANNED * (PRIOR_WEIGHT + sum(self.seen)):
            self.plan, self.unplanned = None, 0


def prior(job: Job) -> list[float]:
    """The documented duration as weights: every value in the usual range equally likely, rarely less,
    sometimes far more.
    """
    low, high = job.usual_seconds
    tail = high / 2

    def share(age: float) -> float:
        usual = min(max(age - low, 0.0) / (high - low), 1.0)
        late = 1 - (tail / age) ** 1.5 if age > tail else 0.0
        return 0.01 * min(age / low, 1.0) + 0.84 * usual + 0.15 * late

    return [share(end) - share(start) for start, end in pairwise(_EDGES)]


def best_plan(weights: list[float], call_seconds: float) -> Plan:
    """The plan of the least cost for durations of these weights.

    The delay is the age at which a job is noticed, less its duration, which no plan changes. So the age
    stands for the delay.

    :param weights: one number for each two neighbouring edges; only their proportions matter.
    :param call_seconds: how much later an image may be noticed to save one call.
    """
    upto = [0.0, *accumulate(weights)]
    last = len(_EDGES) - 1
    costs, following = [0.0] * (last + 1), [last] * (last + 1)
    for at in range(last - 1, -1, -1):
        choices = [
            (_EDGES[then] * (upto[then] - upto[at]) + costs[then], then)
            for then in range(at + 1, following[at + 1] + 1)
        ]
        least, following[at] = min(choices)
        costs[at] = least + call_seconds * (upto[last] - upto[at])
    return Plan(tuple(following))
