"""G9, G14: an error while landing says that the generation is paid for, and which it is, whoever raised
it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.batch.attending import Attendant
from airflow_provider_seedream.batch.progress import InFlight
from airflow_provider_seedream.batch.row_outcomes import ended_row
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import (
    SeedreamAuthenticationError,
    SeedreamError,
    SeedreamInputError,
    SeedreamServerError,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.finish import land_generation
from airflow_provider_seedream.model.clock import to_epoch, to_iso
from airflow_provider_seedream.model.commands import program
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.polling.policy import PollPolicy
from tests.airflow.deferral import first_event
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.conftest import Build, Connect
from tests.guarantees.faulty_storage import ERRORS, FOLDER, faulty_storage
from tests.guarantees.woken import Woken

LANDED_BY = TaskRef(dag_id="d", run_id="r", task_id="land", map_index=-1, try_number=1)


@pytest.fixture
def keyless(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Takes the key out of the connection."""

    def keyless() -> None:
        connection = json.loads(os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"]) | {"password": ""}
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))

    return keyless


def row_of(generation: Generation) -> InFlight:
    """The row of a batch that waits for this generation, and is due."""
    return InFlight(
        number=1,
        columns={},
        generation=generation,
        credits=10,
        may_have_landed=False,
        due_epoch=0.0,
        deadline_epoch=math.inf,
    )


class TestAnErrorOfTheApiWhileLanding:
    @pytest.mark.parametrize(
        ("status", "error_class"), [(503, SeedreamServerError), (401, SeedreamAuthenticationError)]
    )
    def test_an_error_of_the_api_while_landing_says_that_it_is_paid_and_names_id_and_record(
        self, emulator: Emulator, build: Build, status: int, error_class: type[SeedreamError]
    ) -> None:
        generation = Generation.from_dict(Runner().run(build().submit).value)
        emulator.inject("refuse", endpoint="status", status=status)
        hook = SeedreamHook(max_attempts=2)
        with hook.downloads(max_bytes=1_000_000) as downloads, pytest.raises(error_class) as caught:
            land_generation(generation, hook, downloads, landed_by=LANDED_BY)
        assert caught.value.paid == "yes"
        assert generation.seedream_task_id in str(caught.value)
        assert str(generation.record) in str(caught.value)


class TestADownloadThatFailsForGood:
    @pytest.mark.parametrize("kind", ["expired-link", "not-an-image", "redirect"])
    def test_a_download_that_fails_for_good_says_until_when_the_results_are_kept_and_how_to_land_them(
        self, emulator: Emulator, build: Build, deferrable: bool, kind: str
    ) -> None:
        runner, chain = Runner(), build(land={"deferrable": deferrable, "retries": 0})
        generation = Generation.from_dict(runner.run(chain.submit).value)
        emulator.inject(kind, endpoint="download")
        said = str(runner.run(chain.land).error)
        kept_until = to_iso(float(to_epoch(generation.created_at) or 0) + 24 * 3600)
        assert f"The API keeps the images until {kept_until}" in said
        assert f"`{program()} land {generation.seedream_task_id} {generation.destination}`" in said
        assert ("answered 403 to a download, although the API gave a fresh link just now" in said) == (
            kind == "expired-link"
        )

    def test_a_download_that_fails_for_good_says_so_in_the_row_of_a_batch(
        self, emulator: Emulator, build: Build
    ) -> None:
        generation = Generation.from_dict(Runner().run(build().submit).value)
        emulator.clock.advance(60)
        emulator.inject("expired-link", endpoint="download")
        entry = replace(row_of(generation), landings=2)
        rules = PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=1.0, num_images=None)
        hook = SeedreamHook()
        with hook.downloads(max_bytes=1_000_000) as downloads:
            error = (
                Attendant(hook, downloads, rules, landed_by=LANDED_BY, embed_metadata=False)
                .attend(entry)
                .error
            )
        assert error is not None
        row = ended_row(1, error, name=None, price=10, columns={})
        assert (row.status, row.paid) == ("failed", "yes")
        assert f"`{program()} land {generation.seedream_task_id} " in str(row.detail)


