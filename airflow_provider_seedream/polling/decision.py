"""Decides what one poll of a generation means (wait, done, failed, late or lost), and when the next poll is due.

Every kind of wait decides here. Pure: no I/O and no clock; the time, the jitter and the durations of earlier jobs are arguments,
and the memory between polls is a value. Never imports an HTTP library or Airflow.

A loop calls ``seconds_before_first_look`` (a trigger: ``first_poll_seconds``), and after each poll ``decide`` and ``learn``::

    verdict, watch = decide(look, watch, rules, now_epoch=now, jitter=random(), seen=SEEN)
    if verdict.outcome == "wait":
        sleep(verdict.wait_seconds)
"""

from dataclasses import dataclass, replace
from typing import Literal

from airflow_provider_seedream.generations import GenerationStatus
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import Kind
from airflow_provider_seedream.polling.schedule import SETTLING, Job, Seen

Outcome = Literal["wait", "done", "failed", "unsettled", "late", "lost", "missing", "refused", "expired"]
Trouble = Literal["transient", "throttled", "refused", "missing"]

MIN_WORTH_WAITING_SECONDS = 1.0
MIN_FIRST_POLL_SECONDS = 5.0  # Airflow fails tasks whose trigger fires too soon (apache/airflow#66374)
JITTER = 0.2  # an interval varies by this share, so that waiting tasks do not poll in step
MAX_JITTER_SECONDS = 2.0  # the limit of that variation, unless the user has set the interval
STEADY_INTERVAL_SECONDS = 10.0  # for a job of unknown age


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedLook:
    """A status call that returned no status::

        FailedLook(trouble="throttled", detail="429", retry_after_seconds=21)

    :param trouble: ``transient`` (no answer, 5xx), ``throttled`` (429), ``refused`` (the key) or ``missing`` (404).
    :param detail: for people. :param retry_after_seconds: what the API asked for, counted from its answer.
    """

    trouble: Trouble
    detail: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The request that is waited for, and how long to wait::

        Rules(deadline_epoch=now + 3600, poke_interval_seconds=None, num_images=2, created_epoch=now)

    :param deadline_epoch: when the wait is late, in epoch seconds.
    :param poke_interval_seconds: between polls; None: chosen by how long such jobs usually take.
    :param num_images: images asked for; None if unknown (a bare id).
    :param image_size: of the submission, like ``kind``; both tell how long such a job takes. None if unknown.
    :param created_epoch: when the job was submitted; None if unknown.
    :param settling_seconds: how long links may follow FINISHED; 120 s [seen].
    :param outage_seconds: how long the API may be unreachable without a break; 30 min.
    """

    deadline_epoch: float
    poke_interval_seconds: float | None
    num_images: int | None
    image_size: str | None = None
    kind: Kind | None = None
    created_epoch: float | None = None
    settling_seconds: float = contract.SETTLING_SECONDS
    outage_seconds: float = 1800.0

    @property
    def job(self) -> Job:
        return Job(image_size=self.image_size, num_images=self.num_images, kind=self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The memory of a wait between two polls. It starts empty::

        watch = Watch()

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
        return replace(self, not_ready_epoch=None) == Watch()

    def instants(self) -> dict[str, float | None]:
        """The part that a trigger starts with. ``silent_epoch`` is left out: the trigger may start much later, without any poll
        in between, so it counts the silence of the API anew.
        """
        return {"finished_epoch": self.finished_epoch, "outage_epoch": self.outage_epoch}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision after one poll::

        Verdict(outcome="wait", wait_seconds=4.2)
        Verdict(outcome="failed", detail="unsafe content", refunded=True)

    :param outcome: ``wait`` continues; every other outcome ends the wait.
    :param wait_seconds: for ``wait``: seconds until the next poll.
    :param asked_seconds: for ``wait``: the part of it that the API's Retry-After asks for, or 0.
    :param detail: for people. :param note: a line for the log, once.
    :param refunded: for ``failed``: True if the API refunds it. For FAILED it does [doc]; for FINISHED with a reason that is
        unknown, so False.
    """

    outcome: Outcome
    wait_seconds: float = 0.0
    asked_seconds: float = 0.0
    detail: str = ""
    note: str | None = None
    refunded: bool = False


NOTHING_SEEN = Seen()  # a constant: it stays empty, so plans follow the documentation alone


