"""G16: the price is measured, not assumed: an API that charges another one is noticed at the first POST,
and budgets hold.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamBudgetError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import POKE_SECONDS, Build, Connect, records
from tests.guarantees.test_g16_budgets import noted


@pytest.fixture(autouse=True)
def dearer(emulator: Emulator, connect: Connect) -> None:
    """Thirty credits an image, of which the connection knows nothing."""
    emulator.configure(credits_per_image=30)
    connect(emulator, requests_per_minute=100_000)


def batch(destination: str, rows: int, **more: Any) -> SeedreamBatchOperator:
    requests = [{"prompt": f"watch {number}", "num_images": 2} for number in range(rows)]
    given = {
        "destination": destination,
        "deferrable": False,
        "poke_interval": POKE_SECONDS,
        "settling_seconds": 1,
        **more,
    }
    with DAG("guarantees", schedule=None):
        return SeedreamBatchOperator(task_id="batch", requests=requests, **given)


class TestOneRequest:
    def test_one_request_has_both_prices_wherever_it_is_told_of(
        self, emulator: Emulator, build: Build, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        chain, runner = build(num_images=2, name="hero"), Runner()
        with caplog.at_level(logging.WARNING):
            submitted = runner.run(chain.submit)
            landed = runner.run(chain.land)
        [record], manifest = records(folder), json.loads((folder / "hero.json").read_text())
        for told in (submitted.value, record, manifest, landed.value):
            assert (told["credits"], told["billed_credits"]) == (20, 60)
        assert noted(folder) == emulator.books.credits_charged == 60
        [warning] = [one.getMessage() for one in caplog.records if "PRICE" in one.getMessage()]
        assert "should cost 20 credits" in warning
        assert "lost 60" in warning

    def test_one_request_is_measured_with_two_looks_at_the_wallet(
        self, emulator: Emulator, build: Build
    ) -> None:
        assert Runner().run(build().submit).state == "success"
        # one more for the rate limit, where the connection does not say it
        assert emulator.books.wallet_calls <= 3
        assert emulator.books.posts_received == 1

    @pytest.mark.adds_up_not("the wallet does not answer, so it tells neither the start nor the price")
    @pytest.mark.parametrize("kind", ["refuse", "drop", "html", "bad-json", "rate-limited"])
    def test_one_request_is_none_the_worse_for_a_wallet_that_does_not_answer(
        self, kind: str, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        emulator.inject(kind, endpoint="wallet")
        assert Runner().run(build(num_images=2).submit).state == "success"
        [record] = records(folder)
        assert (record["credits"], record.get("billed_credits"), noted(folder)) == (20, None, 20)

    def test_one_request_gives_back_all_that_it_counted_when_it_is_refunded(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain, runner = (
            build(prompt="[fail]", num_images=2, land={"deferrable": deferrable, "retries": 0}),
            Runner(),
        )
        runner.run(chain.submit)
        assert noted(folder) == 60
        runner.run(chain.land)
        assert (noted(folder), emulator.books.credits_refunded) == (0, 60)

    def test_one_request_of_another_task_in_the_run_is_counted_at_what_was_billed(
        self, emulator: Emulator, build: Build
    ) -> None:
        runner, chain = Runner(), build(num_images=2)
        runner.run(chain.submit)
        runner.clear(chain.submit)
        refused = runner.run(build(prompt="another", num_images=2, max_credits_per_run=70).submit)
        assert isinstance(refused.error, SeedreamBudgetError)
        assert "60 credits are spent" in str(refused.error)
        assert emulator.books.credits_charged == 60


class TestABatch:
    def test_g16_spends_no_more_than_its_budget_at_the_price_that_was_seen(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        """Ten credits an image would be five rows of ten; at thirty it is one, and 300 credits were spent
        of 100.
        """
        outcome = Runner().run(batch(destination, 10, max_credits=100))
        assert (outcome.state, emulator.books.credits_charged, emulator.books.posts_received) == (
            "success",
            60,
            1,
        )
        assert (outcome.value["count"]["landed"], outcome.value["count"]["skipped_budget"]) == (1, 9)
        table = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        assert [(line["credits"], line["billed_credits"]) for line in table[:2]] == [(60, 60), (0, None)]
        assert outcome.value["credits"] == noted(folder) == 60

    def test_a_batch_prices_every_later_row_as_it_saw_the_first(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        outcome = Runner().run(batch(destination, 5, max_credits=200))
        assert (emulator.books.credits_charged, outcome.value["credits"], noted(folder)) == (180, 180, 180)
        assert outcome.value["count"]["skipped_budget"] == 2

    def test_a_batch_remembers_the_price_while_it_is_deferred(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        outcome = Runner().run(batch(destination, 5, max_credits=200, max_in_flight=1, deferrable=True))
        assert (outcome.state, emulator.books.credits_charged, outcome.value["count"]["landed"]) == (
            "success",
            180,
            3,
        )
        assert noted(folder) == 180