class TestAConnectionThatLostItsKey:
    """No outage that ends by itself: it is said at once, and that there is something paid."""

    def assert_said(self, outcome: Outcome, task_id: str) -> None:
        assert (outcome.state, outcome.tries, type(outcome.error).__name__) == (
            "failed",
            1,
            "SeedreamInputError",
        )
        assert "has no password" in str(outcome.error)
        assert "Paid: yes." in str(outcome.error)
        assert task_id in str(outcome.error)

    def test_a_connection_that_lost_its_key_fails_a_wait_before_its_first_poll(
        self, build: Build, keyless: Callable[[], None], deferrable: bool
    ) -> None:
        runner, chain = Runner(), build(land={"deferrable": deferrable, "retries": 3})
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        keyless()
        self.assert_said(runner.run(chain.land), task_id)

    @pytest.mark.parametrize(
        "prompt", ["a watch [never-ends]", "a watch [takes:30]"], ids=["waiting", "ready"]
    )
    def test_a_connection_that_lost_its_key_fails_a_deferred_wait_that_is_under_way(
        self, emulator: Emulator, build: Build, keyless: Callable[[], None], prompt: str
    ) -> None:
        runner, chain = Runner(), build(prompt=prompt, land={"deferrable": True, "retries": 3})
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        assert runner.run(chain.land, until="deferred").state == "deferred"
        emulator.clock.advance(60)
        keyless()
        self.assert_said(runner.run(chain.land), task_id)

    def test_a_connection_that_lost_its_key_between_the_trigger_and_the_landing_fails_the_wait_as_well(
        self, emulator: Emulator, build: Build, keyless: Callable[[], None]
    ) -> None:
        runner, chain = Runner(), build(land={"deferrable": True, "retries": 3})
        generation = runner.run(chain.submit).value
        runner.run(chain.land, until="deferred")
        event = asyncio.run(first_event(runner.deferral(chain.land).trigger())).payload
        assert event["outcome"] == "done"
        keyless()
        with pytest.raises(SeedreamInputError, match=r"has no password.* Paid: yes\."):
            chain.land.resume_landing({}, event, generation)

    def test_a_connection_that_lost_its_key_fails_a_batch_that_has_rows_in_flight(
        self, emulator: Emulator, connect: Connect, destination: str, keyless: Callable[[], None]
    ) -> None:
        connect(emulator, requests_per_minute=100_000)
        options: dict[str, Any] = {
            "destination": destination,
            "deferrable": True,
            "poke_interval": 30,
            "retries": 3,
        }
        with DAG("guarantees", schedule=None):
            batch = SeedreamBatchOperator(
                task_id="batch", requests=[{"prompt": "a watch [never-ends]"}], **options
            )
        runner = Woken()
        assert runner.run(batch, until="deferred").state == "deferred"
        [paid] = emulator.books.submissions
        keyless()
        self.assert_said(runner.run(batch), paid.seedream_task_id)

    def test_a_connection_that_lost_its_key_is_no_end_of_a_row(
        self, emulator: Emulator, build: Build, keyless: Callable[[], None]
    ) -> None:
        """It is not that row's error: it would be called invalid, and unpaid."""
        generation = Generation.from_dict(Runner().run(build().submit).value)
        entry = row_of(generation)
        rules = PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=None, num_images=None)
        with SeedreamHook().downloads(max_bytes=1_000_000) as downloads:
            keyless()
            attendant = Attendant(SeedreamHook(), downloads, rules, landed_by=LANDED_BY, embed_metadata=False)
            with pytest.raises(SeedreamInputError) as raised:
                attendant.attend(entry)
        assert (raised.value.paid, raised.value.seedream_task_id) == ("yes", generation.seedream_task_id)


class TestAStoreThatStumblesAtAFileOfABatch:
    """One row of many: it is landed again, as the others go on."""

    @pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
    @pytest.mark.parametrize("file", ["watches/hero_1.png", "watches/hero.json"], ids=["image", "manifest"])
    def test_a_store_that_stumbles_at_a_file_of_a_batch_costs_that_row_one_landing_and_never_the_try(
        self, emulator: Emulator, build: Build, file: str, error: Exception
    ) -> None:
        emulator.configure(seconds_per_image=0.0, late_assets_seconds=0.0, quirks=False)
        store = faulty_storage()
        generation = Generation.from_dict(Runner().run(build(destination=FOLDER, name="hero").submit).value)
        entry = row_of(generation)
        store.fail("write", file, error, times=1)
        hook, rules = (
            SeedreamHook(),
            PollPolicy(deadline_epoch=math.inf, poke_interval_seconds=None, num_images=None),
        )
        with hook.downloads(max_bytes=1_000_000) as downloads:
            attendant = Attendant(hook, downloads, rules, landed_by=LANDED_BY, embed_metadata=False)
            stumbled = attendant.attend(entry)
            again = attendant.attend(stumbled.entry)
        assert (stumbled.manifest, stumbled.error, stumbled.entry.landings) == (None, None, 1)
        assert again.manifest is not None and len(again.manifest.images) == 1
        assert emulator.books.posts == 1
