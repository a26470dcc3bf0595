"""Budgets on every kind of store: of racing tasks exactly as many spend as there is room for."""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_seedream.exceptions import SeedreamBudgetError
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.spending import Spending, Tally
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.stores.servers import Place
from tests.stores.test_store_semantics import race

MADE_BY = TaskRef(dag_id="watches", run_id="r1", task_id="submit", try_number=1)


class TestRacingTasks:
    def test_racing_tasks_spend_the_budget_exactly(self, store: Place) -> None:
        def admits(racer: int) -> bool:
            by = replace(MADE_BY, map_index=racer)
            spending = Spending(
                made_by=by, key=f"{racer:064x}", attempt=1, credits=20, claim=f"racer-{racer}"
            )
            try:
                Budget(Ledger(store.uri), by, max_credits=200, max_credits_per_run=100).admit(spending)
            except SeedreamBudgetError:
                return False
            return True

        assert race(admits).count(True) == 5
        assert Tally(Ledger(store.uri).spent_in_run(MADE_BY)).credits == 100

    def test_racing_tasks_find_nothing_spent_where_nobody_was(self, store: Place) -> None:
        ledger = Ledger(store.uri)
        assert ledger.spent_by_task(MADE_BY) == ledger.spent_in_run(MADE_BY) == []
