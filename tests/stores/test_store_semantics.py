"""What the ledger and the landing build on, asked of every kind of store: file://, a real S3, GCS and
Azure.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any, TypeVar

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_seedream.cli.definition import main
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.storage import Folder
from tests.stores.servers import Place
from tests.unit.values import record

RACERS = 16
MEGABYTE = 1_000_000
Result = TypeVar("Result")


def race(act: Callable[[int], Result]) -> list[Result]:
    """Let all racers go at the same moment; what each of them got."""
    start = Barrier(RACERS)

    def run(racer: int) -> Result:
        start.wait()
        return act(racer)

    with ThreadPoolExecutor(RACERS) as racers:
        return list(racers.map(run, range(RACERS)))


def list_folder(folder: Folder) -> None:
    """List it as other code in a worker would, through Airflow's file system, which remembers the answer."""
    path = ObjectStoragePath(folder.base)
    assert path.fs.ls(path.path)


def somebody_else(folder: Folder) -> tuple[Any, str]:
    """A file system of their own for the same store, as another process has it, and the folder's path in
    it.
    """
    path = ObjectStoragePath(folder.base)
    theirs = type(path.fs)(*path.fs.storage_args, **path.fs.storage_options, skip_instance_cache=True)
    assert theirs is not path.fs
    return theirs, path.path.rstrip("/")


class TestCreate:
    def test_of_racing_creates_exactly_one_wins(self, store: Place) -> None:
        won = race(lambda racer: Folder(store.uri).create("ledger/key.json", b"racer %d" % racer))

        assert won.count(True) == 1
        assert Folder(store.uri).read("ledger/key.json") == b"racer %d" % won.index(True)

    def test_what_is_there_is_not_touched(self, store: Place) -> None:
        folder = Folder(store.uri)
        assert folder.create("key.json", b"first")

        assert not folder.create("key.json", b"second, and longer")
        assert folder.read("key.json") == b"first"

    def test_meeting_ones_own_file_again_is_a_win(self, store: Place) -> None:
        folder = Folder(store.uri)
        assert folder.create("key.json", b"mine")

        assert folder.create("key.json", b"mine"), "a client repeats a PUT whose answer was lost"

    def test_a_deleted_file_can_be_created_again(self, store: Place) -> None:
        folder = Folder(store.uri)
        folder.create("key.json", b"first")
        folder.delete("key.json")
        assert folder.read("key.json") is None

        assert folder.create("key.json", b"second")

    def test_an_unknown_bucket_is_an_error_and_never_a_claim(self, store: Place) -> None:
        if store.no_bucket_uri is None:
            pytest.skip("file:// makes its folders")
        with pytest.raises(Exception):  # noqa: B017 - of whatever class: each store has its own
            Folder(store.no_bucket_uri).create("key.json", b"claim")


class TestThePart:
    def test_the_part_of_the_store_in_paying_once_is_asked_for(
        self, store: Place, capfd: pytest.CaptureFixture[str]
    ) -> None:
        Folder(store.uri).check_exclusive()
        with pytest.raises(SystemExit) as ended:
            main(["check", store.uri, "--output", "json"])
        checks = {finding["check"]: finding for finding in json.loads(capfd.readouterr().out)["checks"]}
        unsaid = [finding for finding in checks.values() if finding["result"] != "ok"]
        assert (ended.value.code, unsaid) == (0, [])

    def test_the_part_of_its_clock_is_told(self, store: Place) -> None:
        folder, before = Folder(store.uri), time.time()
        assert folder.modified_at("none.json") is None
        folder.create("key.json", b"x")
        assert before - 2 <= (folder.modified_at("key.json") or 0) <= time.time() + 2


