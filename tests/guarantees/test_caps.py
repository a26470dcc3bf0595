"""G16: caps of a connection hold before the money is spent: over DAGs, runs, processes and installations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.cli.definition import main
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamCapError,
    SeedreamInputError,
)
from airflow_provider_seedream.ledger.books import Books
from airflow_provider_seedream.ledger.pages import Page, month_of
from airflow_provider_seedream.ledger.settled_books import QUIET_SECONDS, settle
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.caps import Cap
from airflow_provider_seedream.model.clock import Clock
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.guarantees.child import start_child
from tests.guarantees.conftest import POKE_SECONDS, Build, Connect
from tests.guarantees.test_killed_anywhere import let_claims_settle, pair, run_in_child

MONTH = Cap(period="month", credits=0)


def page_of(books: str) -> Page:
    month = month_of(clock.now_epoch())
    return Books(books).look(month) or Page(month=month, way="lock")


def counted(books: str) -> int:
    return page_of(books).spent(MONTH, "2026-01-01")


def batch(destination: str, rows: int, **options: Any) -> SeedreamBatchOperator:
    given = {"deferrable": False, "poke_interval": POKE_SECONDS, "destination": destination, **options}
    given.setdefault("requests", [{"prompt": f"watch {number}"} for number in range(rows)])
    with DAG("guarantees", schedule=None):
        return SeedreamBatchOperator(task_id="batch", **given)


class TestSingleTasks:
    def test_a_cap_holds_over_dag_runs_and_destinations_and_a_clear_pays_nothing(
        self, caps: Any, build: Build, emulator: Emulator, destination: str, tmp_path: Path
    ) -> None:
        caps(max_credits_per_day=30)
        chains = [build(num_images=number, destination=f"file://{tmp_path}/{number}") for number in (1, 2, 3)]
        outcomes = [Runner(run_id=f"r{number}").run(chain.submit) for number, chain in enumerate(chains)]
        assert [outcome.state for outcome in outcomes] == ["success", "success", "failed"]
        error = outcomes[2].error
        assert isinstance(error, SeedreamCapError)
        assert (outcomes[2].tries, error.spenders) == (1, {"guarantees/submit": 30})
        assert "CAP REACHED: max_credits_per_day=30 of connection 'seedream_default'" in outcomes[2].log_text
        again = Runner(run_id="r0")
        again.clear(chains[0].submit)
        assert again.run(chains[0].submit).state == "success"
        assert (emulator.books.posts_received, emulator.books.credits_charged, counted(destination)) == (
            2,
            30,
            30,
        )

    def test_a_cap_of_a_label_holds_for_its_label(self, caps: Any, build: Build, emulator: Emulator) -> None:
        caps(label_caps={"team=shop": {"month": 10}})
        states = [
            Runner(run_id=f"r{number}").run(build(labels={"team": team}).submit).state
            for number, team in enumerate(["shop", "lab", "shop", "lab"])
        ]
        assert states == ["success", "success", "failed", "success"]
        assert emulator.books.credits_charged == 30

    @pytest.mark.parametrize(
        ("team", "says"), [("Shop", "the label 'team=shop', and the case of letters counts"), ("lab", "")]
    )
    def test_a_label_that_misses_its_cap_by_the_case_of_letters_is_refused(
        self, team: str, says: str, caps: Any, build: Build, emulator: Emulator
    ) -> None:
        caps(label_caps={"team=shop": {"month": 10}})
        outcome = Runner().run(build(labels={"team": team}).submit)
        assert says in str(outcome.error)
        assert emulator.books.posts_received == (0 if says else 1)

    def test_a_batch_whose_label_misses_its_cap_fails_before_its_first_row(
        self, caps: Any, destination: str, emulator: Emulator
    ) -> None:
        caps(label_caps={"team=shop": {"month": 10}})
        outcome = Runner().run(batch(destination, 2, labels={"team": "Shop"}, on_error="continue"))
        assert isinstance(outcome.error, SeedreamInputError)
        assert (outcome.error.paid, emulator.books.posts_received) == ("no", 0)

    def test_a_page_moves_what_has_landed_into_its_sums(
        self, caps: Any, build: Build, destination: str
    ) -> None:
        caps(max_credits_per_month=100)
        chain, runner = build(), Runner()
        runner.run(chain.submit)
        assert len(page_of(destination).open) == 1
        runner.run(chain.land)
        page = page_of(destination)
        assert (page.open, page.ended.credits, dict(page.ended.spenders)) == (
            {},
            10,
            {"guarantees/submit": 10},
        )

    @pytest.mark.parametrize("prompt", ["a [refuse:402]", "a [refuse:400]", "a [refuse:429]"])
    def test_a_refused_request_comes_back(
        self, prompt: str, caps: Any, build: Build, emulator: Emulator, destination: str
    ) -> None:
        caps(max_credits_per_day=10)
        assert Runner().run(build(prompt=prompt, timeout=0, retries=0).submit).state == "failed"
        assert counted(destination) == 0
        assert Runner().run(build(prompt="b").submit).state == "success"
        assert emulator.books.credits_charged == counted(destination) == 10

    def test_a_refund_comes_back_and_a_retry_finds_room(
        self, caps: Any, build: Build, emulator: Emulator, destination: str, deferrable: bool
    ) -> None:
        caps(max_credits_per_day=10)
        emulator.inject("fail", times=1)
        outcome = Runner().run(build(wait=True, deferrable=deferrable, retries=1).submit)
        assert (outcome.state, outcome.tries) == ("success", 2), outcome.errors
        assert (emulator.books.posts, emulator.books.credits_refunded, counted(destination)) == (2, 10, 10)

    def test_an_unknown_outcome_counts_as_spent(
        self, caps: Any, build: Build, emulator: Emulator, destination: str
    ) -> None:
        caps(max_credits_per_day=10)
        assert isinstance(
            Runner().run(build(prompt="a [drop-after-accept]").submit).error, SeedreamAmbiguousSubmissionError
        )
        assert isinstance(Runner().run(build(prompt="b").submit).error, SeedreamCapError)
        assert (emulator.books.posts_received, counted(destination)) == (1, 10)

    def test_a_person_who_settles_it_as_not_paid_gives_it_back(
        self, caps: Any, build: Build, emulator: Emulator, destination: str
    ) -> None:
        caps(max_credits_per_day=10)
        error = Runner().run(build(prompt="a [drop-after-accept]").submit).error
        assert isinstance(error, SeedreamAmbiguousSubmissionError)
        assert counted(destination) == 10
        with pytest.raises(SystemExit) as ended:
            main(["resolve", str(error.record), "--not-paid", "--yes"])
        assert ended.value.code == 0
        assert counted(destination) == 0

    def test_a_name_that_is_taken_comes_back(self, caps: Any, build: Build, destination: str) -> None:
        caps(max_credits_per_day=50)
        Runner().run(build(prompt="a", name="hero").submit)
        assert isinstance(Runner().run(build(prompt="b", name="hero").submit).error, SeedreamInputError)
        assert counted(destination) == 10

    def test_a_larger_bill_counts(
        self, caps: Any, build: Build, emulator: Emulator, destination: str
    ) -> None:
        emulator.configure(credits_per_image=30)
        caps(max_credits_per_day=50)
        assert Runner().run(build(prompt="a").submit).state == "success"
        assert counted(destination) == emulator.books.credits_charged == 30
        assert isinstance(Runner().run(build(prompt="b", num_images=3).submit).error, SeedreamCapError)

    def test_a_wrong_cap_sends_nothing(self, caps: Any, build: Build, emulator: Emulator) -> None:
        caps(max_credits_per_day="many")
        outcome = Runner().run(build().submit)
        assert isinstance(outcome.error, SeedreamInputError)
        assert "max_credits_per_day" in str(outcome.error)
        assert emulator.books.posts_received == 0

    def test_caps_without_a_place_for_their_books_send_nothing(
        self, emulator: Emulator, connect: Connect, build: Build
    ) -> None:
        connect(emulator, max_credits_per_day=100)
        outcome = Runner().run(build().submit)
        assert isinstance(outcome.error, SeedreamInputError)
        assert "`books`" in str(outcome.error)
        assert emulator.books.posts_received == 0


class TestABatch:
    def test_rows_beyond_a_cap_are_skipped_and_a_later_try_sends_them(
        self, caps: Any, emulator: Emulator, destination: str
    ) -> None:
        caps(max_credits_per_day=30)
        runner = Runner()
        first = runner.run(batch(destination, 8))
        assert (first.state, first.value["count"]["landed"], first.value["count"]["skipped_budget"]) == (
            "success",
            3,
            5,
        )
        caps(max_credits_per_day=1000)
        task = batch(destination, 8)
        runner.clear(task)
        second = runner.run(task)
        assert (second.state, second.value["count"]["landed"]) == ("success", 8)
        assert emulator.books.credits_charged == counted(destination) == 80
        assert page_of(destination).open == {}

    def test_refunds_and_refusals_of_rows_come_back(
        self, caps: Any, emulator: Emulator, destination: str
    ) -> None:
        caps(max_credits_per_day=1000, label_caps={"team=shop": {"day": 500}})
        emulator.configure(latency_seconds=0.02)
        # three would halt the batch
        faults = [*("", "[fail]", "[moderation]", "[refuse:400]") * 4, *["[drop-after-accept]"] * 2]
        rows = [{"prompt": f"watch {number} {fault}"} for number, fault in enumerate(faults)]
        outcome = Runner().run(
            batch(destination, 0, requests=rows, on_error="continue", labels={"team": "shop"})
        )
        assert outcome.state == "success"
        books = emulator.books
        assert counted(destination) == books.credits_charged - books.credits_refunded
        assert page_of(destination).spent(
            Cap(period="month", credits=0, label="team=shop"), "2026-01-01"
        ) == counted(destination)
        assert len(page_of(destination).open) == outcome.value["count"]["unknown"] == 2


class TestProcesses:
    def test_eight_processes_of_two_installations_never_overspend_together(
        self, emulator: Emulator, caps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        books = f"file://{tmp_path}/books"
        caps(max_credits_per_day=50, books=books)
        children = []
        for number in range(8):
            monkeypatch.setenv("AIRFLOW__SEEDREAM__INSTALLATION", ("east", "west")[number % 2])
            children.append(
                start_child(prompt=f"watch {number}", destination=f"file://{tmp_path}/{number % 3}")
            )
        assert sorted(child.wait() for child in children) == [0] * 5 + [1] * 3
        assert emulator.books.credits_charged == counted(books) == 50


@pytest.mark.slow
def test_a_process_killed_before_any_of_its_acts_never_overspends_and_its_retry_leaves_the_books_as_the_server_has_them(
    emulator: Emulator, caps: Any, build: Build, folder: Path, destination: str
) -> None:
    caps(max_credits_per_month=1_000_000)
    killed, unknown, act = 0, 0, 0
    while killed == act:
        act += 1
        run_id = f"r{act}"
        chain = build(submit={"retries": 2, "num_images": 2}, land={"deferrable": False})
        killed += run_in_child(partial(pair, run_id, chain), folder=folder, die_before_act=act) == -1
        assert counted(destination) >= emulator.books.credits_charged, (
            f"killed before act {act}: what was paid is not counted"
        )
        let_claims_settle(folder)
        _, landed = pair(run_id, chain)
        unknown += landed is None
        # Each run has one attempt, which is paid or has an unknown outcome: it counts once, and nothing else
        # counts.
        assert counted(destination) == 20 * act >= emulator.books.credits_charged, f"killed before act {act}"
    assert killed > 20, "the audit hook sees the acts"
    assert emulator.books.credits_charged >= 20 * (act - unknown)
    # A kill between the outcome in the record and the closing in the page leaves it open; the ledger settles
    # it.
    later = Clock(now_epoch=lambda: clock.now_epoch() + QUIET_SECONDS + 1)
    settle(Books(destination), month_of(clock.now_epoch()), later)
    assert len(page_of(destination).open) == unknown
    assert counted(destination) == 20 * act
