"""G9, G14: an error while landing says that the generation is paid for, and which it is, whoever raised it."""

from __future__ import annotations

import math

import pytest

from airflow_provider_seedream.batch.progress import InFlight
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamAuthenticationError, SeedreamError, SeedreamServerError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.operators.attending import Attendant
from airflow_provider_seedream.polling import Rules
from airflow_provider_seedream.sensors.closing import land_generation
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build
from tests.guarantees.faulty_storage import ERRORS, FOLDER, faulty_storage

LANDED_BY = {"dag_id": "d", "run_id": "r", "task_id": "land", "map_index": -1, "try_number": 1}


class TestAnErrorOfTheApiWhileLanding:
    @pytest.mark.parametrize(("status", "error_class"), [(503, SeedreamServerError), (401, SeedreamAuthenticationError)])
    def test_says_that_it_is_paid_and_names_id_and_record(
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


class TestAStoreThatStumblesAtAFileOfABatch:
    """One row of many: it is landed again, as the others go on."""

    @pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
    @pytest.mark.parametrize("file", ["watches/hero_1.png", "watches/hero.json"], ids=["image", "manifest"])
    def test_costs_that_row_one_landing_and_never_the_try(
        self, emulator: Emulator, build: Build, file: str, error: Exception
    ) -> None:
        emulator.configure(seconds_per_image=0.0, late_assets_seconds=0.0, quirks=False)
        store = faulty_storage()
        generation = Generation.from_dict(Runner().run(build(destination=FOLDER, name="hero").submit).value)
        entry = InFlight(
            number=1, columns={}, generation=generation, credits=10, may_have_landed=False, due_epoch=0, deadline_epoch=math.inf
        )
        store.fail("write", file, error, times=1)
        hook, rules = SeedreamHook(), Rules(deadline_epoch=math.inf, poke_interval_seconds=None, num_images=None)
        with hook.downloads(max_bytes=1_000_000) as downloads:
            attendant = Attendant(hook, downloads, rules, landed_by=LANDED_BY, embed_metadata=False)
            stumbled = attendant.attend(entry)
            again = attendant.attend(stumbled.entry)
        assert (stumbled.manifest, stumbled.error, stumbled.entry.landings) == (None, None, 1)
        assert again.manifest is not None and len(again.manifest.images) == 1
        assert emulator.books.posts == 1
