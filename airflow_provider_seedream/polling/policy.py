"""The values of a wait: its policy, its state between two polls, and the outcome of a poll. Plain data; no
clock, no I/O.

The API is polled for a generation (is it done?) or for the wallet (does it hold enough?); both kinds of wait
share these values.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import Kind
from airflow_provider_seedream.polling.schedule import Job

Verdict = Literal["wait", "done", "failed", "unsettled", "late", "lost", "missing", "refused", "expired"]
Trouble = Literal["transient", "throttled", "refused", "missing"]

OUTAGE_SECONDS = 1800.0  # half an hour: restarts and most incidents of an API are shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPoll:
    """A poll that returned no status::

        FailedPoll(trouble="throttled", detail="429", retry_after_seconds=21)

    :param trouble: ``transient`` (no answer, 5xx), ``throttled`` (429), ``refused`` (the key) or ``missing``
        (404).
    :param detail: for people.
    :param retry_after_seconds: the pause that the API asked for, counted from its answer; None if it asked
        for none.
    """

    trouble: Trouble
    detail: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPolicy:
    """The aim of a wait, and its limits::

        PollPolicy(deadline_epoch=now + 3600, poke_interval_seconds=None, num_images=2, created_epoch=now)
        # the wallet
        PollPolicy(deadline_epoch=now + 86400, poke_interval_seconds=60, min_credits=Decimal(500))

    :param deadline_epoch: when the wait is late, in epoch seconds.
    :param poke_interval_seconds: between polls; None: chosen by how long such jobs usually take.
    :param num_images: images asked for; None if unknown (a bare id).
    :param image_size: of the submission, like ``kind``; both tell how long such a job takes. None if unknown.
    :param created_epoch: when the job was submitted; None if unknown.
    :param settling_seconds: how long links may follow FINISHED; 120 s [seen].
    :param outage_seconds: how long the API may be unreachable without a break; 30 min.
    :param min_credits: for the wallet: the balance that ends the wait. None for a generation.
    """

    deadline_epoch: float
    poke_interval_seconds: float | None
    num_images: int | None = None
    image_size: str | None = None
    kind: Kind | None = None
    created_epoch: float | None = None
    settling_seconds: float = contract.SETTLING_SECONDS
    outage_seconds: float = OUTAGE_SECONDS
    min_credits: Decimal | None = None

    @property
    def job(self) -> Job:
        """The sort of job, by which durations are measured."""
        return Job(image_size=self.image_size, num_images=self.num_images, kind=self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollState:
    """The memory of a wait between two polls. It starts empty::

        state = PollState()

    :param finished_epoch: when a poll first said FINISHED although links were missing.
    :param outage_epoch: when polls last stopped returning a status.
    :param silent_epoch: when the API last stopped answering. A 429 counts as an answer.
    :param unknown_statuses: status words that were logged already.
    :param not_ready_epoch: the last poll that found the job unfinished; ``learn`` uses it, no decision does.
    """

    finished_epoch: float | None = None
    outage_epoch: float | None = None
    silent_epoch: float | None = None
    unknown_statuses: frozenset[str] = frozenset()
    not_ready_epoch: float | None = None

    @property
    def is_quiet(self) -> bool:
        """True if this state may be lost: neither settling nor an outage has begun."""
        return replace(self, not_ready_epoch=None) == PollState()

    def instants(self) -> dict[str, float | None]:
        """The part that a trigger starts with. ``silent_epoch`` is left out: the trigger may start much
        later, without any poll in between, so it counts the silence of the API anew.
        """
        return {"finished_epoch": self.finished_epoch, "outage_epoch": self.outage_epoch}


@dataclass(frozen=True, slots=True, kw_only=True)
class PollOutcome:
    """The outcome of one poll::

        PollOutcome(verdict="wait", wait_seconds=4.2)
        PollOutcome(verdict="failed", detail="unsafe content", refunded=True)

    :param verdict: ``wait`` continues; every other verdict ends the wait.
    :param wait_seconds: for ``wait``: seconds until the next poll.
    :param asked_seconds: for ``wait``: the part of it that the API's Retry-After asks for, or 0.
    :param detail: for people; for ``done`` of a wallet: its balance.
    :param note: a line for the log, once; None for most polls.
    :param refunded: for ``failed``: True if the API refunds it. For FAILED it does [doc]; for FINISHED with a
        reason that is unknown, so False.
    """

    verdict: Verdict
    wait_seconds: float = 0.0
    asked_seconds: float = 0.0
    detail: str = ""
    note: str | None = None
    refunded: bool = False


def expires_epoch(created_epoch: float | None) -> float | None:
    """When the API deletes the results of a job: 24 h after its submission [doc]. None for a job of
    unknown age.
    """
    return None if created_epoch is None else created_epoch + contract.RESULTS_LIFETIME_SECONDS


def has_expired(created_epoch: float | None, *, now_epoch: float) -> bool:
    """True if the API has deleted the results of a job by now; False for a job of unknown age."""
    expires = expires_epoch(created_epoch)
    return expires is not None and now_epoch >= expires
