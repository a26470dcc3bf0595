"""The limiter: how many, when, and what a 429 teaches it. The clock is a number."""

import json
import math
from random import Random

import pytest

from airflow_provider_seedream.rate_limit.limiter import (
    MARGIN_SECONDS,
    MAX_POLL_WAIT_SECONDS,
    MIN_REFUSED_SECONDS,
    RECOVERY_SECONDS,
    WINDOW_SECONDS,
    RateLimiter,
    limiter_for,
    whose_turn,
)
from tests.benchmarks.pacing import Latency, deferred, direct, paced_night

NOW = 1_772_020_800.0


def grants(limiter: RateLimiter, *, until: float, start: float = 0.0) -> list[float]:
    """The turns of someone who takes every one as soon as it is free."""
    now, taken = start, []
    while (now := max(now, limiter.turn_epoch(now))) < until:
        limiter.take(now)
        taken.append(now)
    return taken


class TestTheLimit:
    @pytest.mark.parametrize("rate", [0.1, 0.5, 1, 2.5, 3, 60, 600])
    def test_no_minute_holds_more_than_the_limit(self, rate: float) -> None:
        taken = grants(RateLimiter(rate), until=3600)
        burst = math.ceil(rate)
        window = 60 * burst / rate
        assert all(later - earlier > window for earlier, later in zip(taken, taken[burst:], strict=False))

    @pytest.mark.parametrize("rate", [2.0**63, 1e300])
    def test_a_limit_that_means_none_holds_nothing_up(self, rate: float) -> None:
        limiter = RateLimiter(rate)
        for _ in range(1000):
            assert limiter.turn_epoch(NOW) <= NOW
            limiter.take(NOW)

    @pytest.mark.parametrize("rate", [0.5, 1, 2.5, 3, 60])
    def test_it_uses_all_of_the_limit_but_the_margin(self, rate: float) -> None:
        hours = 10
        assert len(grants(RateLimiter(rate), until=3600 * hours)) >= 60 * hours * rate * 60 / (
            60 + 2 * MARGIN_SECONDS
        )

    @pytest.mark.parametrize("seed", range(20))
    @pytest.mark.parametrize("rate", [0.7, 3, 10])
    def test_whatever_happens_no_minute_holds_more_than_the_limit(self, rate: float, seed: int) -> None:
        random, limiter, now, gone = Random(seed), RateLimiter(rate), 0.0, [-math.inf] * math.ceil(rate)
        for _ in range(2000):
            now += random.expovariate(rate / 30)
            if random.random() < 0.05:
                limiter.throttled(now, retry_after_seconds=random.choice([None, 0, 30]), granted_epoch=None)
            if limiter.turn_epoch(now) <= now:
                limiter.take(now)
                gone.append(now)
        assert all(
            later - earlier > 60 for earlier, later in zip(gone, gone[math.ceil(rate) :], strict=False)
        )

    @pytest.mark.parametrize("latency", [direct, deferred])
    @pytest.mark.parametrize(("rate", "hours"), [(3, 12), (60, 2)])
    def test_a_server_with_the_same_limit_refuses_less_than_one_in_a_hundred(
        self, rate: int, hours: float, latency: Latency
    ) -> None:
        night = paced_night(rate, [RateLimiter(rate)], latency, hours=hours)
        assert night.refused_share < 0.01 and night.used_share > 0.8

    def test_several_processes_share_the_limit_by_its_429s(self) -> None:
        night = paced_night(60, [RateLimiter(60), RateLimiter(60), RateLimiter(60)], deferred, hours=3)
        assert night.refused_share < 0.01 and night.used_share > 0.85

    def test_the_first_burst_goes_at_once(self) -> None:
        assert grants(RateLimiter(3), until=1) == [0, 0, 0]

    def test_a_quiet_hour_is_not_saved_up(self) -> None:
        limiter = RateLimiter(3)
        assert len(grants(limiter, until=3601, start=3600)) == 3

    @pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
    def test_a_rate_that_is_none_is_refused(self, rate: float) -> None:
        with pytest.raises(ValueError, match="above 0"):
            RateLimiter(rate)


