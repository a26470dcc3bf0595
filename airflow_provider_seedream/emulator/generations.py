"""A generation's course over time, as a pure function of its record and the clock.

Nothing ticks: every answer is worked out from ``now``, so a clock advanced by 24 hours needs no catching up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from random import Random
from typing import Any, Literal

from airflow_provider_seedream.emulator.faults import Fault
from airflow_provider_seedream.emulator.settings import Settings
from airflow_provider_seedream.emulator.validation import Submission

Outcome = Literal["finished", "failed", "finished-failed"]
Links = Callable[[int], tuple[str | None, str | None]]  # image index -> (image link, thumbnail link)

_NEVER_SHOWS_SECONDS = 3600.0  # a job that never ends creeps to 99 % in an hour
SAFETY_TEXT = "The request was rejected by the safety checker: potentially sensitive content detected."
FAILURE_TEXT = "The model could not process this request. Please try again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The plan of one generation, fixed when it is submitted; seconds count from its creation::

        # FINISHED after 30 s, the last link 5 s later
        Course(duration_seconds=30.0, late_seconds=5.0, results=2)

    :param results: how many results it gives, which a fault may make fewer than were asked for.
    :param failure_reason: shown only if ``outcome`` is a failure.
    :param null_for_ever: numbers of results (from 0) whose asset never comes.
    :param omitted_keys: keys that the results leave out, e.g. ``thumbnail``.
    :param duration_seconds: from creation to FINISHED or FAILED; infinite for a job that never ends.
    :param late_seconds: from FINISHED until the last asset has a link.
    :param outcome: ``finished-failed`` is FINISHED with a reason and without assets.
    """

    duration_seconds: float
    late_seconds: float
    results: int
    outcome: Outcome = "finished"
    failure_reason: str = FAILURE_TEXT
    null_for_ever: frozenset[int] = frozenset()
    omitted_keys: frozenset[str] = frozenset()
    image_format: Literal["PNG", "JPEG", "WEBP"] = "PNG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """An accepted submission and its course::

        generation = world.accept(submission)
        world.clock.advance(generation.course.duration_seconds)
        assert status_body(generation, world.clock.now(), links)["status"] == "FINISHED"

    :param seed: the seed that draws its images: the submission's if the settings honour it, else a random
        one.
    :param credits: the charge, which a FAILED generation gives back.
    """

    seedream_task_id: str
    created_at: float  # epoch seconds, the emulator's clock
    submission: Submission
    seed: int
    credits: int
    course: Course

    @property
    def finishes_at(self) -> float:
        """Epoch seconds at which it turns FINISHED or FAILED; infinite for one that never ends."""
        return self.created_at + self.course.duration_seconds

    def failed(self, now: float) -> bool:
        """True if it has ended in FAILED by then, which earns a refund. FINISHED without images earns
        none.
        """
        return self.course.outcome == "failed" and now >= self.finishes_at


def planned_course(settings: Settings, submission: Submission, random: Random) -> Course:
    """The course of an undisturbed generation: further images and the largest size take longer.

    :param settings: durations and speed.
    :param random: with a seed of the prompt, so that equal runs take equal times.
    """
    first = random.uniform(*settings.seconds_per_image)
    further = first * 0.5 * (submission.num_images - 1)
    larger = 1.5 if submission.image_size == "auto_3K" else 1.0
    return Course(
        duration_seconds=(first + further) * larger / settings.speed,
        late_seconds=random.uniform(*settings.late_assets_seconds) / settings.speed,
        results=submission.num_images,
    )


def _null_index(course: Course, fault: Fault) -> int:
    """The result that stays null: the one that the fault names, else the last."""
    return course.results - 1 if fault.image_index is None else fault.image_index


_CHANGES: dict[str, Callable[[Course, Fault], Course]] = {
    "fail": lambda course, fault: replace(
        course, outcome="failed", failure_reason=fault.message or FAILURE_TEXT
    ),
    "safety": lambda course, fault: replace(
        course, outcome="failed", failure_reason=fault.message or SAFETY_TEXT
    ),
    "finished-failed": lambda course, fault: replace(
        course, outcome="finished-failed", failure_reason=fault.message or FAILURE_TEXT
    ),
    "never-ends": lambda course, fault: replace(course, duration_seconds=inf),
    "takes": lambda course, fault: replace(course, duration_seconds=fault.number("seconds")),
    "late-assets": lambda course, fault: replace(course, late_seconds=fault.number("seconds")),
    "null-assets": lambda course, fault: replace(course, late_seconds=inf),
    "one-null": lambda course, fault: replace(course, null_for_ever=frozenset({_null_index(course, fault)})),
    "partial": lambda course, fault: replace(course, results=int(fault.number("count"))),
    "asset-url-only": lambda course, fault: replace(course, omitted_keys=course.omitted_keys | {"asset"}),
    "asset-only": lambda course, fault: replace(course, omitted_keys=course.omitted_keys | {"asset_url"}),
    "no-thumbnail": lambda course, fault: replace(course, omitted_keys=course.omitted_keys | {"thumbnail"}),
    "jpeg": lambda course, fault: replace(course, image_format="JPEG"),
    "webp": lambda course, fault: replace(course, image_format="WEBP"),
}


def disturbed(course: Course, fault: Fault) -> Course:
    """The course after a fault of stage ``job``. Several faults combine, one after the other."""
    return _CHANGES[fault.kind](course, fault)


def status_body(generation: Generation, now: float, links: Links) -> dict[str, Any]:
    """The JSON of a status answer at this moment.

    :param links: gives image link and thumbnail link of a result; called only for results whose asset is
        there.
    :param now: epoch seconds, the emulator's clock.
    """
    course = generation.course
    if now < generation.finishes_at:
        # PENDING for the first tenth of the time, then IN_PROGRESS; ``progress`` never reaches 100.
        expected = min(generation.course.duration_seconds, _NEVER_SHOWS_SECONDS)
        share = min(0.99, (now - generation.created_at) / expected)
        status = "PENDING" if share < 0.1 else "IN_PROGRESS"
        return {"status": status, "progress": int(share * 100), "failure_reason": None, "results": []}
    if course.outcome == "failed":
        return {"status": "FAILED", "progress": 0, "failure_reason": course.failure_reason, "results": []}
    # FINISHED can be a failure [seen]: with a reason beside it, the assets never come.
    reason = course.failure_reason if course.outcome == "finished-failed" else None
    results = [_result(generation, index, now, links) for index in range(course.results)]
    return {"status": "FINISHED", "progress": 100, "failure_reason": reason, "results": results}


def _result(generation: Generation, index: int, now: float, links: Links) -> dict[str, Any]:
    """One result. Its links are null until its asset has settled."""
    kind = "IMAGE" if generation.submission.kind == "generate" else "EDITED_IMAGE"
    link, thumbnail = links(index) if _settled(generation, index, now) else (None, None)
    result = {"asset_url": link, "asset": link, "asset_type": kind, "thumbnail": thumbnail, "metadata": None}
    return {key: value for key, value in result.items() if key not in generation.course.omitted_keys}


def _settled(generation: Generation, index: int, now: float) -> bool:
    """Assets appear one after the other during the settling time, the last at its end."""
    course = generation.course
    if course.outcome == "finished-failed" or index in course.null_for_ever:
        return False
    return now >= generation.finishes_at + course.late_seconds * (index + 1) / course.results
