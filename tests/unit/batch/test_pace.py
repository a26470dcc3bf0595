"""What bounds a batch: whose turn it is where polls count toward the rate limit. The clock is a number."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.progress import InFlight
from airflow_provider_seedream.polling.policy import FailedPoll
from airflow_provider_seedream.rate_limit.limiter import MAX_POLL_WAIT_SECONDS, RateLimiter
from tests.unit.values import NOW, generation


def pace(*, counts_polls: bool = True, rate: float = 3) -> Pace:
    return Pace(limiter=RateLimiter(rate), counts_polls=counts_polls, max_in_flight=10, timeout_seconds=3600)


def entry(due_epoch: float = NOW) -> InFlight:
    fields: dict[str, Any] = {
        "columns": {},
        "credits": 10,
        "may_have_landed": False,
        "deadline_epoch": NOW + 3600,
    }
    return InFlight(number=1, generation=generation(), due_epoch=due_epoch, **fields)


class TestWherePollsCount:
    @pytest.mark.parametrize(
        ("post_epoch", "due_epoch", "goes"),
        [
            (None, NOW, True),
            (NOW, NOW, False),
            (NOW, NOW - MAX_POLL_WAIT_SECONDS - 1, True),
            (NOW + 30, NOW, True),
        ],
        ids=[
            "no row is left",
            "a row can go",
            "it has waited for long",
            "rows are held back, as the API cannot be reached",
        ],
    )
    def test_submissions_come_first_where_one_can_go(
        self, post_epoch: float | None, due_epoch: float, goes: bool
    ) -> None:
        assert pace().takes_poll(entry(due_epoch), post_epoch=post_epoch, now=NOW) is goes

    def test_a_poll_takes_a_turn_and_none_goes_without(self) -> None:
        ours = pace(rate=2)
        went = [ours.takes_poll(entry(), post_epoch=None, now=NOW) for _ in range(3)]
        assert went == [True, True, False]
        assert ours.poll_epoch(NOW) > NOW + 59

    def test_a_refused_poll_holds_everything_back(self) -> None:
        ours = pace()
        ours.throttled(FailedPoll(trouble="throttled", detail="429", retry_after_seconds=20))
        assert ours.limiter.turn_epoch(NOW) > NOW

    def test_the_trigger_gets_them_when_this_process_leaves_room(self) -> None:
        ours = pace(rate=2)
        ours.limiter.take(NOW)
        due = [waiting[1] for waiting in ours.for_trigger([entry(NOW + 500), entry(), entry()], NOW + 1)]
        assert due == [NOW + 500, NOW + 1, NOW + 61]


class TestWhereTheyDoNot:
    def test_they_go_when_they_are_due(self) -> None:
        ours = pace(counts_polls=False)
        assert all(ours.takes_poll(entry(), post_epoch=NOW, now=NOW) for _ in range(10))
        ours.throttled(FailedPoll(trouble="throttled", detail="429", retry_after_seconds=20))
        assert ours.limiter.turn_epoch(NOW) <= NOW
        assert [waiting[1] for waiting in ours.for_trigger([entry(NOW - 5), entry()], NOW)] == [NOW - 5, NOW]
