"""How many calls of the storage an image costs: each is tens of milliseconds that a batch waits for, and
on most stores money.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Connect
from tests.unit.stores import Versioned, attached_store

ROWS = 8
# In the order of the acts that they name.
KINDS = {
    "spending": r"/_seedream/spent/.+/.+/.+",
    "record": r"/_seedream/ledger/.+\.json",
    "name": r"/_seedream/names/(?!results).+\.json",
    "image": r"/[^_/][^/]*_\d\.png",
    "thumbnail": r"/[^_/][^/]*_\d\.thumb\.png",
    "manifest": r"/(?!results)[^_/][^/]*\.json",
}


def calls_per_row(store: Versioned) -> dict[str, float]:
    """The calls about files of rows, by method and kind of file; those of the batch as a whole are left
    out.
    """
    counted: Counter[str] = Counter()
    for method, path in store.requests:
        name = path.split("/watches", 1)[1]
        kind = next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)), None)
        if kind:
            counted[f"{method} {kind}"] += 1
    return {call: number / ROWS for call, number in sorted(counted.items())}


class Table:
    """A batch of some rows, its runs on one store, and the calls of each run."""

    def __init__(self, store: Versioned | None = None, **columns: str) -> None:
        self.uri, attached = attached_store(store or Versioned())
        assert isinstance(attached, Versioned)
        self.store, self._runner = attached, Runner(run_id="r1")
        self._rows = [
            {"prompt": f"a watch {number}"} | {name: f"{text}{number}" for name, text in columns.items()}
            for number in range(ROWS)
        ]

    def run(self, state: str = "success", **options: Any) -> dict[str, float]:
        """Run the batch to its end. Again: the next try of the same task, with what it changed in between."""
        self.store.requests.clear()
        given = {"deferrable": False, "poke_interval": 0.05, **options}
        with DAG("guarantees", schedule=None):
            task = SeedreamBatchOperator(task_id="batch", destination=self.uri, requests=self._rows, **given)
        outcome = self._runner.run(task)
        assert outcome.state == state, outcome.error
        self._runner.clear(task)
        return calls_per_row(self.store)

    def forget_the_dag_run(self) -> None:
        """As if the DAG run was deleted and made again: its first try meets the records of the old one."""
        self._runner = Runner(run_id="r1")


@pytest.fixture(autouse=True)
def fast(emulator: Emulator, connect: Connect) -> None:
    connect(emulator, requests_per_minute=100_000)


ONCE = 1 / ROWS  # once in a batch of so many rows
LANDED = {"PUT image": 1, "PUT thumbnail": 1, "PUT manifest": 1}
# The claim, the id, the outcome. The first record is read, as the store was not tested yet; and the first
# price is measured in the wallet, and written into its record.
PAID = {"PUT spending": 1, "PUT record": 3 + ONCE, "GET record": ONCE}


class TestAFreshRow:
    def test_an_image_with_a_thumbnail_costs_seven_calls(self) -> None:
        assert Table().run() == {**LANDED, **PAID}

    def test_a_name_costs_its_reservation(self) -> None:
        assert Table(name="hero").run() == {**LANDED, **PAID, "PUT name": 1}

    def test_a_budget_costs_one_read(self) -> None:
        table = Table()
        assert table.run(max_credits=1000) == {**LANDED, **PAID}
        assert (
            sum("/_seedream/spenders/" in path for method, path in table.store.requests if method == "GET")
            == ROWS
        )

    def test_a_store_that_ignores_the_version_is_asked_before_each_replace(self) -> None:
        class Careless(Versioned):
            honours_if_match = False

        replaces = 2 + ONCE  # the id, the outcome, and once the measured price
        assert Table(Careless()).run() == {
            **LANDED,
            **PAID,
            "GET record": 1 + replaces,
            "HEAD record": replaces,
        }


class TestTheNextTry:
    def test_an_image_that_is_paid_and_not_landed_is_landed_without_paying(self, emulator: Emulator) -> None:
        table = Table()
        emulator.configure(seconds_per_image=(100.0, 100.0))
        table.run("failed", timeout=1)
        emulator.clock.advance(200)
        # The record and the gap behind it, then is it landed; for the outcome the record again, with its
        # version.
        assert table.run() == {
            **LANDED,
            "GET record": 3,
            "HEAD record": 1,
            "PUT record": 1,
            "GET manifest": 1,
        }
        assert emulator.books.posts == ROWS

    def test_what_is_landed_is_looked_at_and_not_written(self, emulator: Emulator) -> None:
        table = Table()
        table.run()
        calls = table.run()
        assert not [call for call in calls if call.startswith("PUT")]
        assert emulator.books.posts == ROWS

    def test_a_first_try_that_finds_records_all_the_same_pays_nothing(self, emulator: Emulator) -> None:
        table = Table()
        table.run()
        table.forget_the_dag_run()
        table.run()
        assert emulator.books.posts_received == ROWS
        assert sum("/_seedream/spent/" in path for path in table.store.store) == ROWS

    def test_a_first_try_that_finds_records_needs_no_room_in_its_budget(self, emulator: Emulator) -> None:
        table = Table()
        table.run()
        table.forget_the_dag_run()
        table.run(max_credits=10 * ROWS)
        assert emulator.books.posts_received == ROWS