def expires_epoch(created_epoch: float | None) -> float | None:
    """When the API deletes the results of a job: 24 h after its submission [doc]. None for a job of unknown age."""
    return None if created_epoch is None else created_epoch + contract.RESULTS_LIFETIME_SECONDS


def has_expired(created_epoch: float | None, *, now_epoch: float) -> bool:
    """True if the API has deleted the results of a job by now; False for a job of unknown age."""
    expires = expires_epoch(created_epoch)
    return expires is not None and now_epoch >= expires


def seconds_before_first_look(rules: Rules, *, now_epoch: float, seen: Seen = NOTHING_SEEN) -> float:
    """Seconds until the job can be ready; 0 if that is unknown, or if the user has set an interval."""
    if rules.poke_interval_seconds is not None or rules.created_epoch is None:
        return 0.0
    ready_epoch = min(rules.created_epoch, now_epoch) + seen.plan(rules.job).first_seconds
    seconds = min(ready_epoch, rules.deadline_epoch) - now_epoch
    return seconds if seconds > MIN_WORTH_WAITING_SECONDS else 0.0


def first_poll_seconds(rules: Rules, *, now_epoch: float, seen: Seen = NOTHING_SEEN) -> float:
    """Seconds until a trigger's first poll: when the job can be ready, but at least 5 s, unless the user polls faster."""
    interval = rules.poke_interval_seconds
    if interval is None:
        return max(MIN_FIRST_POLL_SECONDS, seconds_before_first_look(rules, now_epoch=now_epoch, seen=seen))
    if interval < MIN_FIRST_POLL_SECONDS:
        return interval
    age = now_epoch - (rules.created_epoch or now_epoch)
    return max(MIN_FIRST_POLL_SECONDS, (rules.num_images or 1) * contract.SECONDS_PER_IMAGE - age)


def learn(verdict: Verdict, watch: Watch, rules: Rules, *, now_epoch: float, seen: Seen) -> None:
    """If this poll found the job done, note in ``seen`` how long it took. Other verdicts, and incomplete results, teach nothing."""
    if verdict.outcome != "done" or verdict.detail:
        return
    for job, since in ((rules.job, rules.created_epoch), (SETTLING, watch.finished_epoch)):
        if since is not None:
            after = (watch.not_ready_epoch or since) - since
            seen.note(job, after_seconds=after, by_seconds=now_epoch - since)


def decide(
    look: GenerationStatus | FailedLook, watch: Watch, rules: Rules, *, now_epoch: float, jitter: float, seen: Seen = NOTHING_SEEN
) -> tuple[Verdict, Watch]:
    """The verdict on one poll, and the memory for the next.

    :param jitter: a random number in [0, 1). :param seen: how long jobs took that this process has waited for.
    """
    moment = _Moment(rules, now_epoch, jitter, seen)
    if isinstance(look, FailedLook):
        return _after_failed_look(look, watch, moment)
    watch, note = _outage_over(watch, now_epoch)
    verdict, watch = _after_status(look, watch, moment)
    if verdict.outcome == "wait":
        watch = replace(watch, not_ready_epoch=now_epoch)
    return replace(verdict, note=note or verdict.note), watch


@dataclass(frozen=True, slots=True)
class _Moment:
    """The rules and the moment of one poll."""

    rules: Rules
    now_epoch: float
    jitter: float
    seen: Seen

    @property
    def results_are_gone(self) -> bool:
        return has_expired(self.rules.created_epoch, now_epoch=self.now_epoch)

    def expired(self, answer: str) -> Verdict:
        return Verdict(outcome="expired", detail=f"The API keeps results for 24 h; now it answers {answer}.")

    def wait(self, watch: Watch, *, at_least: float = 0.0, at_most: float = float("inf")) -> Verdict:
        left = self.rules.deadline_epoch - self.now_epoch
        if left <= 0:
            return Verdict(outcome="late", detail=self._late())
        seconds = min(max(self._interval(watch), at_least), at_most, left)
        return Verdict(outcome="wait", wait_seconds=seconds, asked_seconds=min(at_least, left))

    def _late(self) -> str:
        since = self.rules.created_epoch
        age = "" if since is None else f", {(self.now_epoch - since) / 60:.0f} min after the submission"
        return f"Still not ready at the end of `timeout`{age}."

    def _interval(self, watch: Watch) -> float:
        fixed = self.rules.poke_interval_seconds
        if fixed is not None:
            return fixed * (1 + JITTER * (self.jitter - 0.5))
        seconds = self._chosen(watch)
        return seconds + min(JITTER * seconds, MAX_JITTER_SECONDS) * (self.jitter - 0.5)

    def _chosen(self, watch: Watch) -> float:
        if watch.finished_epoch is not None:
            return self.seen.plan(SETTLING).interval(self.now_epoch - watch.finished_epoch)
        if self.rules.created_epoch is None:
            return STEADY_INTERVAL_SECONDS
        return self.seen.plan(self.rules.job).interval(self.now_epoch - self.rules.created_epoch)


