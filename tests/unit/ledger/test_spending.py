"""What was spent, as file names: pinned, added up once per attempt, and deaf to what is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_seedream.ledger.spending import Spending, Tally, run_folder, task_folder
from airflow_provider_seedream.model.task_ref import TaskRef

MADE_BY = TaskRef(dag_id="watches", run_id="scheduled__1", task_id="submit", map_index=3, try_number=1)


def spending(**changes: Any) -> Spending:
    fields: dict[str, Any] = {"made_by": MADE_BY, "key": "a" * 64, "attempt": 1, "credits": 20, "claim": "c1"}
    return Spending(**{**fields, **changes})


class TestNames:
    """A changed folder would forget what a DAG run that is under way has spent."""

    def test_the_names_are_pinned(self) -> None:
        assert spending().file == f"_seedream/spent/509bf1fcb31704cc/f3807254fc403daa/{'a' * 64}.1.20.c1"

    def test_mapped_instances_and_tries_share_a_folder(self) -> None:
        assert task_folder(MADE_BY) == task_folder(replace(MADE_BY, map_index=4, try_number=2))

    @pytest.mark.parametrize("field", ["dag_id", "run_id"])
    def test_another_run_has_another_folder(self, field: str) -> None:
        assert run_folder(MADE_BY) != run_folder(replace(MADE_BY, **{field: "other"}))

    def test_the_tasks_of_a_run_have_folders_in_it(self) -> None:
        other = replace(MADE_BY, task_id="other")
        assert task_folder(MADE_BY) != task_folder(other)
        assert task_folder(other).startswith(f"{run_folder(MADE_BY)}/")


class TestTheTally:
    def test_the_tally_adds_up_names(self) -> None:
        assert Tally([spending().name, spending(key="b" * 64, credits=60).name]).credits == 80

    def test_an_attempt_counts_once_however_many_tries_noted_it(self) -> None:
        assert Tally([spending(claim=claim).name for claim in ("c1", "c2", "c3")]).credits == 20

    def test_every_attempt_at_a_request_counts(self) -> None:
        assert Tally([spending(attempt=attempt).name for attempt in (1, 2, 3)]).credits == 60

    @pytest.mark.parametrize(
        "name",
        ["", ".3f2a.tmp", "README.md", f"{'a' * 64}.1.x.c1", f"{'a' * 63}.1.20.c1", f"{'a' * 64}.1.20"],
    )
    def test_other_files_are_none(self, name: str) -> None:
        assert Tally([name]).credits == 0

    def test_the_others_are_all_but_the_attempt_itself(self) -> None:
        tally = Tally([spending().name, spending(key="b" * 64).name])
        assert tally.without(spending(claim="another try")) == 20
        assert tally.without(spending(key="c" * 64)) == 40

    def test_what_is_discarded_counts_no_longer(self) -> None:
        tally = Tally([spending().name])
        for _ in range(2):
            tally.discard(spending())
        assert tally.credits == 0

    def test_an_attempt_that_two_have_noted_counts_until_both_notes_are_discarded(self) -> None:
        tally = Tally()
        tally.add(spending(claim="mine"))
        tally.add(spending(claim="another thread's", credits=30))
        tally.discard(spending(claim="another thread's", credits=30))
        assert tally.credits == 20
        tally.discard(spending(claim="mine"))
        assert tally.credits == 0
