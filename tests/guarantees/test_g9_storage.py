"""G9: images are whole and published once, the manifest last; whatever the storage does, and whoever else
lands as well.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_seedream.emulator import Emulator
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Build, images
from tests.guarantees.faulty_storage import FOLDER, FaultyFileSystem, StoreError, faulty_storage
from tests.guarantees.landing_process import TaskProcess
from tests.guarantees.whole import assert_whole, read_files, the_manifest

FOUR = {"num_images": 4, "name": "hero"}
ERRORS = [
    PermissionError(errno.EACCES, "403 Forbidden"),
    StoreError("500 Internal Error"),
    OSError(errno.ENOSPC, "no space left"),
]


@pytest.fixture
def store() -> Iterator[FaultyFileSystem]:
    """An object store behind `memory://`, healthy until told otherwise."""
    store = faulty_storage()
    yield store
    store.empty()


def stored(store: FaultyFileSystem) -> dict[str, bytes]:
    """The files of the folder by name, the ledger's left out."""
    files = {
        path.rpartition("/")[2]: data for path, data in store.files().items() if "/_seedream/" not in path
    }
    return dict(sorted(files.items()))


@pytest.fixture
def tls() -> bool:
    """Users speak https, so this guarantee is shown over it."""
    return True


class TestAStoreThatFails:
    @pytest.mark.parametrize(("k", "error"), list(enumerate(ERRORS, 1)), ids=["403", "500", "full"])
    def test_at_image_k_it_fails_the_try_and_the_retry_lands_exactly_n(
        self,
        emulator: Emulator,
        build: Build,
        store: FaultyFileSystem,
        deferrable: bool,
        k: int,
        error: Exception,
    ) -> None:
        chain = build(destination=FOLDER, submit=FOUR, land={"deferrable": deferrable, "retries": 1})
        runner = Runner()
        runner.run(chain.submit)
        store.fail("write", f"hero_{k}.png", error)
        first = runner.run(chain.land, until="up_for_retry")
        assert (first.state, type(first.error).__name__) == ("up_for_retry", "SeedreamLandingError")
        assert f"hero_{k}.png" not in stored(store)
        assert "hero.json" not in stored(store)
        assert_whole(stored(store))

        store.heal()
        outcome = runner.run(chain.land)
        assert (outcome.state, len(outcome.value["images"])) == ("success", 4)
        assert the_manifest(stored(store))["images_landed"] == 4
        assert len([name for name in stored(store) if name.endswith(".png") and ".thumb." not in name]) == 4
        assert emulator.books.posts == 1

    def test_a_lost_answer_to_a_write_is_no_failure(
        self, emulator: Emulator, build: Build, store: FaultyFileSystem, deferrable: bool
    ) -> None:
        chain = build(destination=FOLDER, submit=FOUR, land={"deferrable": deferrable})
        store.fail("write", "hero", StoreError("the answer was lost"), late=True)
        runner = Runner()
        runner.run(chain.submit)
        outcome = runner.run(chain.land)
        assert (outcome.state, outcome.tries, emulator.books.downloads) == ("success", 1, 4)
        assert the_manifest(stored(store))["images_landed"] == 4

    @pytest.mark.parametrize("error", ERRORS, ids=["403", "500", "full"])
    def test_without_a_manifest_nothing_counts_as_landed(
        self, emulator: Emulator, build: Build, store: FaultyFileSystem, deferrable: bool, error: Exception
    ) -> None:
        chain = build(destination=FOLDER, submit=FOUR, land={"deferrable": deferrable, "retries": 1})
        runner = Runner()
        task_id = runner.run(chain.submit).value["seedream_task_id"]
        store.fail("write", "watches/hero.json", error)
        first = runner.run(chain.land, until="up_for_retry")
        assert (first.state, type(first.error).__name__) == ("up_for_retry", "SeedreamLandingError")
        assert "hero.json could not be" in str(first.error)
        assert "Paid: yes. A retry lands again for free." in str(first.error)
        assert f"Seedream task id: {task_id}." in str(first.error)
        images_before = stored(store)
        store.heal()
        assert runner.run(chain.land).state == "success"
        assert {name: data for name, data in stored(store).items() if name != "hero.json"} == images_before
        assert (the_manifest(stored(store))["images_landed"], emulator.books.posts) == (4, 1)

    @pytest.mark.parametrize("error", ERRORS[:2], ids=["403", "500"])
    def test_one_that_cannot_be_read_is_not_an_empty_one(
        self, emulator: Emulator, build: Build, store: FaultyFileSystem, deferrable: bool, error: Exception
    ) -> None:
        chain = build(destination=FOLDER, submit=FOUR, land={"deferrable": deferrable, "retries": 1})
        runner = Runner()
        runner.run_dag(chain.dag)
        downloads, files = emulator.books.downloads, stored(store)
        store.fail("read", "watches/hero", error)
        runner.clear(chain.land)
        first = runner.run(chain.land, until="up_for_retry")
        assert (first.state, type(first.error).__name__) == ("up_for_retry", "SeedreamLandingError")
        store.heal()
        assert runner.run(chain.land).state == "success"
        assert (emulator.books.downloads, stored(store)) == (downloads, files)

    def test_a_folder_in_the_way_of_image_k_leaves_no_temporary_file(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = build(submit=FOUR, land={"deferrable": deferrable, "retries": 1})
        runner = Runner()
        runner.run(chain.submit)
        (folder / "hero_2.png").mkdir()
        assert runner.run(chain.land, until="up_for_retry").state == "up_for_retry"
        assert_whole(read_files(folder))
        assert "hero.json" not in read_files(folder)
        (folder / "hero_2.png").rmdir()
        assert runner.run(chain.land).state == "success"
        assert the_manifest(read_files(folder))["images_landed"] == 4


class TestWhatIsThereIsNeverOverwritten:
    def test_a_foreign_file_under_an_images_name_stays_as_it_is(
        self, emulator: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        chain = build(submit=FOUR, land={"deferrable": deferrable})
        (folder / "hero_2.png").parent.mkdir(parents=True)
        (folder / "hero_2.png").write_bytes(b"a holiday picture")
        outcome = Runner().run_dag(chain.dag)["land"]
        assert (outcome.state, type(outcome.error).__name__) == ("failed", "SeedreamLandingError")  # type: ignore[union-attr]
        assert "hero_2.png" in str(outcome.error)  # type: ignore[union-attr]
        assert (folder / "hero_2.png").read_bytes() == b"a holiday picture"
        assert not (folder / "hero.json").exists()

    def test_a_damaged_image_is_not_taken_for_landed(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        chain = build(submit=FOUR)
        runner = Runner()
        runner.run_dag(chain.dag)
        (folder / "hero_3.png").unlink()
        runner.clear(chain.land)
        assert runner.run(chain.land).state == "success"
        assert the_manifest(read_files(folder))["images_landed"] == 4


class TestTwoAttemptsAtOnce:
    @pytest.mark.slow
    def test_two_processes_landing_one_generation_both_succeed_and_leave_one_set(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        chain = build(prompt="a watch [drip:1]", submit=FOUR)
        generation = Runner().run(chain.submit).value
        arguments = {"generation": generation, "poke_interval": 0.05, "timeout": 30}
        both = [TaskProcess("land", arguments), TaskProcess("land", arguments)]
        for process in both:
            process.ready()
        for process in both:
            process.go()
        reports = [process.report() for process in both]

        assert [report["state"] for report in reports] == ["success", "success"], reports
        assert emulator.books.downloads == 8  # both really were at it
        assert images(folder) == [f"hero_{number}.png" for number in range(1, 5)]
        assert the_manifest(read_files(folder))["images_landed"] == 4
        assert reports[0]["value"] == reports[1]["value"]
        assert emulator.books.posts == 1
