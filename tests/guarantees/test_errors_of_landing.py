"""G9, G14: an error while landing says that the generation is paid for, and which it is, whoever raised it."""

from __future__ import annotations

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamAuthenticationError, SeedreamError, SeedreamServerError
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.sensors.closing import land_generation
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build

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