def _after_failed_look(look: FailedLook, watch: Watch, moment: _Moment) -> tuple[Verdict, Watch]:
    now_epoch, asked = moment.now_epoch, look.retry_after_seconds or 0.0
    if look.trouble == "missing" and moment.results_are_gone:
        return moment.expired(look.detail.rstrip(".")), watch
    if look.trouble == "refused" or look.trouble == "missing":
        return Verdict(outcome=look.trouble, detail=look.detail), watch
    if look.trouble == "throttled":  # a 429 is an answer, so the API is up: the wait goes on
        return moment.wait(watch, at_least=asked), replace(watch, silent_epoch=None)
    note = None if watch.outage_epoch else f"The API is unavailable ({look.detail}); waiting for it."
    since = watch.silent_epoch or now_epoch
    watch = replace(watch, outage_epoch=watch.outage_epoch or now_epoch, silent_epoch=since)
    if now_epoch - since >= moment.rules.outage_seconds:
        detail = f"The API was unavailable for {now_epoch - since:.0f} s, last: {look.detail}."
        return Verdict(outcome="lost", detail=detail), watch
    return replace(moment.wait(watch, at_least=asked), note=note), watch


def _outage_over(watch: Watch, now_epoch: float) -> tuple[Watch, str | None]:
    if watch.outage_epoch is None:
        return watch, None
    note = f"The API answers again after {now_epoch - watch.outage_epoch:.0f} s."
    return replace(watch, outage_epoch=None, silent_epoch=None), note


def _after_status(look: GenerationStatus, watch: Watch, moment: _Moment) -> tuple[Verdict, Watch]:
    if look.status == "FAILED":
        detail = look.failure_reason or "no reason given"
        return Verdict(outcome="failed", detail=detail, refunded=True), watch
    if look.status == "FINISHED":
        return _after_finished(look, watch, moment)
    note = None
    if look.status not in ("PENDING", "IN_PROGRESS") and moment.results_are_gone:  # DELETED, EXPIRED or the like
        return moment.expired(repr(look.status[:40])), watch
    if look.status not in ("PENDING", "IN_PROGRESS", *watch.unknown_statuses):
        note = f"Unknown status {look.status[:40]!r}: still waiting."
        watch = replace(watch, unknown_statuses=watch.unknown_statuses | {look.status})
    return replace(moment.wait(watch), note=note), watch


def _after_finished(look: GenerationStatus, watch: Watch, moment: _Moment) -> tuple[Verdict, Watch]:
    ready, now_epoch, rules = look.images_ready, moment.now_epoch, moment.rules
    if look.failure_reason and ready == 0:
        return Verdict(outcome="failed", detail=look.failure_reason), watch
    if ready == len(look.results) and ready >= (rules.num_images or 1):
        return Verdict(outcome="done"), watch
    if moment.results_are_gone:  # links that are missing now never come
        return (
            Verdict(outcome="done", detail=f"{ready} images left") if ready else moment.expired("FINISHED without a link")
        ), watch
    since = watch.finished_epoch or now_epoch
    watch = replace(watch, finished_epoch=since)
    if now_epoch - since < rules.settling_seconds:
        return moment.wait(watch, at_most=since + rules.settling_seconds - now_epoch), watch
    if ready:
        return Verdict(outcome="done", detail=f"{ready} images settled"), watch
    detail = f"FINISHED for {now_epoch - since:.0f} s without a link to any image."
    if rules.created_epoch is None:
        detail += " If it is older than 24 h, its results are gone."
    return Verdict(outcome="unsettled", detail=detail), watch
