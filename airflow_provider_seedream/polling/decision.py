"""Decides what the answer to one poll means: wait, done, failed, late or lost.

Every kind of wait decides here. Pure: no I/O and no clock; the time, the jitter and the durations of earlier
jobs are arguments, and the memory between polls is a value.
:class:`~airflow_provider_seedream.polling.poller.Poller` holds that memory for a loop. Never imports an HTTP
library or Airflow.
"""

from dataclasses import dataclass, replace

from airflow_provider_seedream.generations import GenerationStatus, Wallet
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.polling.policy import (
    FailedPoll,
    PollOutcome,
    PollPolicy,
    PollState,
    has_expired,
)
from airflow_provider_seedream.polling.schedule import SETTLING, PollSchedule
from airflow_provider_seedream.polling.wallet import credits_in

JITTER = 0.2  # an interval varies by this share, so that waiting tasks do not poll in step
MAX_JITTER_SECONDS = 2.0  # the limit of that variation, unless the user has set the interval
STEADY_INTERVAL_SECONDS = 10.0  # for a job of unknown age

DOCUMENTED = PollSchedule()  # a constant: it stays empty, so plans follow the documentation alone

Answer = GenerationStatus | Wallet | FailedPoll
Step = tuple[PollOutcome, PollState]


def decide(
    answer: Answer,
    state: PollState,
    policy: PollPolicy,
    *,
    now_epoch: float,
    jitter: float,
    schedule: PollSchedule = DOCUMENTED,
) -> Step:
    """The outcome of one poll, and the state for the next.

    :param answer: the status of the generation, the wallet, or the failure of the poll.
    :param state: as the last call returned it; an empty one before the first poll.
    :param now_epoch: when the answer was heard, in epoch seconds.
    :param jitter: a random number in [0, 1).
    :param schedule: how long jobs took that this process has waited for.
    """
    moment = _Moment(policy, now_epoch, jitter, schedule)
    if isinstance(answer, Wallet) and credits_in(answer.balance) is None:
        answer = FailedPoll(trouble="transient", detail="the wallet's balance is not a number")
    if isinstance(answer, FailedPoll):
        return _after_failed_poll(answer, state, moment)
    state, note = _outage_over(state, now_epoch)
    outcome, state = (
        _after_wallet(answer, state, moment)
        if isinstance(answer, Wallet)
        else _after_status(answer, state, moment)
    )
    if outcome.verdict == "wait":
        state = replace(state, not_ready_epoch=now_epoch)
    return (replace(outcome, note=note) if note else outcome), state


def learn(
    outcome: PollOutcome, state: PollState, policy: PollPolicy, *, now_epoch: float, schedule: PollSchedule
) -> None:
    """If this poll found the job done, note in ``schedule`` how long it took.

    Other verdicts teach nothing, nor do incomplete results, whose outcome has a detail.
    """
    if outcome.verdict != "done" or outcome.detail:
        return
    for job, since in ((policy.job, policy.created_epoch), (SETTLING, state.finished_epoch)):
        if since is not None:
            after = (state.not_ready_epoch or since) - since
            schedule.note(job, after_seconds=after, by_seconds=now_epoch - since)


@dataclass(frozen=True, slots=True)
class _Moment:
    """The policy and the moment of one poll: all that a decision reads beside the answer and the state."""

    policy: PollPolicy
    now_epoch: float
    jitter: float
    schedule: PollSchedule

    @property
    def results_are_gone(self) -> bool:
        """True if the job is older than 24 h, so that the API has deleted its images [doc]."""
        return has_expired(self.policy.created_epoch, now_epoch=self.now_epoch)

    def expired(self, answer: str) -> PollOutcome:
        """:param answer: the API's answer for people, such as ``404`` or ``'DELETED'``."""
        return PollOutcome(
            verdict="expired", detail=f"The API keeps results for 24 h; now it answers {answer}."
        )

    def wait(self, state: PollState, *, at_least: float = 0.0, at_most: float = float("inf")) -> PollOutcome:
        """Wait for the usual interval within these limits, in seconds, but not beyond the deadline; late
        when it has come.
        """
        left = self.policy.deadline_epoch - self.now_epoch
        if left <= 0:
            since = self.policy.created_epoch
            age = "" if since is None else f", {(self.now_epoch - since) / 60:.0f} min after the submission"
            return PollOutcome(verdict="late", detail=f"Still not ready at the end of `timeout`{age}.")
        seconds = min(max(self._interval(state), at_least), at_most, left)
        return PollOutcome(verdict="wait", wait_seconds=seconds, asked_seconds=min(at_least, left))

    def _interval(self, state: PollState) -> float:
        """Seconds to the next poll: the user's interval, else the planned one, each with its jitter."""
        fixed = self.policy.poke_interval_seconds
        if fixed is not None:
            return fixed * (1 + JITTER * (self.jitter - 0.5))
        seconds = self._planned(state)
        return seconds + min(JITTER * seconds, MAX_JITTER_SECONDS) * (self.jitter - 0.5)

    def _planned(self, state: PollState) -> float:
        """Seconds to the next poll by the schedule: of the links after FINISHED, else of the job; 10 s for
        a job of unknown age.
        """
        if state.finished_epoch is not None:
            return self.schedule.plan(SETTLING).interval(self.now_epoch - state.finished_epoch)
        if self.policy.created_epoch is None:
            return STEADY_INTERVAL_SECONDS
        return self.schedule.plan(self.policy.job).interval(self.now_epoch - self.policy.created_epoch)