def refusals(limiter: RateLimiter, number: int, *, retry_after_seconds: float = 0) -> list[float]:
    """How long each of so many refused requests in a row had to wait: everyone goes as soon as it may."""
    now, waits = 1000.0, []
    for _ in range(number):
        turn = max(now, limiter.turn_epoch(now))
        waits.append(turn - now)
        now = turn
        limiter.take(now)
        limiter.throttled(now, retry_after_seconds=retry_after_seconds, granted_epoch=now)
    return waits


class TestA429ThatAsksForTooLittle:
    @pytest.mark.parametrize("granted_epoch", [None, 99])
    def test_it_is_left_alone_for_a_second(self, granted_epoch: float | None) -> None:
        limiter = RateLimiter(600)
        limiter.throttled(100, retry_after_seconds=0, granted_epoch=granted_epoch)
        assert limiter.turn_epoch(100) == 100 + MIN_REFUSED_SECONDS == 101

    def test_each_further_refusal_doubles_the_wait_up_to_a_window(self) -> None:
        assert refusals(RateLimiter(6000), 10) == [
            0,
            1,
            2,
            4,
            8,
            16,
            32,
            WINDOW_SECONDS,
            WINDOW_SECONDS,
            WINDOW_SECONDS,
        ]

    def test_what_the_api_asks_for_is_waited_where_it_is_longer(self) -> None:
        assert refusals(RateLimiter(6000), 6, retry_after_seconds=5) == [0, 5, 5, 5, 8, 16]

    def test_a_request_that_gets_through_begins_anew(self) -> None:
        limiter = RateLimiter(6000)
        refusals(limiter, 6)
        limiter.take(2000)
        limiter.throttled(2001, retry_after_seconds=0, granted_epoch=2001)
        assert limiter.turn_epoch(2001) == 2001 + MIN_REFUSED_SECONDS

    def test_a_burst_of_429s_doubles_nothing(self) -> None:
        limiter = RateLimiter(6000)
        for _ in range(10):
            limiter.throttled(100, retry_after_seconds=0, granted_epoch=99)
        assert limiter.turn_epoch(100) == 100 + MIN_REFUSED_SECONDS


class TestA429:
    def test_nothing_goes_before_retry_after(self) -> None:
        limiter = RateLimiter(60)
        limiter.throttled(100, retry_after_seconds=17, granted_epoch=None)
        assert limiter.turn_epoch(100) == 117

    def test_without_retry_after_it_waits_one_share_of_the_minute(self) -> None:
        limiter = RateLimiter(3)
        limiter.throttled(100, retry_after_seconds=None, granted_epoch=None)
        assert limiter.turn_epoch(100) == 120

    def test_a_request_without_a_turn_does_not_slow_it_down(self) -> None:
        limiter = RateLimiter(60)
        limiter.throttled(100, retry_after_seconds=0, granted_epoch=None)
        assert limiter.share == 1

    def test_a_burst_of_429s_is_one_signal(self) -> None:
        one, many = RateLimiter(60), RateLimiter(60)
        one.throttled(100, retry_after_seconds=0, granted_epoch=99)
        for second in range(10):
            many.throttled(100 + second, retry_after_seconds=0, granted_epoch=99)
        assert many.share == pytest.approx(one.share, abs=0.01) and one.share < 1

    def test_a_turn_granted_after_the_slow_down_slows_further(self) -> None:
        limiter = RateLimiter(60)
        limiter.throttled(100, retry_after_seconds=0, granted_epoch=99)
        share = limiter.share
        limiter.throttled(102, retry_after_seconds=0, granted_epoch=101)
        assert limiter.share < share

    @pytest.mark.parametrize("rate", [0.5, 1, 3, 60])
    def test_one_request_in_two_windows_is_always_left(self, rate: float) -> None:
        limiter = RateLimiter(rate)
        for second in range(100):
            limiter.throttled(second, retry_after_seconds=0, granted_epoch=second)
        assert len(grants(limiter, until=10_000, start=100)) >= 9900 / (2 * max(60, 60 / rate))

    def test_a_refused_request_leaves_its_place_to_another(self) -> None:
        limiter = RateLimiter(3)
        for _ in range(3):
            limiter.take(0)
        limiter.throttled(1, retry_after_seconds=0, granted_epoch=0)
        assert limiter.turn_epoch(1) < 60

    def test_a_share_goes_evenly_since_others_use_the_rest_of_the_window(self) -> None:
        limiter = RateLimiter(60)
        for second in range(5):
            limiter.throttled(second, retry_after_seconds=0, granted_epoch=second)
        turns = grants(limiter, until=300, start=10)
        steps = [later - earlier for earlier, later in zip(turns, turns[4:], strict=False)]
        assert max(steps) < 2 * min(steps)

    def test_a_turn_that_was_not_used_is_free_again(self) -> None:
        limiter = RateLimiter(1)
        limiter.take(0)
        limiter.give_back(0)
        limiter.give_back(0)
        assert limiter.turn_epoch(0) <= 0

    def test_quiet_time_gives_the_limit_back(self) -> None:
        limiter = RateLimiter(60)
        for second in range(100):
            limiter.throttled(second, retry_after_seconds=0, granted_epoch=second)
        limiter.turn_epoch(100_000)
        assert limiter.share == 1


