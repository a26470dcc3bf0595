"""One folder: created once, replaced in one step, and in doubt an error."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from fsspec import AbstractFileSystem

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.storage.exclusive import NotExclusiveError
from airflow_provider_seedream.storage.folder import Folder
from airflow_provider_seedream.storage.uris import check_destination, place_of
from tests.unit.stores import (
    Deaf,
    ObjectStore,
    StoreError,
    Trouble,
    answer_lost,
    attached_store,
    done,
    forbidden,
    refused,
    repeated,
)

RACERS = 16


class TestDestinations:
    @pytest.mark.parametrize(
        ("uri", "other"),
        [
            ("s3a://one@bucket/a/", "s3://bucket/a"),
            ("file:///data/a", "/data/a/"),
            ("gcs://bucket/a", "gs://two@bucket/a"),
        ],
    )
    def test_a_place_has_one_name_by_whatever_connection_it_is_reached(self, uri: str, other: str) -> None:
        assert place_of(uri) == place_of(other) != place_of("ftp://bucket/a")

    @pytest.mark.parametrize(
        ("uri", "read_as"),
        [
            ("s3://conn@bucket/a/", "s3://conn@bucket/a"),
            (" gs://bucket ", "gs://bucket"),
            ("file:///data/out", "file:///data/out"),
            ("/data/out//", "/data/out"),
            ("abfs://c@account/a b/ü..x", "abfs://c@account/a b/ü..x"),
            ("s3://c@bucket/watch #1/100%", "s3://c@bucket/watch #1/100%"),
            ("/data/#1/x", "/data/#1/x"),
        ],
    )
    def test_a_storage_uri_or_an_absolute_path_is_taken(self, uri: str, read_as: str) -> None:
        assert check_destination(uri) == read_as

    @pytest.mark.parametrize(
        "uri",
        [
            None,
            "",
            "  ",
            7,
            "out",
            "./out",
            "file://out",
            "https://bucket/x",
            "http://x",
            "data:text/plain,x",
            "s3://b/../x",
            "s3://b/x?y=1",
            "/a/..",
            "s3://b/a#b/../../other",
            "/data/#/../x",
            "s3://c@b/a#b?y=1",
            "s3://b/x#",
            "s3://b/x#/",
            "s3://b/x?",
            "s3://b/x?/",
            "/data/x#",
            "file://host/data",
        ],
    )
    def test_what_cannot_keep_images_is_refused(self, uri: Any) -> None:
        with pytest.raises(SeedreamInputError, match="destination"):
            check_destination(uri)


class TestAnyStorage:
    def test_a_created_file_is_there_and_is_not_created_twice(self, destination: str) -> None:
        folder = Folder(destination)
        assert folder.create("a/b.json", b"one")
        assert not folder.create("a/b.json", b"two")
        assert folder.read("a/b.json") == b"one"

    def test_of_racing_writers_one_wins(self, destination: str) -> None:
        start = Barrier(RACERS)

        def race(number: int) -> bool:
            folder = Folder(destination)
            start.wait()
            return folder.create("claim.json", b"%d" % number)

        with ThreadPoolExecutor(RACERS) as pool:
            won = list(pool.map(race, range(RACERS)))
        assert won.count(True) == 1
        assert Folder(destination).read("claim.json") == b"%d" % won.index(True)

    def test_the_same_bytes_again_count_as_created(self, destination: str) -> None:
        folder = Folder(destination)
        assert [folder.create("a.png", b"same") for _ in range(2)] == [True, True]

    def test_replacing_needs_no_file_before(self, destination: str) -> None:
        folder = Folder(destination)
        for content in (b"one", b"two"):
            folder.replace("a/b.json", content)
            assert folder.read("a/b.json") == content

    def test_what_surely_is_not_there_is_none(self, destination: str) -> None:
        folder = Folder(destination)
        assert folder.read("none.json") is None
        assert folder.size_bytes("none.json") is None

    def test_a_size_is_known_without_reading(self, destination: str) -> None:
        folder = Folder(destination)
        folder.create("a.png", b"12345")
        assert folder.size_bytes("a.png") == 5

    def test_a_folder_is_listed_by_bare_names(self, destination: str) -> None:
        folder = Folder(destination)
        for name in ("a/b.1", "a/c#2", "a/d/e", "ab/x"):
            folder.create(name, b"x")
        assert sorted(folder.list("a")) == ["b.1", "c#2", "d"]
        assert folder.list("a/d") == ["e"]

    def test_a_folder_that_is_not_there_or_is_a_file_has_nothing_in_it(self, destination: str) -> None:
        folder = Folder(destination)
        assert folder.list("none") == []
        folder.create("a/b", b"x")
        assert folder.list("a/b") == []
        folder.delete("a/b")
        assert folder.list("a") == []

    def test_deleting_twice_is_no_error(self, destination: str) -> None:
        folder = Folder(destination)
        folder.create("a.json", b"x")
        for _ in range(2):
            folder.delete("a.json")
        assert folder.read("a.json") is None

    @pytest.mark.parametrize("name", ["a b.json", "ü.json", "a#b.json", "100%.json", "[x].json", "a*b.json"])
    def test_a_name_means_itself(self, destination: str, name: str) -> None:
        folder = Folder(destination)
        folder.create(name, b"x")
        assert folder.read(name) == b"x"
        assert folder.read("axb.json") is None

    def test_a_uri_names_a_file_under_the_folder(self, destination: str) -> None:
        assert Folder(f"{destination}/").uri("a/b.json") == f"{destination}/a/b.json"


class TestADisk:
    def test_nothing_but_finished_files_is_left(self, tmp_path: Path) -> None:
        folder = Folder(f"file://{tmp_path}")
        folder.create("a.json", b"one")
        folder.create("a.json", b"two")
        folder.replace("a.json", b"three")
        assert os.listdir(tmp_path) == ["a.json"]

    def test_a_plain_path_is_a_folder_too(self, tmp_path: Path) -> None:
        Folder(str(tmp_path)).create("a.json", b"one")
        assert (tmp_path / "a.json").read_bytes() == b"one"

    def test_an_empty_file_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").touch()
        assert Folder(str(tmp_path)).read("a.json") == b""

    def test_a_directory_in_the_way_is_an_error_and_not_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").mkdir()
        with pytest.raises(OSError):
            Folder(str(tmp_path)).read("a.json")
        with pytest.raises(OSError):
            Folder(str(tmp_path)).create("a.json", b"x")

    def test_a_failed_write_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").mkdir()
        with pytest.raises(OSError):
            Folder(str(tmp_path)).replace("a.json", b"x")
        assert os.listdir(tmp_path) == ["a.json"]


class TestADiskWithoutHardLinks:
    """SMB shares and others: what a link says there, Linux's exclusive rename does."""

    @pytest.fixture(autouse=True, params=[errno.EPERM, errno.EOPNOTSUPP, errno.EIO])
    def no_links(self, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
        def link(*_: Any, **__: Any) -> None:
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(os, "link", link)

    def test_of_racing_writers_one_wins_and_nothing_else_is_left(self, tmp_path: Path) -> None:
        start = Barrier(RACERS)

        def race(number: int) -> bool:
            start.wait()
            return Folder(str(tmp_path)).create("claim.json", b"%d" % number)

        with ThreadPoolExecutor(RACERS) as pool:
            won = list(pool.map(race, range(RACERS)))
        assert won.count(True) == 1
        assert (tmp_path / "claim.json").read_bytes() == b"%d" % won.index(True)
        assert os.listdir(tmp_path) == ["claim.json"]


def test_a_link_that_fails_for_another_reason_is_that_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="No space left"):
        Folder(str(tmp_path)).create("claim.json", b"x")


