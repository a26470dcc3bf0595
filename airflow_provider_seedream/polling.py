"""What one look at a generation means: wait, done, failed, late or lost.

The only place where that is decided, for the trigger and the synchronous wait alike. Pure: the clock and the jitter are arguments,
what must be remembered between looks is a value. Never imports an HTTP library or Airflow.
"""

from dataclasses import dataclass, replace
from typing import Literal

from airflow_provider_seedream import contract
from airflow_provider_seedream.generations import GenerationStatus

Outcome = Literal["wait", "done", "failed", "unsettled", "late", "lost", "missing", "refused"]
Trouble = Literal["transient", "throttled", "refused", "missing"]

MIN_FIRST_POLL_SECONDS = 5.0  # Airflow fails tasks whose trigger fires too soon (apache/airflow#66374)
JITTER = 0.2  # an interval varies by this share, so that waiting tasks do not poll in step


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedLook:
    """A status call without an answer. ``retry_after_seconds`` counts from the answer."""

    trouble: Trouble
    detail: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What was asked for and how long may be waited, all in seconds.

    :param num_images: images asked for; None when unknown (a bare id).
    :param settling_seconds: how long links may follow FINISHED; 120 s [seen].
    :param outage_seconds: how long the API may stay unreachable in one piece.
    """

    deadline_epoch: float
    poke_interval_seconds: float
    num_images: int | None
    settling_seconds: float = contract.SETTLING_SECONDS
    outage_seconds: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is remembered from look to look."""

    finished_epoch: float | None = None
    outage_epoch: float | None = None  # without a status since
    silent_epoch: float | None = None  # without any sign of life since: a 429 is one
    unknown_statuses: frozenset[str] = frozenset()

    def instants(self) -> dict[str, float | None]:
        """What began before a deferral. A trigger may be restarted with it much later, so its outage budget is its own."""
        return {"finished_epoch": self.finished_epoch, "outage_epoch": self.outage_epoch}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do now. ``detail`` is for people; ``note`` is worth one log line.

    :param asked_seconds: for ``wait``: what the API's Retry-After asks for, or 0.
    :param refunded: for ``failed``: whether the API refunds it. FAILED is [doc]; FINISHED with a reason is not known to be.
    """

    outcome: Outcome
    wait_seconds: float = 0.0
    asked_seconds: float = 0.0
    detail: str = ""
    note: str | None = None
    refunded: bool = False


def first_poll_seconds(*, elapsed_seconds: float, num_images: int | None, poke_interval_seconds: float) -> float:
    """Seconds until a trigger's first look: when the job can be ready, never below 5 s unless the user polls faster."""
    if poke_interval_seconds < MIN_FIRST_POLL_SECONDS:
        return poke_interval_seconds
    expected = (num_images or 1) * contract.SECONDS_PER_IMAGE - elapsed_seconds
    return max(MIN_FIRST_POLL_SECONDS, expected)


def decide(
    look: GenerationStatus | FailedLook, watch: Watch, rules: Rules, *, now_epoch: float, jitter: float
) -> tuple[Verdict, Watch]:
    """The verdict on one look, and what to remember.

    :param jitter: a random number in [0, 1).
    """
    if isinstance(look, FailedLook):
        return _after_failed_look(look, watch, rules, now_epoch, jitter)
    watch, note = _outage_over(watch, now_epoch)
    verdict, watch = _after_status(look, watch, rules, now_epoch, jitter)
    return replace(verdict, note=note or verdict.note), watch


def _after_failed_look(look: FailedLook, watch: Watch, rules: Rules, now_epoch: float, jitter: float) -> tuple[Verdict, Watch]:
    if look.trouble == "refused" or look.trouble == "missing":
        return Verdict(outcome=look.trouble, detail=look.detail), watch
    if look.trouble == "throttled":  # the API is there: a 429 on a status call never fails a task
        watch = replace(watch, silent_epoch=None)
        return _wait(rules, now_epoch, jitter, at_least=look.retry_after_seconds or 0.0), watch
    note = None if watch.outage_epoch else f"The API cannot be asked ({look.detail}); waiting for it."
    since = watch.silent_epoch or now_epoch
    watch = replace(watch, outage_epoch=watch.outage_epoch or now_epoch, silent_epoch=since)
    if now_epoch - since >= rules.outage_seconds:
        detail = f"The API could not be asked for {now_epoch - since:.0f} s, last: {look.detail}."
        return Verdict(outcome="lost", detail=detail), watch
    return replace(_wait(rules, now_epoch, jitter, at_least=look.retry_after_seconds or 0.0), note=note), watch


def _outage_over(watch: Watch, now_epoch: float) -> tuple[Watch, str | None]:
    if watch.outage_epoch is None:
        return watch, None
    note = f"The API answers again after {now_epoch - watch.outage_epoch:.0f} s."
    return replace(watch, outage_epoch=None, silent_epoch=None), note


def _after_status(look: GenerationStatus, watch: Watch, rules: Rules, now_epoch: float, jitter: float) -> tuple[Verdict, Watch]:
    if look.status == "FAILED":
        detail = look.failure_reason or "no reason given"
        return Verdict(outcome="failed", detail=detail, refunded=True), watch
    if look.status == "FINISHED":
        return _after_finished(look, watch, rules, now_epoch, jitter)
    note = None
    if look.status not in ("PENDING", "IN_PROGRESS", *watch.unknown_statuses):
        note = f"Unknown status {look.status[:40]!r}: still waiting."
        watch = replace(watch, unknown_statuses=watch.unknown_statuses | {look.status})
    return replace(_wait(rules, now_epoch, jitter), note=note), watch


def _after_finished(look: GenerationStatus, watch: Watch, rules: Rules, now_epoch: float, jitter: float) -> tuple[Verdict, Watch]:
    ready = look.images_ready
    if look.failure_reason and ready == 0:
        return Verdict(outcome="failed", detail=look.failure_reason), watch
    if ready == len(look.results) and ready >= (rules.num_images or 1):
        return Verdict(outcome="done"), watch
    since = watch.finished_epoch or now_epoch
    watch = replace(watch, finished_epoch=since)
    if now_epoch - since < rules.settling_seconds:
        settles = since + rules.settling_seconds
        return _wait(rules, now_epoch, jitter, at_most=settles - now_epoch), watch
    if ready:
        return Verdict(outcome="done", detail=f"{ready} images settled"), watch
    detail = f"FINISHED for {now_epoch - since:.0f} s without a link to any image."
    return Verdict(outcome="unsettled", detail=detail), watch


def _wait(rules: Rules, now_epoch: float, jitter: float, *, at_least: float = 0.0, at_most: float = float("inf")) -> Verdict:
    left = rules.deadline_epoch - now_epoch
    if left <= 0:
        return Verdict(outcome="late", detail="Not ready in time.")
    interval = rules.poke_interval_seconds * (1 + JITTER * (jitter - 0.5))
    seconds = min(max(interval, at_least), at_most, left)
    return Verdict(outcome="wait", wait_seconds=seconds, asked_seconds=min(at_least, left))