class TestWhoGoesFirst:
    def test_nobody_waits(self) -> None:
        assert whose_turn(submit_epoch=None, poll_epoch=None, now_epoch=0) is None

    @pytest.mark.parametrize(
        ("submit", "poll", "first"),
        [(0, None, "submit"), (None, 0, "poll"), (9, 0, "submit"), (0, 9, "submit")],
    )
    def test_submissions_come_first(self, submit: float | None, poll: float | None, first: str) -> None:
        assert whose_turn(submit_epoch=submit, poll_epoch=poll, now_epoch=10) == first

    def test_a_poll_that_has_waited_too_long_goes_before_them(self) -> None:
        late = MAX_POLL_WAIT_SECONDS + 1
        assert whose_turn(submit_epoch=0, poll_epoch=0, now_epoch=late) == "poll"
        assert whose_turn(submit_epoch=0, poll_epoch=2, now_epoch=late) == "submit"


class TestOnePerConnectionAndProcess:
    def test_a_connection_has_one_limiter(self) -> None:
        assert limiter_for("one", 3) is limiter_for("one", 3)
        assert limiter_for("one", 3) is not limiter_for("other", 3)

    def test_a_changed_limit_is_taken_over_and_the_last_minute_kept(self) -> None:
        limiter = limiter_for("changing", 3)
        for _ in range(3):
            limiter.take(0)
        assert limiter_for("changing", 2) is limiter
        assert limiter.turn_epoch(0) > 60