class TestReplaceIf:
    def test_of_racing_writers_that_saw_the_same_one_wins(self, store: Place) -> None:
        folder = Folder(store.uri)
        folder.check_exclusive()
        assert folder.swaps
        folder.create("record.json", b"seen")
        won = race(lambda racer: Folder(store.uri).replace_if("record.json", b"seen", b"racer %d" % racer))

        assert won.count(True) == 1
        assert Folder(store.uri).read("record.json") == b"racer %d" % won.index(True)

    def test_what_has_changed_since_is_not_touched(self, store: Place) -> None:
        folder = Folder(store.uri)
        folder.create("record.json", b"first")
        folder.replace("record.json", b"second")

        assert not folder.replace_if("record.json", b"first", b"third")
        assert not folder.replace_if("absent.json", b"first", b"third")
        assert (folder.read("record.json"), folder.read("absent.json")) == (b"second", None)

    def test_what_has_not_changed_is_replaced(self, store: Place) -> None:
        folder = Folder(store.uri)
        folder.create("record.json", b"first")
        assert folder.replace_if("record.json", b"first", b"second")
        assert folder.read("record.json") == b"second"

    def test_what_this_process_wrote_itself_is_replaced_unless_another_has_changed_it(
        self, store: Place
    ) -> None:
        folder = Folder(store.uri)
        folder.check_exclusive()
        assert folder.replaces_unread == store.uri.startswith(("s3://", "abfs://"))
        folder.create("record.json", b"first", remember=True)
        assert folder.replace_if("record.json", b"first", b"second")
        Folder(store.uri).replace("record.json", b"of another")
        assert not folder.replace_if("record.json", b"second", b"third")
        Folder(store.uri).delete("record.json")
        assert not folder.replace_if("record.json", b"second", b"third")
        assert folder.read("record.json") is None


class TestAClaimThatIsGivenBack:
    def test_of_racing_tries_one_takes_its_place(self, store: Place) -> None:
        ledger = Ledger(store.uri)
        ledger.check_store()
        assert ledger.claim(record(claim="first"))
        ledger.free(record(claim="first"))
        assert ledger.latest(record().key) is None
        won = race(lambda racer: Ledger(store.uri).claim(record(claim=f"racer {racer}")))
        assert won.count(True) == 1
        assert ledger.latest(record().key) == record(claim=f"racer {won.index(True)}")

    def test_a_try_that_opens_the_next_attempt_meanwhile_sees_it_or_is_found(self, store: Place) -> None:
        """Half of the racers give it back, the others open the next attempt, and look again before they
        would POST.
        """
        ledger = Ledger(store.uri)
        ledger.check_store()
        first, later = record(claim="first"), record(attempt=2, claim="later")
        ledger.claim(first)

        def does(racer: int) -> bool:
            mine = Ledger(store.uri)
            if racer % 2:
                mine.free(first)
                return False
            return mine.claim(later) and mine.attempts(first.key) == [first, later]

        is_paid = any(race(does))
        assert not is_paid or ledger.latest(first.key) == later


class TestReplace:
    def test_a_reader_sees_the_old_or_the_new_file_and_nothing_between(self, store: Place) -> None:
        versions = [bytes([letter]) * 4 * MEGABYTE for letter in b"ab"]
        folder, done = Folder(store.uri), Event()
        folder.replace("image.png", versions[0])

        def read_until_done() -> set[int]:
            seen = set()
            while not done.is_set():
                data = folder.read("image.png")
                seen.add(versions.index(data) if data in versions else -1)
            return seen

        with ThreadPoolExecutor(2) as readers:
            seen = [readers.submit(read_until_done) for _ in range(2)]
            for version in range(12):
                folder.replace("image.png", versions[version % 2])
            done.set()

        assert {version for each in seen for version in each.result()} <= {0, 1}

    def test_a_new_file_is_absent_until_it_is_whole(self, store: Place) -> None:
        image, folder, done = b"x" * 16 * MEGABYTE, Folder(store.uri), Event()

        def sizes_until_done() -> set[int | None]:
            seen = set()
            while not done.is_set():
                seen.add(folder.size_bytes("image.png"))
            return seen

        with ThreadPoolExecutor(1) as reader:
            seen = reader.submit(sizes_until_done)
            folder.replace("image.png", image)
            done.set()

        assert seen.result() <= {None, len(image)}
        assert folder.read("image.png") == image

    def test_many_threads_land_at_once(self, store: Place) -> None:
        folder = Folder(store.uri)
        images = {f"image_{racer}.png": bytes([ord("a") + racer]) * MEGABYTE for racer in range(RACERS)}

        race(lambda racer: folder.replace(f"image_{racer}.png", images[f"image_{racer}.png"]))

        assert {name: folder.read(name) for name in images} == images


