"""The whole job on every store: submitted, recorded, landed, landed again, and by two attempts at once.

The server counts the POSTs and the downloads; what lies in the store is read back through Airflow's own path.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import DAG, ObjectStoragePath

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.finish import land_generation
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.submit import Request, Submitter
from airflow_provider_seedream.model.submissions import build_submission
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Runner
from tests.stores.servers import Place

NUM_IMAGES = 3
LANDED_BY = TaskRef(dag_id="d", run_id="r", task_id="land", map_index=-1, try_number=1)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(Settings.fast()) as running:
        monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", running.airflow_connection_json())
        yield running


def submitting(store: Place, **more: Any) -> SeedreamGenerateOperator:
    with DAG("stores", schedule=None):
        return SeedreamGenerateOperator(
            task_id="submit",
            prompt="a watch",
            num_images=NUM_IMAGES,
            destination=store.uri,
            name="hero",
            **more,
        )


def landing(generation: Any) -> SeedreamGenerationSensor:
    with DAG("stores", schedule=None):
        return SeedreamGenerationSensor(task_id="land", generation=generation, poke_interval=0.1, timeout=60)


def read(uri: str) -> bytes:
    path = ObjectStoragePath(uri)
    data: bytes = path.fs.cat_file(path.path)
    return data


class TestTheWholeJob:
    def test_the_whole_job_lands_what_the_manifest_says_and_is_paid_once(
        self, emulator: Emulator, store: Place
    ) -> None:
        runner = Runner()
        generation = runner.run(submitting(store)).value
        land = landing(generation)
        landed = runner.run(land).value
        assert len(landed["images"]) == NUM_IMAGES
        assert [hashlib.sha256(read(image["uri"])).hexdigest() for image in landed["images"]] == [
            image["sha256"] for image in landed["images"]
        ]
        assert json.loads(read(landed["manifest"]))["submission"]["prompt"] == "a watch"
        assert json.loads(read(generation["record"]))["outcome"] == "landed"
        assert emulator.books.posts == 1

    def test_done_again_it_pays_nothing_and_downloads_nothing(self, emulator: Emulator, store: Place) -> None:
        runner = Runner()
        submit = submitting(store)
        generation = runner.run(submit).value
        land = landing(generation)
        first = runner.run(land).value
        downloads = emulator.books.downloads
        for task in (submit, land):
            runner.clear(task)
        assert runner.run(submit).value == generation
        assert runner.run(land).value == first
        assert (emulator.books.posts, emulator.books.downloads) == (1, downloads)

    def test_landed_images_are_sources_of_an_edit(self, emulator: Emulator, store: Place) -> None:
        runner = Runner()
        landed = runner.run(landing(runner.run(submitting(store)).value)).value
        with DAG("stores", schedule=None):
            edit = SeedreamEditOperator(
                task_id="edit", prompt="at night", images=landed, destination=store.uri, name="night"
            )
        record = json.loads(read(runner.run(edit).value["record"]))
        assert [source["sha256"] for source in record["submission"]["sources"]] == [
            image["sha256"] for image in landed["images"]
        ]


class TestAtTheSameTime:
    def test_equal_requests_pay_once(self, emulator: Emulator, store: Place) -> None:
        """Two processes would be no different: what decides is the store's exclusive create."""
        submission = build_submission(
            kind="generate",
            prompt="a watch",
            image_size="square",
            num_images=1,
            seed=None,
            enable_safety_checker=True,
            take=1,
        )
        request = Request(submission=submission, destination=store.uri, name="hero", made_by=LANDED_BY)

        def submit() -> str:
            return Submitter(SeedreamHook(), Ledger(store.uri), "fail").submit(request).seedream_task_id

        assert len(set(in_threads(4, submit))) == 1
        assert emulator.books.posts == 1

    def test_two_landings_leave_one_set_of_images(self, emulator: Emulator, store: Place) -> None:
        generation = Generation.from_dict(Runner().run(submitting(store)).value)
        emulator.clock.advance(3600)  # long enough for any job

        def land() -> str:
            hook = SeedreamHook()
            return (
                land_generation(generation, hook, hook.downloads(max_bytes=10_000_000), landed_by=LANDED_BY)
                .to_json()
                .decode()
            )

        manifests = in_threads(2, land)
        assert manifests[0] == manifests[1]
        folder = ObjectStoragePath(store.uri)
        images = [
            name for name in folder.fs.find(folder.path) if name.endswith(".png") and ".thumb." not in name
        ]
        assert len(images) == NUM_IMAGES


class TestAStoreThatSaysNo:
    def test_a_store_that_says_no_pays_nothing(self, emulator: Emulator, store: Place) -> None:
        with DAG("stores", schedule=None):
            submit = SeedreamGenerateOperator(
                task_id="submit", prompt="a watch", destination=store.forbidden_uri
            )
        assert Runner().run(submit).state == "failed"
        assert emulator.books.posts_received == 0


def in_threads(count: int, work: Any) -> list[Any]:
    """The values of `work`, run in so many threads at once."""
    barrier, values = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        values.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return values