class Silent(ObjectStore):
    """Says yes to the second create, and keeps the first's bytes."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> Any:
        with suppress(FileExistsError):
            super().pipe_file(path, value, mode=mode, **options)


class ChecksThenWrites(ObjectStore):
    """Has no way of its own to create a file: SMB, WebHDFS and others."""

    pipe_file = AbstractFileSystem.pipe_file


class TestWhetherAStoreCanKeepTheLedger:
    def test_it_is_asked_once_for_each_destination(self) -> None:
        uri, store = attached_store()
        for destination in (uri, uri, f"{uri}/other"):
            Folder(destination).check_exclusive()
        assert store.calls == ["pipe", "pipe", "cat", "rm"] * 2
        assert not list(store.store), "nothing of it stays"

    def test_sixteen_threads_ask_once(self) -> None:
        uri, store = attached_store()
        with ThreadPoolExecutor(RACERS) as pool:
            list(pool.map(lambda _: Folder(uri).check_exclusive(), range(RACERS)))
        assert store.calls == ["pipe", "pipe", "cat", "rm"]

    @pytest.mark.parametrize("kind", [Deaf, Silent, ChecksThenWrites])
    def test_one_that_lets_two_creates_win_is_refused_every_time_and_kept_clean(
        self, kind: type[ObjectStore]
    ) -> None:
        uri, store = attached_store(kind())
        for _ in range(2):
            with pytest.raises(
                NotExclusiveError,
                match=r"two workers could both pay.*Amazon S3.*airflow_provider_seedream check",
            ):
                Folder(uri).check_exclusive()
        assert not list(store.store)

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSYS, "A header you provided"),
            NotImplementedError(),
            TypeError("unexpected keyword argument 'mode'"),
        ],
    )
    def test_one_without_conditional_writes_says_so(self, error: Exception) -> None:
        def unsupported(_: Any) -> None:
            raise error

        uri, store = attached_store()
        store.trouble("pipe", unsupported)
        with pytest.raises(NotExclusiveError, match="no conditional writes"):
            Folder(uri).check_exclusive()

    @pytest.mark.parametrize("trouble", [refused, answer_lost])
    def test_an_error_of_the_moment_is_not_taken_for_a_refusal(self, trouble: Trouble) -> None:
        uri, store = attached_store(Deaf())
        store.trouble("pipe", lambda act: act(), trouble)
        with pytest.raises(NotExclusiveError, match="two workers could both pay"):
            Folder(uri).check_exclusive()
        assert not list(store.store)

    @pytest.mark.parametrize("operation", ["pipe", "cat"])
    def test_one_that_does_not_answer_is_asked_again(self, operation: str) -> None:
        uri, store = attached_store()
        store.trouble(operation, refused)
        with pytest.raises(StoreError):
            Folder(uri).check_exclusive()
        Folder(uri).check_exclusive()

    def test_a_probe_that_may_not_be_deleted_is_said_and_stops_nobody(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        uri, store = attached_store()
        store.trouble("rm", refused)
        Folder(uri).check_exclusive()
        assert "May this connection delete files?" in caplog.text

    def test_a_disk_is_not_asked(self, tmp_path: Path) -> None:
        Folder(str(tmp_path)).check_exclusive()
        assert not os.listdir(tmp_path)


class TestAnObjectStore:
    def test_it_says_when_a_file_was_written(self, destination: str) -> None:
        folder = Folder(destination)
        assert folder.modified_at("a.json") is None
        before = time.time()
        folder.create("a.json", b"x")
        assert before - 1 <= (folder.modified_at("a.json") or 0) <= time.time() + 1

    def test_a_put_that_was_repeated_by_the_stores_client_is_ours(self) -> None:
        uri, store = attached_store()
        store.trouble("pipe", repeated)
        assert Folder(uri).create("claim.json", b"my token")

    def test_a_put_whose_answer_was_lost_is_ours(self) -> None:
        uri, store = attached_store()
        store.trouble("pipe", answer_lost)
        assert Folder(uri).create("claim.json", b"my token")

    def test_a_put_that_was_refused_is_an_error(self) -> None:
        uri, store = attached_store()
        store.trouble("pipe", refused)
        with pytest.raises(StoreError):
            Folder(uri).create("claim.json", b"x")
        assert Folder(uri).read("claim.json") is None

    def test_a_loser_that_cannot_read_the_winner_is_an_error(self) -> None:
        uri, store = attached_store()
        Folder(uri).create("claim.json", b"theirs")
        store.trouble("cat", refused)
        with pytest.raises(StoreError):
            Folder(uri).create("claim.json", b"mine")

    def test_a_read_that_fails_is_an_error_and_not_nothing(self) -> None:
        uri, store = attached_store()
        store.trouble("cat", refused)
        with pytest.raises(StoreError):
            Folder(uri).read("claim.json")

    def test_a_listing_that_fails_is_an_error_and_not_nothing(self) -> None:
        uri, store = attached_store()
        store.trouble("ls", refused)
        with pytest.raises(StoreError):
            Folder(uri).list("a")

    def test_creating_takes_one_request(self) -> None:
        uri, store = attached_store()
        Folder(uri).create("a.png", b"x")
        assert store.calls == ["pipe"]


class TestTheFoldersThatHoldALedger:
    def test_they_are_found_some_levels_down_and_not_within_one_another(self, tmp_path: Path) -> None:
        for folder in ("", "mon", "a/tue", "a/b/c/too deep", "mon/_seedream/ledger/no"):
            (tmp_path / folder / "_seedream/ledger").mkdir(parents=True, exist_ok=True)
        (tmp_path / "not/_seedream").mkdir(parents=True)
        found = Folder(str(tmp_path)).folders_holding("_seedream/ledger", depth=3)
        assert found == ["", "a/tue", "mon"]
        assert Folder(f"{tmp_path}/none").folders_holding("_seedream/ledger", depth=3) == []

    @pytest.mark.parametrize("listed_before", [0, 1, 2])
    def test_a_folder_that_cannot_be_listed_is_an_error_as_it_might_hold_one(
        self, listed_before: int
    ) -> None:
        uri, store = attached_store()
        store.pipe_file("/bucket/watches/mon/_seedream/ledger/1.json", b"{}")
        store.trouble("ls", *[done] * listed_before, forbidden)
        with pytest.raises(PermissionError, match="Forbidden"):
            Folder(uri).folders_holding("_seedream/ledger", depth=3)
