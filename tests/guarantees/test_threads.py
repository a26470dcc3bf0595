"""G1, G3, G16: sixteen threads of one process submit and land at once, through one submitter, one ledger
and one budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamBudgetError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.finish import land_generation
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.spending import Tally
from airflow_provider_seedream.ledger.submit import Request, Submitted, Submitter
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.guarantees.conftest import Connect
from tests.unit.stores import Versioned, attached_store
from tests.unit.values import submission

THREADS = 16
ME = TaskRef(dag_id="d", run_id="r", task_id="batch", try_number=1)
T = TypeVar("T")


def at_once(work: Callable[[int], T]) -> list[T]:
    """The results of so many threads that begin together."""
    barrier = Barrier(THREADS)

    def begin(number: int) -> T:
        barrier.wait(timeout=120)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


@pytest.fixture(params=["file", "a store with versions"])
def destination(request: pytest.FixtureRequest, destination: str) -> Iterator[str]:
    yield destination if request.param == "file" else attached_store(Versioned())[0]


@pytest.fixture
def shared(emulator: Emulator, connect: Connect, destination: str) -> Callable[..., Submitter]:
    connect(emulator, requests_per_minute=100_000)

    def shared(**budget: Any) -> Submitter:
        ledger = Ledger(destination)
        return Submitter(SeedreamHook(), ledger, "fail", Budget(ledger, ME, **budget))

    return shared


def request(number: int, destination: str, name: str | None = None) -> Request:
    return Request(
        submission=submission(prompt=f"a watch {number}"),
        destination=destination,
        name=name,
        made_by=ME,
        is_new=True,
    )


class TestSixteenThreads:
    def test_different_requests_are_each_paid_once_and_landed_once(
        self, shared: Callable[..., Submitter], emulator: Emulator, destination: str
    ) -> None:
        submitter = shared()

        def work(number: int) -> tuple[Submitted, int]:
            return submitter.submit_row(request(number, destination, f"hero{number}")), submitter.posts

        submitted = at_once(work)
        assert (emulator.books.posts_received, [posts for _, posts in submitted]) == (THREADS, [1] * THREADS)
        hook = SeedreamHook()
        generations = [one.generation for one, _ in submitted]
        assert emulator.books.wait_until(lambda books: books.posts == THREADS, timeout_seconds=60)
        emulator.clock.advance(60)
        with hook.downloads(max_bytes=10_000_000) as downloads:
            landed = at_once(
                lambda number: land_generation(
                    generations[number], hook, downloads, landed_by=ME, ledger=submitter.ledger
                )
            )
        assert [manifest.submission["prompt"] for manifest in landed] == [
            f"a watch {number}" for number in range(THREADS)
        ]
        outcomes = [
            Ledger(destination).latest(request(number, destination, f"hero{number}").key)
            for number in range(THREADS)
        ]
        assert [record and record.outcome for record in outcomes] == ["landed"] * THREADS

    def test_the_same_request_is_paid_once(
        self, shared: Callable[..., Submitter], emulator: Emulator, destination: str
    ) -> None:
        submitter = shared()
        submitter.submit(request(99, destination))  # the store is known
        submitted = at_once(lambda _: submitter.submit_row(request(0, destination)))
        assert emulator.books.posts_received == 2
        assert len({one.generation.seedream_task_id for one in submitted}) == 1
        assert sum(one.is_new for one in submitted) == 1

    @pytest.mark.parametrize("limit", ["max_credits", "max_credits_per_run"])
    def test_a_budget_is_spent_to_the_last_credit_and_no_further(
        self, limit: str, shared: Callable[..., Submitter], emulator: Emulator, destination: str
    ) -> None:
        submitter = shared(**{limit: 70})

        def work(number: int) -> bool:
            try:
                return submitter.submit_row(request(number, destination)).is_new
            except SeedreamBudgetError:
                return False

        assert at_once(work).count(True) == 7
        assert (emulator.books.posts_received, emulator.books.credits_charged) == (7, 70)
        assert Tally(Ledger(destination).spent_by_task(ME)).credits == 70
