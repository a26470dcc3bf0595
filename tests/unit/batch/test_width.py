"""How many POSTs are under way at once: decided from rate, time and outcomes alone."""

from __future__ import annotations

import pytest

from airflow_provider_seedream.batch.width import PostWidth
from airflow_provider_seedream.tasks.wait_options import MAX_POSTS_AT_ONCE


def measured(seconds: float, *, most: int | None = None) -> PostWidth:
    width = PostWidth(most)
    width.accepted(seconds, sent_epoch=0.0)
    return width


class TestTheAutomaticWidth:
    def test_the_first_post_goes_alone_as_nothing_is_measured_yet(self) -> None:
        assert PostWidth(None).at_once(requests_per_minute=600) == 1

    @pytest.mark.parametrize(
        ("requests_per_minute", "seconds", "posts"),
        [
            (3, 1.0, 1),
            (60, 0.8, 1),
            (60, 3.0, 4),
            (600, 1.0, 11),
            (2000, 0.3, 11),
            (600, 0.01, 1),
            (2000, 3.0, 16),
            (0.5, 60, 1),
        ],
    )
    def test_so_many_are_under_way_as_the_rate_takes_in_the_time_of_one_and_a_tenth_more(
        self, requests_per_minute: float, seconds: float, posts: int
    ) -> None:
        assert measured(seconds).at_once(requests_per_minute=requests_per_minute) == posts

    def test_it_follows_an_api_that_gets_slower_and_one_slow_answer_changes_little(self) -> None:
        width = measured(0.5)
        width.accepted(5.0, sent_epoch=0.0)
        assert width.at_once(requests_per_minute=600) == 11
        for _ in range(30):
            width.accepted(1.0, sent_epoch=0.0)
        assert width.seconds == pytest.approx(1.0, abs=0.05)

    def test_a_time_that_was_no_usual_one_is_not_measured(self) -> None:
        width = PostWidth(None)
        width.accepted(None, sent_epoch=0.0)
        assert width.seconds is None

    def test_a_third_of_a_submission_whose_price_was_measured_counts_until_another_one_is_measured(
        self,
    ) -> None:
        width = PostWidth(None)
        width.guess(3.0)
        assert width.at_once(requests_per_minute=600) == 11
        width.accepted(0.5, sent_epoch=0.0)
        assert (width.seconds, width.at_once(requests_per_minute=600)) == (0.5, 6)
        width.guess(30.0)
        assert width.at_once(requests_per_minute=600) == 6

    def test_what_an_earlier_process_has_measured_counts_from_the_start(self) -> None:
        assert PostWidth(None, seconds=1.0).at_once(requests_per_minute=600) == 11

    @pytest.mark.parametrize("most", [1, 2, 8, MAX_POSTS_AT_ONCE])
    def test_never_more_are_under_way_than_the_user_allows(self, most: int) -> None:
        assert measured(60.0, most=most).at_once(requests_per_minute=6000) == most


class TestTrouble:
    def test_after_a_refusal_one_goes_alone_until_it_is_accepted(self) -> None:
        width = measured(1.0)
        width.refused(100.0)
        assert width.at_once(requests_per_minute=600) == 1
        width.accepted(1.0, sent_epoch=99.0)
        assert width.at_once(requests_per_minute=600) == 1, "it was sent before the refusal"
        width.accepted(1.0, sent_epoch=101.0)
        assert width.at_once(requests_per_minute=600) == 11

    @pytest.mark.parametrize(("unknown", "posts"), [(0, 11), (1, 2), (2, 1), (3, 1)])
    def test_after_an_unknown_outcome_only_so_many_go_as_may_be_unknown_before_the_batch_stops(
        self, unknown: int, posts: int
    ) -> None:
        assert measured(1.0).at_once(requests_per_minute=600, unknown_in_a_row=unknown) == posts
