"""The poller of one wait: it turns each answer into an outcome, and says when to poll next. No I/O; the clock
is an argument.

Triggers and workers feed the same class, so a deferred wait and a synchronous one end alike; ``loops`` holds
their two loops.
"""

from collections.abc import Callable
from random import random

from airflow_provider_seedream.model import contract
from airflow_provider_seedream.polling.decision import Answer, decide, learn
from airflow_provider_seedream.polling.policy import PollOutcome, PollPolicy, PollState
from airflow_provider_seedream.polling.schedule import SCHEDULE, PollSchedule

MIN_WORTH_WAITING_SECONDS = 1.0
MIN_FIRST_POLL_SECONDS = 5.0  # Airflow fails tasks whose trigger fires too soon (apache/airflow#66374)


class Poller:
    """The policy and the state of one wait::

        poller = Poller(policy)
        outcome = poller.heard(hook.poll(seedream_task_id), now_epoch=clock.now_epoch())
        outcome.verdict, poller.due_epoch, poller.state

    :param policy: the aim of the wait, and its limits.
    :param state: the state of an earlier process of this wait; empty by default.
    :param due_epoch: when to poll first, in epoch seconds; at once by default. ``heard`` moves it to the next
        poll.
    :param on_note: takes the lines for the log; they are dropped by default.
    :param schedule: how long jobs take; this process's own by default, to which the wait adds its job when it
        is done.
    :param jitter: gives a random number in [0, 1) for each poll.
    """

    def __init__(
        self,
        policy: PollPolicy,
        state: PollState | None = None,
        *,
        due_epoch: float = 0.0,
        on_note: Callable[[str], None] | None = None,
        schedule: PollSchedule = SCHEDULE,
        jitter: Callable[[], float] = random,
    ) -> None:
        self.policy = policy
        self.state = PollState() if state is None else state
        self.due_epoch = due_epoch
        self.outcome: PollOutcome | None = None  # of the last poll
        self._on_note = on_note
        self._schedule = schedule
        self._jitter = jitter

    @property
    def has_ended(self) -> bool:
        """True after an outcome other than ``wait``."""
        return self.outcome is not None and self.outcome.verdict != "wait"

    def heard(self, answer: Answer, *, now_epoch: float) -> PollOutcome:
        """The outcome of an answer that was heard at this time."""
        outcome, self.state = decide(
            answer,
            self.state,
            self.policy,
            now_epoch=now_epoch,
            jitter=self._jitter(),
            schedule=self._schedule,
        )
        learn(outcome, self.state, self.policy, now_epoch=now_epoch, schedule=self._schedule)
        self.outcome, self.due_epoch = outcome, now_epoch + outcome.wait_seconds
        if outcome.note and self._on_note:
            self._on_note(outcome.note)
        return outcome

    def seconds_before_first_poll(self, *, now_epoch: float) -> float:
        """Seconds until the job can be ready; 0 if that is unknown, or if the user has set an interval."""
        policy = self.policy
        if policy.poke_interval_seconds is not None or policy.created_epoch is None:
            return 0.0
        # A job that seems to come from the future was submitted now: the two clocks differ.
        ready_epoch = min(policy.created_epoch, now_epoch) + self._schedule.plan(policy.job).first_seconds
        seconds = min(ready_epoch, policy.deadline_epoch) - now_epoch
        return seconds if seconds > MIN_WORTH_WAITING_SECONDS else 0.0

    def first_poll_seconds(self, *, now_epoch: float) -> float:
        """Seconds until a trigger's first poll: when the job can be ready, but at least 5 s, unless the
        user polls faster.
        """
        interval = self.policy.poke_interval_seconds
        if interval is None:
            return max(MIN_FIRST_POLL_SECONDS, self.seconds_before_first_poll(now_epoch=now_epoch))
        if interval < MIN_FIRST_POLL_SECONDS:
            return interval
        age = now_epoch - (self.policy.created_epoch or now_epoch)
        return max(MIN_FIRST_POLL_SECONDS, (self.policy.num_images or 1) * contract.SECONDS_PER_IMAGE - age)