class TestRead:
    @pytest.mark.stores
    def test_a_small_file_is_one_request(self, s3_store: Place, caplog: pytest.LogCaptureFixture) -> None:
        folder = Folder(s3_store.uri)
        folder.create("record.json", b"first")
        with caplog.at_level("DEBUG", logger="s3fs"):
            assert folder.read("record.json") == b"first"
        calls = [record.getMessage() for record in caplog.records if record.getMessage().startswith("CALL")]
        assert [call.split(" - ")[0] for call in calls] == ["CALL: get_object"]

    def test_what_is_not_there_is_none(self, store: Place) -> None:
        folder = Folder(store.uri)

        assert folder.read("key.json") is None
        assert folder.size_bytes("key.json") is None
        folder.delete("key.json")

    def test_what_may_not_be_read_is_an_error_and_never_none(self, store: Place) -> None:
        if store.kind != "file":
            Folder(store.uri).create("there.json", b"record")
        for name in ("there.json", "missing.json"):
            with pytest.raises(Exception) as refused:
                Folder(store.forbidden_uri).read(name)
            assert not isinstance(refused.value, FileNotFoundError)

    def test_what_may_not_be_written_is_an_error(self, store: Place) -> None:
        with pytest.raises(Exception) as refused:
            Folder(store.forbidden_uri).create("key.json", b"claim")
        assert not isinstance(refused.value, FileExistsError)

    def test_an_earlier_listing_does_not_answer_for_the_store(self, store: Place) -> None:
        folder = Folder(store.uri)
        folder.create("old.json", b"old")
        list_folder(folder)

        theirs, path = somebody_else(folder)
        theirs.pipe_file(f"{path}/new.json", b"new")
        theirs.rm_file(f"{path}/old.json")

        assert folder.read("new.json") == b"new"
        assert folder.size_bytes("new.json") == 3
        assert folder.read("old.json") is None
        assert folder.size_bytes("old.json") is None

    def test_a_listing_shows_what_is_there_now(self, store: Place) -> None:
        folder = Folder(store.uri)
        assert folder.list("spent/run") == []
        folder.create("spent/run/old", b"old")
        assert folder.list("spent/run") == ["old"]

        theirs, path = somebody_else(folder)
        theirs.pipe_file(f"{path}/spent/run/new", b"new")
        theirs.rm_file(f"{path}/spent/run/old")

        assert folder.list("spent/run") == ["new"]
        assert folder.list("spent") == ["run"]
        assert folder.list("spent/run/new") == []

    def test_another_threads_listing_does_not_answer_for_the_store(
        self, store: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It comes in right after the cache was emptied, and somebody spends right after it."""
        folder = Folder(store.uri)
        folder.create("spent/run/old", b"old")
        theirs, path = somebody_else(folder)
        ours = ObjectStoragePath(store.uri).fs
        invalidate, pending = ours.invalidate_cache, [True]

        def invalidate_and_be_overtaken(*args: Any) -> None:
            invalidate(*args)
            if pending:
                pending.clear()
                ours.ls(f"{path}/spent/run", detail=False)
                theirs.pipe_file(f"{path}/spent/run/new", b"new")

        monkeypatch.setattr(ours, "invalidate_cache", invalidate_and_be_overtaken)
        assert sorted(folder.list("spent/run")) == ["new", "old"]
        assert folder.size_bytes("spent/run/new") == 3

    def test_what_may_not_be_listed_is_an_error_and_never_nothing(self, store: Place) -> None:
        with pytest.raises(Exception) as refused:
            Folder(store.forbidden_uri).list("")
        assert not isinstance(refused.value, FileNotFoundError)

    def test_a_file_that_was_missing_is_found_once_somebody_made_it(self, store: Place) -> None:
        folder = Folder(store.uri)
        assert folder.read("late.json") is None
        assert folder.size_bytes("late.json") is None

        theirs, path = somebody_else(folder)
        theirs.makedirs(path, exist_ok=True)
        theirs.pipe_file(f"{path}/late.json", b"late")

        assert folder.read("late.json") == b"late"
        assert not folder.create("late.json", b"too late")

    @pytest.mark.parametrize("name", ["a/b/c.json", "watch #1, 100% ü?.png", "under_score-1.thumb.webp"])
    def test_names_are_kept_to_the_letter(self, store: Place, name: str) -> None:
        folder = Folder(store.uri)

        assert folder.create(name, b"data")
        assert folder.read(name) == b"data"
        assert folder.size_bytes(name) == 4

    def test_an_empty_file_is_not_a_missing_one(self, store: Place) -> None:
        folder = Folder(store.uri)
        folder.replace("empty.json", b"")

        assert folder.read("empty.json") == b""
