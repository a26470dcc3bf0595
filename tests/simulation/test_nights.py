"""Nights of the simulation: a few on every day, 10,000 in `.ci/run` (`make nights`), and the mistakes that
they must find.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, nights_until_found
from tests.simulation.plan import play
from tests.simulation.shrink import shrink

EVERY_DAY = 60
# Nights that have found a fault: a claim deleted while another try opened the next attempt, and a process
# that opened one by what it had read half an hour before. Both paid again for what was paid and known. A
# batch that counted by a listing which did not show yet what its own earlier processes had spent. Batches
# whose claims took long: they counted a POST from its turn, and met a 429.
FOUND = (5424, 9495, 4392, 674, 7123)


@pytest.fixture(autouse=True)
def usual_poll_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``make nights`` plays them: other tests poll more often."""
    monkeypatch.delenv("AIRFLOW__SEEDREAM__POKE_INTERVAL", raising=False)


class TestNights:
    def test_every_invariant_holds(self) -> None:
        nights = [play(seed) for seed in range(EVERY_DAY)]
        assert [(told.seed, told.violation) for told in nights if told.violation] == []
        assert sum(told.charges for told in nights) > EVERY_DAY
        assert {"kill", "stop", "drop", "lose", "twice"} <= set().union(*(told.hurt for told in nights))

    @pytest.mark.parametrize("seed", FOUND)
    def test_what_a_night_has_found_stays_mended(self, seed: int) -> None:
        assert play(seed).violation is None

    @pytest.mark.parametrize(
        ("seed", "words"),
        [
            (554, "1 request from before the start was refunded"),
            (4185, "2 requests expired unseen and may have failed"),
        ],
    )
    def test_a_refund_of_which_the_period_knows_nothing_is_not_called_a_top_up(
        self, seed: int, words: str
    ) -> None:
        said = play(seed).statement
        assert "topped up or refunded between" in said
        assert f"may be no top-up: {words}." in said

    def test_a_seed_tells_the_same_story_twice(self) -> None:
        for seed in (1, 58, 372):
            first, second = play(seed, tells=True), play(seed, tells=True)
            assert first.story == second.story

    def test_written_down_choices_replay_a_night(self) -> None:
        night = play(188, tells=True)
        assert play(188, night.made, tells=True).story == night.story

    def test_no_choice_at_all_is_a_calm_night(self) -> None:
        night = play(1, [], tells=True)
        assert (night.violation, night.hurt, night.charges) == (None, set(), 1)


class TestShrinking:
    def test_only_the_choices_that_matter_are_left(self) -> None:
        def breaks(made: Sequence[int]) -> Sequence[int] | None:
            return made if len(made) > 70 and made[20] and made[70] > 1 else None

        calmest = shrink([3] * 200, breaks)
        assert [at for at, chosen in enumerate(calmest) if chosen] == [20, 70]


@pytest.mark.slow
class TestItCanFail:
    @pytest.mark.timeout(1200)
    @pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
    def test_a_mistake_of_ours_is_found_within_ten_thousand_nights(
        self, mutant: Mutant, tmp_path: Path
    ) -> None:
        nights, said = nights_until_found(mutant, tmp_path, most=10_000)
        assert nights is not None, said
