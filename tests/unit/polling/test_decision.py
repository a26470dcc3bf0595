"""The decision core as a table, and what must hold over every combination of answer, memory, clock and
jitter.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from airflow_provider_seedream.generations import GenerationStatus
from airflow_provider_seedream.polling.decision import DOCUMENTED, decide, learn
from airflow_provider_seedream.polling.policy import FailedPoll, PollOutcome, PollPolicy, PollState, Verdict
from airflow_provider_seedream.polling.poller import Poller
from airflow_provider_seedream.polling.schedule import SETTLING, Job, PollSchedule
from tests.unit.values import NOW, policy_of, status

LINK = "https://a/1"
TRANSIENT = FailedPoll(trouble="transient", detail="503")
MISSING = FailedPoll(trouble="missing", detail="404")
THROTTLED = FailedPoll(trouble="throttled", detail="429")
JITTERS = (0.0, 0.25, 0.5, 0.999999)
FRESH = PollState()
LEARNING: dict[str, object] = {
    "poke_interval_seconds": None,
    "created_epoch": NOW,
    "image_size": "auto_2K",
    "kind": "generate",
}
JOB = Job(image_size="auto_2K", num_images=1, kind="generate")
FIRST = PollSchedule().plan(JOB).first_seconds
Answer = GenerationStatus | FailedPoll

EVERY_ANSWER: tuple[Answer, ...] = (
    status("PENDING"),
    status("IN_PROGRESS", None),
    status("MODERATING"),
    status("IN_PROGRESS", LINK, LINK),
    status("FAILED", reason="x"),
    status("FINISHED", LINK),
    status("FINISHED", LINK, LINK),
    status("FINISHED", LINK, None),
    status("FINISHED", None),
    status("FINISHED"),
    status("FINISHED", None, reason="x"),
    status("FINISHED", LINK, reason="x"),
    TRANSIENT,
    FailedPoll(trouble="transient", detail="x", retry_after_seconds=900.0),
    THROTTLED,
    FailedPoll(trouble="throttled", detail="x", retry_after_seconds=30.0),
    FailedPoll(trouble="throttled", detail="x", retry_after_seconds=1e9),
    FailedPoll(trouble="missing", detail="x"),
    FailedPoll(trouble="refused", detail="x"),
)
EVERY_WATCH = tuple(
    PollState(finished_epoch=finished, outage_epoch=outage, silent_epoch=silent)
    for finished, (outage, silent) in product(
        (None, NOW, NOW - 119, NOW - 120, NOW - 9999),
        ((None, None), (NOW, NOW), (NOW - 1799, NOW - 1799), (NOW - 1800, NOW - 1800), (NOW - 9999, None)),
    )
)
EVERY_RULE = tuple(
    policy_of(
        num_images=images, deadline_epoch=NOW + left, poke_interval_seconds=interval, created_epoch=NOW - 60
    )
    for images, left, interval in product((None, 1, 2), (-100.0, 0.0, 0.5, 3600.0), (None, 0.5, 300.0))
)


def every_case() -> Iterator[tuple[Answer, PollState, PollPolicy]]:
    yield from product(EVERY_ANSWER, EVERY_WATCH, EVERY_RULE)


def verdict_on(answer: Answer, state: PollState = FRESH, at: float = NOW, **changes: object) -> Verdict:
    return decide(answer, state, policy_of(**changes), now_epoch=at, jitter=0.5)[0].verdict


def outage(seconds: float) -> PollState:
    """What is remembered in an outage that has taken so long, without a sign of life."""
    return PollState(outage_epoch=NOW - seconds, silent_epoch=NOW - seconds)


def waits(answer: Answer, state: PollState = FRESH, jitter: float = 0.5, **changes: object) -> float:
    outcome, _ = decide(answer, state, policy_of(**changes), now_epoch=NOW, jitter=jitter)
    assert outcome.verdict == "wait"
    return outcome.wait_seconds


DAY_AGO = NOW - 24 * 3600
TABLE: list[tuple[str, Answer, PollState, dict[str, object], Verdict]] = [
    ("it has not begun", status("PENDING"), PollState(), {}, "wait"),
    ("it is being made", status("IN_PROGRESS", None), PollState(), {}, "wait"),
    ("links before FINISHED are not done", status("IN_PROGRESS", LINK), PollState(), {}, "wait"),
    ("an unknown word is waiting", status("MODERATING"), PollState(), {}, "wait"),
    ("it failed", status("FAILED"), PollState(), {}, "failed"),
    ("it failed, late", status("FAILED"), PollState(), {"deadline_epoch": NOW - 1}, "failed"),
    ("done", status("FINISHED", LINK), PollState(), {}, "done"),
    ("done, late", status("FINISHED", LINK), PollState(), {"deadline_epoch": NOW - 1}, "done"),
    ("done, of a bare id", status("FINISHED", LINK, LINK), PollState(), {"num_images": None}, "done"),
    ("more than asked for is done", status("FINISHED", LINK, LINK), PollState(), {"num_images": 1}, "done"),
    ("done with a remark", status("FINISHED", LINK, reason="one was slow"), PollState(), {}, "done"),
    ("links not there yet", status("FINISHED", None), PollState(), {}, "wait"),
    ("results not there yet", status("FINISHED"), PollState(), {}, "wait"),
    ("results of a bare id not there yet", status("FINISHED"), PollState(), {"num_images": None}, "wait"),
    ("one link not there yet", status("FINISHED", LINK, None), PollState(), {"num_images": 2}, "wait"),
    ("one result not there yet", status("FINISHED", LINK), PollState(), {"num_images": 2}, "wait"),
    (
        "an extra result without a link settles",
        status("FINISHED", LINK, None),
        PollState(),
        {"num_images": 1},
        "wait",
    ),
    ("still settling", status("FINISHED", None), PollState(finished_epoch=NOW - 119.9), {}, "wait"),
    (
        "settled without any link",
        status("FINISHED", None),
        PollState(finished_epoch=NOW - 120),
        {},
        "unsettled",
    ),
    ("settled without results", status("FINISHED"), PollState(finished_epoch=NOW - 120), {}, "unsettled"),
    (
        "settled with some",
        status("FINISHED", LINK, None),
        PollState(finished_epoch=NOW - 120),
        {"num_images": 2},
        "done",
    ),
    (
        "settled with fewer",
        status("FINISHED", LINK),
        PollState(finished_epoch=NOW - 120),
        {"num_images": 2},
        "done",
    ),
    ("no settling allowed", status("FINISHED", None), PollState(), {"settling_seconds": 0.0}, "unsettled"),
    ("settling past the deadline", status("FINISHED", None), PollState(), {"deadline_epoch": NOW}, "late"),
    ("finished without images", status("FINISHED", None, reason="x"), PollState(), {}, "failed"),
    ("finished without results", status("FINISHED", reason="x"), PollState(), {}, "failed"),
    ("no time left", status("IN_PROGRESS"), PollState(), {"deadline_epoch": NOW}, "late"),
    ("some time left", status("IN_PROGRESS"), PollState(), {"deadline_epoch": NOW + 0.1}, "wait"),
    ("an outage begins", TRANSIENT, PollState(), {}, "wait"),
    ("an outage goes on", TRANSIENT, outage(1799), {}, "wait"),
    ("an outage takes too long", TRANSIENT, outage(1800), {}, "lost"),
    ("no time left in an outage", TRANSIENT, outage(60), {"deadline_epoch": NOW}, "late"),
    ("an answer after a long outage", status("IN_PROGRESS"), outage(9999), {}, "wait"),
    ("throttled", THROTTLED, PollState(), {}, "wait"),
    ("throttled after a long outage", THROTTLED, outage(9999), {}, "wait"),
    ("no time left while throttled", THROTTLED, PollState(), {"deadline_epoch": NOW}, "late"),
    ("no link after 24 h", status("FINISHED", None), PollState(), {"created_epoch": DAY_AGO}, "expired"),
    ("no result after 24 h", status("FINISHED"), PollState(), {"created_epoch": DAY_AGO}, "expired"),
    (
        "no link of several after 24 h",
        status("FINISHED", None, None),
        PollState(),
        {"created_epoch": DAY_AGO, "num_images": 2},
        "expired",
    ),
    (
        "no link, a second before",
        status("FINISHED", None),
        PollState(),
        {"created_epoch": DAY_AGO + 1},
        "wait",
    ),
    ("a word like DELETED after 24 h", status("EXPIRED"), PollState(), {"created_epoch": DAY_AGO}, "expired"),
    (
        "unknown to the API after 24 h",
        FailedPoll(trouble="missing", detail="404"),
        PollState(),
        {"created_epoch": DAY_AGO},
        "expired",
    ),
    ("not even begun after 24 h", status("PENDING"), PollState(), {"created_epoch": DAY_AGO}, "wait"),
    ("failed, and old", status("FAILED"), PollState(), {"created_epoch": DAY_AGO}, "failed"),
    (
        "finished without images, and old",
        status("FINISHED", None, reason="x"),
        PollState(),
        {"created_epoch": DAY_AGO},
        "failed",
    ),
    ("done, and old", status("FINISHED", LINK), PollState(), {"created_epoch": DAY_AGO}, "done"),
    (
        "some left after 24 h",
        status("FINISHED", LINK, None),
        PollState(),
        {"created_epoch": DAY_AGO, "num_images": 2},
        "done",
    ),
    (
        "gone and late",
        status("FINISHED", None),
        PollState(),
        {"created_epoch": DAY_AGO, "deadline_epoch": NOW},
        "expired",
    ),
    (
        "of unknown age",
        status("FINISHED", None),
        PollState(finished_epoch=NOW - 120),
        {"created_epoch": None},
        "unsettled",
    ),
    ("the API does not know it", MISSING, PollState(), {}, "missing"),
    ("the key is refused", FailedPoll(trouble="refused", detail="401"), PollState(), {}, "refused"),
]


class TestTheTable:
    @pytest.mark.parametrize(
        ("answer", "state", "changes", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
    )
    def test_a_poll_means_what_the_table_says(
        self, answer: Answer, state: PollState, changes: dict[str, object], expected: Verdict
    ) -> None:
        assert verdict_on(answer, state, **changes) == expected


class TestWhatAlwaysHolds:
    def test_a_wait_never_reaches_past_the_deadline_and_never_stands_still(self) -> None:
        for answer, state, policy in every_case():
            for jitter in JITTERS:
                outcome, _ = decide(answer, state, policy, now_epoch=NOW, jitter=jitter)
                if outcome.verdict == "wait":
                    assert 0 < outcome.wait_seconds <= policy.deadline_epoch - NOW, (answer, state, policy)
                else:
                    assert outcome.wait_seconds == 0

    def test_jitter_changes_how_long_to_wait_and_nothing_else(self) -> None:
        for answer, state, policy in every_case():
            told = {
                (_told(outcome), remembered)
                for outcome, remembered in _with_every_jitter(answer, state, policy)
            }
            assert len(told) == 1, (answer, state, policy)

    def test_a_429_never_ends_a_wait_before_its_deadline(self) -> None:
        for answer, state, policy in every_case():
            if isinstance(answer, FailedPoll) and answer.trouble == "throttled":
                outcome, _ = decide(answer, state, policy, now_epoch=NOW, jitter=0.5)
                assert outcome.verdict == ("late" if policy.deadline_epoch <= NOW else "wait")

    def test_only_waiting_can_be_late(self) -> None:
        for answer, state, policy in every_case():
            outcome, _ = decide(answer, state, policy, now_epoch=NOW, jitter=0.5)
            in_time, _ = decide(
                answer, state, policy_of(num_images=policy.num_images), now_epoch=NOW, jitter=0.5
            )
            if outcome.verdict != in_time.verdict:
                assert (outcome.verdict, in_time.verdict) == ("late", "wait")

    def test_only_failed_is_said_to_be_refunded(self) -> None:
        for answer, state, policy in every_case():
            outcome, _ = decide(answer, state, policy, now_epoch=NOW, jitter=0.5)
            assert outcome.refunded == (isinstance(answer, GenerationStatus) and answer.status == "FAILED")

    def test_an_unanswered_wait_ends_by_itself(self) -> None:
        for answer in EVERY_ANSWER:
            state, now, policy = PollState(), NOW, policy_of(deadline_epoch=NOW + 7200, num_images=2)
            for _ in range(2000):
                outcome, state = decide(answer, state, policy, now_epoch=now, jitter=0.9)
                if outcome.verdict != "wait":
                    break
                now += outcome.wait_seconds
            assert outcome.verdict != "wait"
            assert now <= policy.deadline_epoch


class TestHowLongToWait:
    def test_an_interval_varies_by_a_tenth_to_each_side(self) -> None:
        assert [waits(status("PENDING"), jitter=jitter) for jitter in (0.0, 0.5, 1.0)] == pytest.approx(
            [9.0, 10.0, 11.0]
        )

    def test_the_last_wait_is_cut_to_the_deadline(self) -> None:
        assert waits(status("PENDING"), deadline_epoch=NOW + 3) == 3

    def test_the_end_of_the_settling_window_is_polled(self) -> None:
        assert waits(status("FINISHED", None), PollState(finished_epoch=NOW - 117)) == 3

    @pytest.mark.parametrize("trouble", ["throttled", "transient"])
    def test_retry_after_is_waited_for_even_when_longer_than_the_interval(self, trouble: str) -> None:
        asked = FailedPoll(trouble=trouble, detail="x", retry_after_seconds=42.0)  # type: ignore[arg-type]
        assert waits(asked) == 42.0

    def test_a_shorter_retry_after_does_not_shorten_the_interval(self) -> None:
        assert waits(FailedPoll(trouble="throttled", detail="x", retry_after_seconds=1.0)) == 10.0

    def test_a_retry_after_of_ages_is_cut_to_the_deadline(self) -> None:
        assert waits(FailedPoll(trouble="throttled", detail="x", retry_after_seconds=float("inf"))) == 3600


class TestMemory:
    def test_the_settling_window_begins_with_the_first_finished(self) -> None:
        _, state = decide(status("FINISHED", None), PollState(), policy_of(), now_epoch=NOW, jitter=0.5)
        outcome, state = decide(status("FINISHED", None), state, policy_of(), now_epoch=NOW + 119, jitter=0.5)
        assert (outcome.verdict, outcome.wait_seconds) == ("wait", 1)
        outcome, _ = decide(status("FINISHED", None), state, policy_of(), now_epoch=NOW + 120, jitter=0.5)
        assert outcome.verdict == "unsettled"

    def test_an_outage_while_settling_does_not_restart_the_window(self) -> None:
        _, state = decide(status("FINISHED", None), PollState(), policy_of(), now_epoch=NOW, jitter=0.5)
        _, state = decide(TRANSIENT, state, policy_of(), now_epoch=NOW + 60, jitter=0.5)
        assert verdict_on(status("FINISHED", None), state, at=NOW + 121) == "unsettled"

    def test_an_outage_is_noted_once_and_its_end_with_its_length(self) -> None:
        notes, state = [], PollState()
        for second, answer in enumerate(
            [TRANSIENT, TRANSIENT, THROTTLED, TRANSIENT, status("IN_PROGRESS"), status("IN_PROGRESS")]
        ):
            outcome, state = decide(answer, state, policy_of(), now_epoch=NOW + 60 * second, jitter=0.5)
            notes.append(outcome.note)
        assert [note for note in notes if note] == [
            "The API is unavailable (503); waiting for it.",
            "The API answers again after 240 s.",
        ]

    def test_a_429_is_a_sign_of_life(self) -> None:
        _, state = decide(THROTTLED, outage(1799), policy_of(), now_epoch=NOW, jitter=0.5)
        outcome, state = decide(TRANSIENT, state, policy_of(), now_epoch=NOW + 1, jitter=0.5)
        assert (outcome.verdict, outcome.note) == ("wait", None)
        assert verdict_on(TRANSIENT, state, at=NOW + 1801) == "lost"

    def test_each_outage_has_a_budget_of_its_own(self) -> None:
        _, state = decide(TRANSIENT, PollState(), policy_of(), now_epoch=NOW, jitter=0.5)
        _, state = decide(status("IN_PROGRESS"), state, policy_of(), now_epoch=NOW + 1000, jitter=0.5)
        assert verdict_on(TRANSIENT, state, at=NOW + 1900) == "wait"

    def test_the_end_of_an_outage_is_noted_whatever_the_answer_says(self) -> None:
        outcome, _ = decide(status("FAILED"), outage(60), policy_of(), now_epoch=NOW, jitter=0.5)
        assert (outcome.verdict, outcome.note) == ("failed", "The API answers again after 60 s.")

    def test_an_unknown_status_is_noted_once(self) -> None:
        first, state = decide(status("MODERATING"), PollState(), policy_of(), now_epoch=NOW, jitter=0.5)
        second, state = decide(status("MODERATING"), state, policy_of(), now_epoch=NOW, jitter=0.5)
        third, _ = decide(status("UPSCALING"), state, policy_of(), now_epoch=NOW, jitter=0.5)
        assert [bool(outcome.note) for outcome in (first, second, third)] == [True, False, True]

    @pytest.mark.parametrize(("created", "says"), [(None, True), (NOW - 600, False)])
    def test_an_end_without_links_says_of_a_job_of_unknown_age_that_it_may_have_expired(
        self, created: float | None, says: bool
    ) -> None:
        finished = PollState(finished_epoch=NOW - 120)
        outcome, _ = decide(
            status("FINISHED", None), finished, policy_of(created_epoch=created), now_epoch=NOW, jitter=0.5
        )
        assert outcome.verdict == "unsettled"
        assert ("older than 24 h" in outcome.detail) == says

    def test_a_lost_wait_says_for_how_long_and_why(self) -> None:
        outcome, _ = decide(TRANSIENT, outage(1800), policy_of(), now_epoch=NOW, jitter=0.5)
        assert outcome.detail == "The API was unavailable for 1800 s, last: 503."


class TestTheFirstPollOfATrigger:
    @pytest.mark.parametrize(
        ("elapsed", "images", "interval", "expected"),
        [
            (0.0, 1, 10.0, 20.0),
            (0.0, None, 10.0, 20.0),
            (0.0, 6, 10.0, 120.0),
            (15.0, 1, 10.0, 5.0),
            (18.0, 1, 10.0, 5.0),
            (9999.0, 6, 10.0, 5.0),
            (0.0, 1, 5.0, 20.0),
            (0.0, 1, 0.5, 0.5),
            (9999.0, 1, 4.9, 4.9),
        ],
    )
    def test_it_is_when_the_job_can_be_ready_but_not_below_five_seconds_unless_the_user_polls_faster(
        self, elapsed: float, images: int | None, interval: float, expected: float
    ) -> None:
        policy = policy_of(num_images=images, created_epoch=NOW - elapsed, poke_interval_seconds=interval)
        assert poller(policy).first_poll_seconds(now_epoch=NOW) == expected

    @pytest.mark.parametrize(
        ("age", "expected"), [(0.0, FIRST), (10.0, FIRST - 10), (FIRST - 2, 5.0), (9999.0, 5.0)]
    )
    def test_without_an_interval_it_is_when_polling_begins_to_pay(self, age: float, expected: float) -> None:
        assert poller(learning(created_epoch=NOW - age)).first_poll_seconds(now_epoch=NOW) == pytest.approx(
            expected
        )


class TestTheFirstPoll:
    def test_it_waits_until_the_job_can_be_ready(self) -> None:
        assert poller(learning(created_epoch=NOW - 10)).seconds_before_first_poll(
            now_epoch=NOW
        ) == pytest.approx(FIRST - 10)

    def test_what_was_seen_counts(self) -> None:
        policy, schedule = learning(), PollSchedule()
        for _ in range(20):
            schedule.note(policy.job, after_seconds=8.0, by_seconds=9.0)
        assert 8 <= poller(policy, schedule).seconds_before_first_poll(now_epoch=NOW) <= 10

    def test_it_comes_at_once_when_the_job_can_be_ready(self) -> None:
        assert poller(learning(created_epoch=NOW - FIRST)).seconds_before_first_poll(now_epoch=NOW) == 0

    def test_it_comes_at_once_for_a_job_of_unknown_age_and_with_an_interval_of_the_user(self) -> None:
        assert poller(learning(created_epoch=None)).seconds_before_first_poll(now_epoch=NOW) == 0
        assert poller(learning(poke_interval_seconds=10.0)).seconds_before_first_poll(now_epoch=NOW) == 0

    def test_a_clock_behind_the_apis_does_not_stretch_it(self) -> None:
        assert poller(learning(created_epoch=NOW + 900)).seconds_before_first_poll(
            now_epoch=NOW
        ) == pytest.approx(FIRST)

    def test_it_comes_at_the_deadline_at_the_latest(self) -> None:
        assert poller(learning(deadline_epoch=NOW + 7)).seconds_before_first_poll(now_epoch=NOW) == 7
        assert poller(learning(deadline_epoch=NOW - 7)).seconds_before_first_poll(now_epoch=NOW) == 0


class TestAScheduleOfItsOwn:
    def test_a_job_of_unknown_age_is_polled_every_ten_seconds(self) -> None:
        assert waits(status("PENDING"), **LEARNING | {"created_epoch": None}) == 10

    def test_an_interval_varies_by_a_tenth_but_by_no_more_than_a_second(self) -> None:
        for created in (NOW - 40, NOW - 3000):
            middle = waits(status("PENDING"), **LEARNING | {"created_epoch": created})
            spread = [
                waits(status("PENDING"), jitter=jitter, **LEARNING | {"created_epoch": created})
                for jitter in (0.0, 1.0)
            ]
            assert spread == pytest.approx([middle - min(1.0, middle / 10), middle + min(1.0, middle / 10)])

    def test_a_job_that_never_ends_is_polled_once_a_minute_and_no_more_often_than_pays(self) -> None:
        now, state, policy, intervals = NOW, FRESH, learning(), []
        while now < policy.deadline_epoch:
            outcome, state = decide(status("IN_PROGRESS"), state, policy, now_epoch=now, jitter=0.5)
            intervals.append(outcome.wait_seconds)
            now += outcome.wait_seconds
        assert max(intervals) <= 60
        assert len(intervals) < 130

    def test_links_are_asked_for_soon_after_finished_and_then_less_often(self) -> None:
        early = waits(status("FINISHED", None), **LEARNING)
        late = waits(status("FINISHED", None), PollState(finished_epoch=NOW - 80), **LEARNING)
        assert 2 < early < 6 < late

    def test_retry_after_is_waited_for_all_the_same(self) -> None:
        assert (
            waits(FailedPoll(trouble="throttled", detail="x", retry_after_seconds=300.0), **LEARNING) == 300
        )

    def test_what_was_seen_of_other_jobs_counts(self) -> None:
        policy, schedule = learning(created_epoch=NOW - 60), PollSchedule()
        for _ in range(30):
            schedule.note(policy.job, after_seconds=89.0, by_seconds=90.0)
        outcome, _ = decide(status("PENDING"), FRESH, policy, now_epoch=NOW, jitter=0.5, schedule=schedule)
        assert 28 < outcome.wait_seconds < 34


class TestWhatIsLearned:
    def learned(self, *answers: tuple[float, Answer], **changes: object) -> PollSchedule:
        """What one wait leaves behind, given the age of the job at each poll and what it said."""
        schedule, state, policy = PollSchedule(), FRESH, learning(**changes)
        for age, answer in answers:
            outcome, state = decide(answer, state, policy, now_epoch=NOW + age, jitter=0.5)
            learn(outcome, state, policy, now_epoch=NOW + age, schedule=schedule)
        return schedule

    def noted(self, job: Job, after: float, by: float) -> PollSchedule:
        schedule = PollSchedule()
        schedule.note(job, after_seconds=after, by_seconds=by)
        return schedule

    def test_a_job_took_from_the_last_poll_that_found_it_not_ready_to_the_first_that_did(self) -> None:
        schedule = self.learned((26, status("PENDING")), (31, TRANSIENT), (36, status("FINISHED", LINK)))
        assert schedule.plan(JOB) == self.noted(JOB, 26, 36).plan(JOB)

    def test_a_job_found_ready_at_the_first_poll_took_at_most_so_long(self) -> None:
        assert self.learned((26, status("FINISHED", LINK))).plan(JOB) == self.noted(JOB, 0, 26).plan(JOB)

    def test_links_that_followed_are_learned_as_well(self) -> None:
        schedule = self.learned(
            (26, status("PENDING")), (30, status("FINISHED", None)), (90, status("FINISHED", LINK))
        )
        assert schedule.plan(JOB) == self.noted(JOB, 30, 90).plan(JOB)
        assert schedule.plan(SETTLING) == self.noted(SETTLING, 0, 60).plan(SETTLING)

    @pytest.mark.parametrize("answer", [status("FAILED"), status("PENDING"), TRANSIENT, THROTTLED])
    def test_only_what_is_done_teaches(self, answer: Answer) -> None:
        assert self.learned((26, answer)).plan(JOB) == PollSchedule().plan(JOB)

    def test_what_has_settled_with_fewer_images_does_not(self) -> None:
        partial = status("FINISHED", LINK, None)
        schedule = self.learned((26, partial), (200, partial), num_images=2)
        job = learning(num_images=2).job
        assert schedule.plan(job) == PollSchedule().plan(job)

    def test_a_job_of_unknown_age_does_not(self) -> None:
        assert self.learned((26, status("FINISHED", LINK)), created_epoch=None).plan(
            JOB
        ) == PollSchedule().plan(JOB)

    def test_polling_alone_teaches_nothing_to_anybody(self) -> None:
        for answer, state, policy in every_case():
            decide(answer, state, policy, now_epoch=NOW, jitter=0.5)
        assert poller(learning()).first_poll_seconds(now_epoch=NOW) == pytest.approx(FIRST)


class TestWhatANewProcessWouldHaveToKnow:
    def test_a_new_process_would_have_to_know_nothing_of_a_job_that_is_being_made(self) -> None:
        assert decide(status("PENDING"), FRESH, policy_of(), now_epoch=NOW, jitter=0.5)[1].is_quiet

    @pytest.mark.parametrize("answer", [status("FINISHED", None), TRANSIENT, status("MODERATING")])
    def test_a_new_process_would_have_to_know_that_something_is_under_way(self, answer: Answer) -> None:
        assert not decide(answer, FRESH, policy_of(), now_epoch=NOW, jitter=0.5)[1].is_quiet


def poller(policy: PollPolicy, schedule: PollSchedule = DOCUMENTED) -> Poller:
    return Poller(policy, schedule=schedule)


def learning(**changes: object) -> PollPolicy:
    """The policy of a wait without an interval of the user."""
    return policy_of(**LEARNING | changes)


def _with_every_jitter(
    answer: Answer, state: PollState, policy: PollPolicy
) -> Iterator[tuple[PollOutcome, PollState]]:
    return (decide(answer, state, policy, now_epoch=NOW, jitter=jitter) for jitter in JITTERS)


def _told(outcome: PollOutcome) -> tuple[object, ...]:
    return outcome.verdict, outcome.detail, outcome.note, outcome.refunded