class TestAnotherProcess:
    """A task that was deferred goes on in another process, and its requests of the last minute still
    count.
    """

    def test_it_knows_what_went(self) -> None:
        before, after = RateLimiter(3), RateLimiter(3)
        for second in range(3):
            before.take(NOW + second)
        after.recall(json.loads(json.dumps(before.memory())))
        assert after.turn_epoch(NOW + 5) == before.turn_epoch(NOW + 5) > NOW + 59

    def test_it_knows_its_share_and_how_long_it_has_to_wait(self) -> None:
        before, after = RateLimiter(60), RateLimiter(60)
        before.take(NOW)
        before.throttled(NOW, retry_after_seconds=30, granted_epoch=NOW)
        after.recall(json.loads(json.dumps(before.memory())))
        assert after.share == before.share < 1
        assert after.turn_epoch(NOW + 1) == before.turn_epoch(NOW + 1) >= NOW + 30

    def test_the_share_grows_back_by_the_quiet_time_alone_and_not_by_the_change_of_process(self) -> None:
        before, after = RateLimiter(60), RateLimiter(60)
        for minute in range(4):
            before.take(NOW + 70 * minute)
            before.throttled(NOW + 70 * minute, retry_after_seconds=1, granted_epoch=NOW + 70 * minute)
        after.recall(json.loads(json.dumps(before.memory())))
        assert after.turn_epoch(NOW + 300) == before.turn_epoch(NOW + 300)
        assert after.share == before.share < 0.6
        assert after.turn_epoch(NOW + 300 + RECOVERY_SECONDS) < math.inf and after.share == 1

    def test_it_knows_the_refusals_before_so_the_next_one_doubles_the_wait(self) -> None:
        before, after = RateLimiter(6000), RateLimiter(6000)
        refusals(before, 4)
        after.recall(json.loads(json.dumps(before.memory())))
        after.throttled(NOW, retry_after_seconds=0, granted_epoch=NOW)
        assert after.turn_epoch(NOW) == NOW + 16

    def test_it_knows_when_it_slowed_down_so_a_turn_of_before_slows_no_further(self) -> None:
        before, after = RateLimiter(60), RateLimiter(60)
        for second in (-2, 0):
            before.throttled(NOW + second, retry_after_seconds=0, granted_epoch=NOW + second)
        after.recall(json.loads(json.dumps(before.memory())))
        after.throttled(NOW + 1, retry_after_seconds=0, granted_epoch=NOW - 1)
        assert after.share == pytest.approx(before.share, abs=0.001)

    def test_what_0_2_0_remembered_is_read(self) -> None:
        limiter = RateLimiter(60)
        limiter.recall({"gone": [NOW], "share": 0.5, "not_before_epoch": None})
        assert (limiter.share, limiter.memory()["gone"]) == (0.5, [NOW])
        limiter.recall({"gone": [NOW], "share": 0.5, "not_before_epoch": NOW + 30})
        assert limiter.turn_epoch(NOW + 1) == NOW + 30

    def test_what_this_process_has_sent_since_is_not_forgotten_or_counted_twice(self) -> None:
        limiter = RateLimiter(3)
        limiter.take(NOW)
        memory = limiter.memory()
        limiter.take(NOW + 1)
        limiter.recall(memory)
        assert limiter.memory()["gone"] == [NOW, NOW + 1]

    def test_what_a_trigger_has_sent_counts_where_the_worker_goes_on(self) -> None:
        trigger, worker = RateLimiter(3), RateLimiter(3)
        for second in (1, 2, 4):
            trigger.take(NOW + second)
        turns = json.loads(json.dumps(trigger.turns(NOW + 10)))
        worker.recall({"heard": turns})
        assert turns == [[NOW + 5, 3]]
        assert worker.turn_epoch(NOW + 10) == NOW + 66

    def test_turns_that_are_told_a_second_time_count_once(self) -> None:
        limiter = RateLimiter(60)
        limiter.recall({"heard": [[NOW, 2]]})
        limiter.recall(limiter.memory())
        limiter.recall({"heard": [[NOW, 3], [NOW + 5, 1]]})
        assert limiter.memory()["gone"] == [NOW, NOW, NOW, NOW + 5]

    def test_turns_of_more_than_a_minute_ago_are_not_told_and_a_full_minute_is_13_pairs_at_most(self) -> None:
        limiter = RateLimiter(6000)
        for second in range(100):
            limiter.take(NOW + 2.5 + second)
        turns = limiter.turns(NOW + 102)
        assert (len(turns), sum(requests for _, requests in turns)) == (13, 60)
        assert len(json.dumps(turns)) < 256

    def test_a_turn_that_is_taken_after_turns_of_later_instants_were_heard_of_keeps_its_place(self) -> None:
        limiter = RateLimiter(3)
        limiter.recall({"heard": [[NOW + 5, 2]]})
        limiter.take(NOW + 1)
        assert limiter.memory()["gone"] == [NOW + 1, NOW + 5, NOW + 5]

    def test_nothing_to_recall_changes_nothing(self) -> None:
        limiter = RateLimiter(3)
        limiter.recall({})
        assert limiter.memory() == RateLimiter(3).memory()


def test_turns_ahead_are_those_that_will_be_granted_and_take_none() -> None:
    limiter = RateLimiter(2)
    limiter.take(NOW)
    turns = limiter.turn_epochs([NOW + 1, NOW + 1, NOW + 1, NOW + 500])
    assert turns == [NOW + 1, NOW + 61, NOW + 62, NOW + 500]
    assert limiter.memory()["gone"] == [NOW]


def test_a_turn_counts_from_the_moment_at_which_its_request_was_sent() -> None:
    limiter = RateLimiter(1)
    limiter.take(NOW)
    limiter.sent(NOW, NOW + 0.2)  # within the margin
    assert limiter.turn_epoch(NOW + 41) == NOW + 61
    limiter.sent(NOW, NOW + 40)  # the storage of the claim was slow
    assert limiter.turn_epoch(NOW + 41) == NOW + 101