def _after_failed_poll(answer: FailedPoll, state: PollState, moment: _Moment) -> Step:
    """A poll without a status ends the wait only if no later poll can do better.

    A refused key and an unknown id end it at once. A 429 never ends it. An outage ends it after
    ``outage_seconds`` without any answer; the log tells its beginning and its end, once each.
    """
    now_epoch, asked = moment.now_epoch, answer.retry_after_seconds or 0.0
    if answer.trouble == "missing" and moment.results_are_gone:
        return moment.expired(answer.detail.rstrip(".")), state
    if answer.trouble == "refused" or answer.trouble == "missing":
        return PollOutcome(verdict=answer.trouble, detail=answer.detail), state
    if answer.trouble == "throttled":  # a 429 is an answer, so the API is up: the wait goes on
        return moment.wait(state, at_least=asked), replace(state, silent_epoch=None)
    note = None if state.outage_epoch else f"The API is unavailable ({answer.detail}); waiting for it."
    # The silence is counted apart from the outage: a 429 in between ends the first, only a status ends the
    # second.
    since = state.silent_epoch or now_epoch
    state = replace(state, outage_epoch=state.outage_epoch or now_epoch, silent_epoch=since)
    if now_epoch - since >= moment.policy.outage_seconds:
        detail = f"The API was unavailable for {now_epoch - since:.0f} s, last: {answer.detail}."
        return PollOutcome(verdict="lost", detail=detail), state
    return replace(moment.wait(state, at_least=asked), note=note), state


def _outage_over(state: PollState, now_epoch: float) -> tuple[PollState, str | None]:
    """The state after an answer with a status, and a line for the log if an outage has ended with it."""
    if state.outage_epoch is None:
        return state, None
    note = f"The API answers again after {now_epoch - state.outage_epoch:.0f} s."
    return replace(state, outage_epoch=None, silent_epoch=None), note


def _after_wallet(answer: Wallet, state: PollState, moment: _Moment) -> Step:
    """A wallet that holds too little counts as a generation that is not ready."""
    balance, enough = credits_in(answer.balance), moment.policy.min_credits
    if balance is not None and enough is not None and balance >= enough:
        return PollOutcome(verdict="done", detail=f"{balance:f}"), state
    return moment.wait(state), state


def _after_status(answer: GenerationStatus, state: PollState, moment: _Moment) -> Step:
    """The four words of the API [doc]: FAILED ends the wait and is refunded, FINISHED leads on, PENDING
    and IN_PROGRESS wait.
    """
    if answer.status == "FAILED":
        detail = answer.failure_reason or "no reason given"
        return PollOutcome(verdict="failed", detail=detail, refunded=True), state
    if answer.status == "FINISHED":
        return _after_finished(answer, state, moment)
    if answer.status in ("PENDING", "IN_PROGRESS"):
        return moment.wait(state), state
    # A word outside the contract: at first a new step of the job; once the results are gone, DELETED or the
    # like.
    status = answer.status[:40]
    if moment.results_are_gone:
        return moment.expired(repr(status)), state
    if status in state.unknown_statuses:
        return moment.wait(state), state
    state = replace(state, unknown_statuses=state.unknown_statuses | {status})
    return replace(moment.wait(state), note=f"Unknown status {status!r}: still waiting."), state


def _after_finished(answer: GenerationStatus, state: PollState, moment: _Moment) -> Step:
    """FINISHED may come before its links [seen]: they have ``settling_seconds`` to follow.

    Then the wait ends with the images that there are: ``done`` with a detail if some links came,
    ``unsettled`` without any. A failure reason without images is a failure at once, and the API does not say
    whether it is refunded.
    """
    ready, now_epoch, policy = answer.images_ready, moment.now_epoch, moment.policy
    if answer.failure_reason and ready == 0:
        return PollOutcome(verdict="failed", detail=answer.failure_reason), state
    if ready == len(answer.results) and ready >= (policy.num_images or 1):
        return PollOutcome(verdict="done"), state
    if moment.results_are_gone:  # links that are missing now never come
        some = PollOutcome(verdict="done", detail=f"{counted(ready, 'image')} left")
        return some if ready else moment.expired("FINISHED without a link"), state
    since = state.finished_epoch or now_epoch
    state = replace(state, finished_epoch=since)
    if now_epoch - since < policy.settling_seconds:
        return moment.wait(state, at_most=since + policy.settling_seconds - now_epoch), state
    if ready:
        return PollOutcome(verdict="done", detail=f"{counted(ready, 'image')} settled"), state
    detail = f"FINISHED for {now_epoch - since:.0f} s without a link to any image."
    if policy.created_epoch is None:
        detail += " If it is older than 24 h, its results are gone."
    return PollOutcome(verdict="unsettled", detail=detail), state
