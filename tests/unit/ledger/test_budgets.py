"""Budgets on a disk and in an object store: noted, then added up, so that racing tasks never overspend
together.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamBudgetError, SeedreamLedgerError
from airflow_provider_seedream.ledger import budgets
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.spending import Spending, Tally
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.unit.stores import answer_lost, attached_store, refused

RACERS = 12
ALONE = TaskRef(dag_id="watches", run_id="r1", task_id="submit", map_index=-1, try_number=1)
MAPPED = replace(ALONE, map_index=0)
Row = Callable[..., Spending]


def row(number: int = 1, *, price: int = 20, made_by: TaskRef = ALONE, attempt: int = 1) -> Spending:
    """A request, told apart by its number."""
    return Spending(
        made_by=made_by, key=f"{number:064x}", attempt=attempt, credits=price, claim=uuid.uuid4().hex
    )


def spent(ledger: Ledger, made_by: TaskRef = ALONE) -> int:
    return Tally(ledger.spent_by_task(made_by)).credits


@pytest.fixture
def ledger(destination: str) -> Ledger:
    return Ledger(destination)


@pytest.fixture(params=[ALONE, MAPPED], ids=["alone", "mapped"])
def made_by(request: pytest.FixtureRequest) -> TaskRef:
    made_by: TaskRef = request.param
    return made_by


class TestABudget:
    def test_a_budget_is_spent_to_the_last_credit_and_no_further(
        self, ledger: Ledger, made_by: TaskRef
    ) -> None:
        budget = Budget(ledger, made_by, max_credits=40)
        for number in (1, 2):
            budget.admit(row(number, made_by=made_by))
        with pytest.raises(
            SeedreamBudgetError, match=r"max_credits=40: 40 credits are spent .* costs 20"
        ) as failed:
            budget.admit(row(3, made_by=made_by))
        assert (failed.value.paid, spent(ledger)) == ("no", 40)

    def test_a_cheaper_row_still_fits(self, ledger: Ledger, made_by: TaskRef) -> None:
        budget = Budget(ledger, made_by, max_credits=50)
        budget.admit(row(1, price=40, made_by=made_by))
        with pytest.raises(SeedreamBudgetError):
            budget.admit(row(2, price=20, made_by=made_by))
        budget.admit(row(3, price=10, made_by=made_by))
        assert spent(ledger) == 50

    def test_a_budget_of_zero_refuses_everything_and_touches_no_storage(self) -> None:
        uri, store = attached_store()
        with pytest.raises(SeedreamBudgetError):
            Budget(Ledger(uri), ALONE, max_credits=0).admit(row())
        assert store.calls == []

    def test_a_budget_counts_what_was_spent_before_it_was_made(
        self, ledger: Ledger, made_by: TaskRef
    ) -> None:
        Budget(ledger, made_by).admit(row(1, made_by=made_by))
        with pytest.raises(SeedreamBudgetError):
            Budget(ledger, made_by, max_credits=30).admit(row(2, made_by=made_by))

    def test_another_try_of_the_same_attempt_costs_nothing_more(
        self, ledger: Ledger, made_by: TaskRef
    ) -> None:
        """The first was killed between its note and its claim."""
        for _ in range(3):
            Budget(ledger, made_by, max_credits=20).admit(row(made_by=made_by))
        assert spent(ledger) == 20

    def test_another_attempt_at_the_same_request_costs_more(self, ledger: Ledger, made_by: TaskRef) -> None:
        budget = Budget(ledger, made_by, max_credits=20)
        budget.admit(row(made_by=made_by))
        with pytest.raises(SeedreamBudgetError):
            budget.admit(row(attempt=2, made_by=made_by))

    def test_another_run_begins_at_nothing(self, ledger: Ledger, made_by: TaskRef) -> None:
        for run_id in ("r1", "r2"):
            by = replace(made_by, run_id=run_id)
            Budget(ledger, by, max_credits=20).admit(row(made_by=by))

    def test_without_a_limit_it_only_notes(self) -> None:
        uri, store = attached_store()
        Budget(Ledger(uri), {}).admit(row())
        assert store.calls == ["pipe"]
        assert spent(Ledger(uri)) == 20

    def test_a_storage_that_cannot_be_listed_is_no_budget_that_is_free(self) -> None:
        uri, store = attached_store()
        store.trouble("ls", refused)
        with pytest.raises(SeedreamLedgerError, match="Cannot list"):
            Budget(Ledger(uri), MAPPED, max_credits=100).admit(row(made_by=MAPPED))
        assert spent(Ledger(uri), MAPPED) == 0

    def test_a_listing_behind_the_times_is_refused(self) -> None:
        uri, store = attached_store()
        store.trouble("ls", lambda act: [])
        with pytest.raises(SeedreamLedgerError, match="does not list the note that was just written"):
            Budget(Ledger(uri), MAPPED, max_credits=100).admit(row(made_by=MAPPED))
        assert spent(Ledger(uri), MAPPED) == 0

    @pytest.mark.parametrize("by", [ALONE, MAPPED], ids=["alone", "mapped"])
    def test_a_note_of_which_nobody_knows_whether_it_was_written_is_withdrawn(self, by: TaskRef) -> None:
        uri, store = attached_store()
        # one that spends alone says so first
        store.trouble("pipe", *[lambda act: act()] * (by == ALONE), answer_lost)
        store.trouble("cat", refused)  # it would say who wrote it
        budget = Budget(Ledger(uri), by, max_credits=20)
        with pytest.raises(SeedreamLedgerError, match="Cannot write"):
            budget.admit(row(1, made_by=by))
        budget.admit(row(2, made_by=by))
        assert spent(Ledger(uri), by) == 20

    def test_a_note_that_cannot_be_withdrawn_either_counts_and_the_first_error_is_raised(self) -> None:
        uri, store = attached_store()
        store.trouble("ls", refused)
        store.trouble("rm", refused)
        with pytest.raises(SeedreamLedgerError, match="Cannot list"):
            Budget(Ledger(uri), MAPPED, max_credits=100).admit(row(made_by=MAPPED))
        assert spent(Ledger(uri), MAPPED) == 20


class TestTheBudgetOfARun:
    def test_the_budget_of_a_run_counts_all_its_tasks(self, ledger: Ledger) -> None:
        other = replace(MAPPED, task_id="other")
        Budget(ledger, other).admit(row(1, made_by=other))
        with pytest.raises(
            SeedreamBudgetError, match="max_credits_per_run=30: 20 credits are spent by this DAG run"
        ):
            Budget(ledger, ALONE, max_credits_per_run=30).admit(row(2))
        Budget(ledger, ALONE, max_credits=30).admit(row(2))

    def test_both_limits_hold(self, ledger: Ledger) -> None:
        budget = Budget(ledger, ALONE, max_credits=40, max_credits_per_run=20)
        budget.admit(row(1))
        with pytest.raises(SeedreamBudgetError, match="max_credits_per_run"):
            budget.admit(row(2))
        budget = Budget(ledger, ALONE, max_credits=20, max_credits_per_run=40)
        with pytest.raises(SeedreamBudgetError, match="max_credits=20"):
            budget.admit(row(2))


class TestOneThatSpendsAlone:
    def test_one_that_spends_alone_lists_once_for_all_its_rows(self) -> None:
        uri, store = attached_store()
        budget = Budget(Ledger(uri), ALONE, max_credits=2000)
        for number in range(100):
            budget.admit(row(number))
        assert store.calls.count("ls") == 1
        with pytest.raises(SeedreamBudgetError):
            budget.admit(row(100))

    def test_one_that_spends_alone_counts_what_another_try_of_it_has_paid(self, ledger: Ledger) -> None:
        """A try that Airflow gave up may live on beside the next."""
        budget = Budget(ledger, ALONE, max_credits=40)
        budget.admit(row(1))
        budget.learn(row(2))
        budget.learn(row(3, made_by=replace(ALONE, run_id="another run, by reuse")))
        with pytest.raises(SeedreamBudgetError, match="40 credits are spent"):
            budget.admit(row(4))

    def test_what_bought_nothing_is_there_to_be_spent_again(self, ledger: Ledger) -> None:
        budget = Budget(ledger, ALONE, max_credits=20)
        budget.forget(budget.admit(row(1)))
        budget.admit(row(2))

    def test_what_failed_before_its_post_is_counted_where_another_try_has_noted_it(
        self, ledger: Ledger
    ) -> None:
        """Its own note goes; the other's stays, and may be paid."""
        ledger.note_spending(row(1))
        budget = Budget(ledger, ALONE, max_credits=20)
        with pytest.raises(OSError, match="of a store"), budget.holding(budget.admit(row(1))):
            raise OSError("of a store")
        with pytest.raises(SeedreamBudgetError):
            budget.admit(row(2))
        assert spent(ledger) == 20

    def test_it_counts_anew_before_it_refuses_when_a_refund_may_have_come(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(budgets, "RECOUNT_SECONDS", 0.0)
        budget = Budget(ledger, ALONE, max_credits=20)
        ledger.withdraw_spending(budget.admit(row(1)))
        budget.admit(row(2))

    def test_two_that_each_take_themselves_for_the_only_one_never_overspend(self, ledger: Ledger) -> None:
        """A try that Airflow gave up and the next one, or a test beside the scheduler; each from its own
        end of the table.
        """
        first, second = (Budget(ledger, ALONE, max_credits=100) for _ in range(2))
        admitted = 0
        for number in range(10):
            for budget, key in ((first, number), (second, 100 - number)):
                with suppress(SeedreamBudgetError):
                    budget.admit(row(key))
                    admitted += 1
        assert (admitted, spent(ledger)) == (5, 100)

    def test_racing_with_others_of_its_kind_it_never_overspends(self, ledger: Ledger) -> None:
        def admit_some(number: int) -> None:
            budget = Budget(ledger, ALONE, max_credits=100)
            for turn in range(4):
                budget.admit(row(10 * number + turn))

        race(admit_some, racers=4)
        assert spent(ledger) == 100

    def test_one_that_spends_alone_lists_once_more_when_another_has_died(self) -> None:
        uri, store = attached_store()
        Budget(Ledger(uri), ALONE, max_credits=2000).admit(row(1000))
        budget = Budget(Ledger(uri), ALONE, max_credits=2000)
        before = store.calls.count("ls")
        for number in range(50):
            budget.admit(row(number))
        assert store.calls.count("ls") == before + 1

    def test_its_threads_never_overspend(self, ledger: Ledger) -> None:
        budget = Budget(ledger, ALONE, max_credits=100)
        assert race(lambda number: budget.admit(row(number))) == 5
        assert spent(ledger) == 100

    def test_threads_of_two_live_tries_never_overspend_together(self, ledger: Ledger) -> None:
        """Each counts for itself, and again when the other has written its token in the middle of an
        admission.
        """
        tries = [Budget(ledger, ALONE, max_credits=200) for _ in range(2)]

        def admit_some(number: int) -> None:
            for turn in range(5):
                with suppress(SeedreamBudgetError):
                    tries[number % 2].admit(row(10 * number + turn))

        race(admit_some)
        assert spent(ledger) <= 200

    def test_a_count_of_before_admits_nothing_when_another_thread_has_counted_anew(self) -> None:
        """The note is written late. Meanwhile another try spends all, and a thread of this one writes its
        token again.
        """
        uri, store = attached_store()
        mine, other = (Budget(Ledger(uri), ALONE, max_credits=40) for _ in range(2))
        mine.admit(row(1))

        def late(act: Callable[[], Any]) -> Any:
            other.admit(row(2))
            with suppress(SeedreamBudgetError):
                mine.admit(row(3))
            return act()

        store.trouble("pipe", late)
        with pytest.raises(SeedreamBudgetError):
            mine.admit(row(4))
        assert spent(Ledger(uri)) == 40

    def test_an_equal_row_in_flight_that_was_refused_takes_nothing_from_what_the_other_has_spent(
        self, ledger: Ledger
    ) -> None:
        budget = Budget(ledger, ALONE, max_credits=20)
        first, second = row(1), row(1)
        budget.admit(first)
        budget.admit(second)
        budget.forget(first)
        with pytest.raises(SeedreamBudgetError):
            budget.admit(row(2))

    @pytest.mark.parametrize("by", [ALONE, MAPPED], ids=["alone", "mapped"])
    def test_room_is_certain_only_after_a_count_and_away_from_the_limit(
        self, ledger: Ledger, by: TaskRef
    ) -> None:
        budget = Budget(ledger, by, max_credits=60)
        assert not budget.has_room(20), "nothing is counted yet"
        budget.admit(row(1, made_by=by))
        assert budget.has_room(40)
        assert not budget.has_room(60)
        assert Budget(ledger, by).has_room(1_000_000)


class TestOneAmongOthers:
    def test_one_among_others_refuses_thousands_of_rows_by_one_count_a_minute(self) -> None:
        uri, store = attached_store()
        budget = Budget(Ledger(uri), MAPPED, max_credits=20)
        budget.admit(row(0, made_by=MAPPED))
        for number in range(1, 100):
            with pytest.raises(SeedreamBudgetError, match="20 credits are spent"):
                budget.admit(row(number, made_by=MAPPED))
        assert len(store.calls) < 12

    def test_a_row_that_a_killed_try_has_noted_finds_its_room_after_a_refusal(self, ledger: Ledger) -> None:
        Budget(ledger, MAPPED).admit(row(1, made_by=MAPPED))
        budget = Budget(ledger, MAPPED, max_credits=20)
        with pytest.raises(SeedreamBudgetError):
            budget.admit(row(2, made_by=MAPPED))
        budget.admit(row(1, made_by=MAPPED))
        assert spent(ledger) == 20


class TestRacingTasks:
    """Each has a budget object and a file system of its own thread, as mapped instances have."""

    @pytest.mark.parametrize("limit", ["max_credits", "max_credits_per_run"])
    def test_racing_tasks_spend_the_budget_exactly(self, destination: str, limit: str) -> None:
        def admit(number: int) -> None:
            by = replace(MAPPED, map_index=number)
            limits: Any = {limit: 100}
            Budget(Ledger(destination), by, **limits).admit(row(number, made_by=by))

        assert race(admit) == 5
        assert spent(Ledger(destination)) == 100

    def test_two_that_fit_only_one_by_one_do_not_both_give_up(self, destination: str) -> None:
        def admit(number: int) -> None:
            by = replace(MAPPED, map_index=number)
            Budget(Ledger(destination), by, max_credits=30).admit(row(number, made_by=by))

        assert race(admit, racers=2) == 1


def race(admit: Callable[[int], object], *, racers: int = RACERS) -> int:
    """Let all go at the same moment; how many were admitted."""
    start = Barrier(racers)

    def run(number: int) -> bool:
        start.wait()
        try:
            admit(number)
        except SeedreamBudgetError:
            return False
        return True

    with ThreadPoolExecutor(racers) as pool:
        return list(pool.map(run, range(racers))).count(True)
