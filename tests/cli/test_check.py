"""`check`: what a destination lacks is found by asking it, named, and said by the exit code."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.cli.checking import XCOM_BACKEND
from tests.cli.conftest import Run, run_process
from tests.unit.stores import Act, Deaf, NoBucket, ObjectStore, attached_store

NAMES = ["write", "exclusive", "read", "missing", "list", "replace", "clock", "delete"]


class ChecksThenWrites(ObjectStore):
    """Looks, and writes a moment later: one create after the other is refused, of several at once all win."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> Any:
        if mode == "create" and self.exists(path):
            raise FileExistsError(path)
        time.sleep(0.1)
        return super().pipe_file(path, value, **options)


class MayNotList(ObjectStore):
    """S3 without s3:ListBucket: it does not even say that a file is not there."""

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        raise PermissionError("Access Denied")

    def _do(self, operation: str, act: Act) -> Any:
        try:
            return super()._do(operation, act)
        except FileNotFoundError:
            raise PermissionError("Access Denied") from None


class WriteOnce(ObjectStore):
    def rm_file(self, path: str) -> Any:
        raise PermissionError("Access Denied")


class FiveMinutesAhead(ObjectStore):
    def info(self, path: str, **options: Any) -> Any:
        return {**super().info(path, **options), "mtime": time.time() + 300}


def results(ended: Any) -> dict[str, str]:
    return {check["check"]: check["result"] for check in ended.json["checks"]}


def details(ended: Any) -> dict[str, str]:
    return {check["check"]: check["detail"] for check in ended.json["checks"]}


class TestADestinationThatHolds:
    def test_an_object_store_holds_and_nothing_of_the_check_stays(self, run: Run) -> None:
        uri, store = attached_store()
        ended = run("check", uri, "-o", "json")
        assert ended.code == 0
        assert ended.json["destination"] == uri
        assert ended.json["holds"] is True
        assert results(ended) == dict.fromkeys(NAMES, "ok")
        assert not list(store.store), "nothing of it stays"

    def test_a_disk_says_how_files_are_published(
        self, run: Run, destination: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert (
            details(run("check", destination, "-o", "json"))["mount"] == "files are published by a hard link"
        )

        def link(*_: Any, **__: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        ended = run("check", destination, "-o", "json")
        assert ended.code == 0
        assert "exclusive rename" in details(ended)["mount"]
        assert not list(Path(destination.removeprefix("file://")).rglob("*/probes/*"))

    def test_people_get_a_table(self, run: Run, destination: str) -> None:
        ended = run("check", destination)
        assert ended.code == 0
        assert "1 of 8 racing creates of one file won" in ended.out
        assert ended.out.endswith("This destination holds what paying once needs.\n")


class TestTheFolderOfAirflowsXComs:
    """Airflow's XCom backend deletes each file below its folder whose URI a cleared task has returned."""

    @pytest.mark.parametrize(
        ("folder", "result", "said"),
        [
            ("{base}", "warning", "is retried or cleared, the file is deleted"),
            ("{base}/", "warning", "is retried or cleared, the file is deleted"),
            ("{base}/watches/", "warning", "is retried or cleared, the file is deleted"),
            ("{base}/watches/xcoms", "ok", "elsewhere"),
            ("{base}/watch", "ok", "elsewhere"),
        ],
    )
    def test_a_destination_below_it_is_a_warning(
        self, run: Run, destination: str, monkeypatch: pytest.MonkeyPatch, folder: str, result: str, said: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__XCOM_BACKEND", XCOM_BACKEND)
        monkeypatch.setenv(
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH",
            folder.format(base=destination.removesuffix("/watches")),
        )
        ended = run("check", destination, "-o", "json")
        assert ended.code == 0
        assert results(ended)["xcoms"] == result
        assert said in details(ended)["xcoms"]

    def test_it_is_not_asked_for_where_airflow_keeps_xcoms_in_its_database(
        self, run: Run, destination: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", destination)
        assert "xcoms" not in results(run("check", destination, "-o", "json"))


class TestADestinationThatDoesNot:
    @pytest.mark.parametrize(
        ("store", "failed", "said"),
        [
            (NoBucket(), "write", "does not exist: create the bucket, or correct its name in DESTINATION"),
            (Deaf(), "exclusive", "it accepted a second create"),
            (ChecksThenWrites(), "exclusive", "8 of 8 racing creates"),
            (MayNotList(), "missing", "grant s3:ListBucket"),
            (MayNotList(), "list", "grant this connection s3:ListBucket"),
            (WriteOnce(), "delete", "grant this connection s3:DeleteObject"),
        ],
    )
    def test_a_destination_that_does_not_is_told_by_what_it_lacks(
        self, run: Run, store: ObjectStore, failed: str, said: str
    ) -> None:
        ended = run("check", attached_store(store)[0], "-o", "json")
        assert ended.code == 1
        assert ended.json["holds"] is False
        assert results(ended)[failed] == "failed"
        assert said in details(ended)[failed]

    def test_a_disk_that_cannot_be_written_is_asked_nothing_more(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        ended = run("check", f"file://{tmp_path}/file/watches", "-o", "json")
        assert (ended.code, list(results(ended))) == (1, ["write"])

    def test_no_destination_at_all_is_a_wrong_call(self, run: Run) -> None:
        ended = run("check", "s3://bucket/a#b/../c")
        assert (ended.code, ended.out) == (2, "")
        assert "destination" in ended.err

    def test_a_clock_that_differs_is_a_warning_with_the_difference(self, run: Run) -> None:
        ended = run("check", attached_store(FiveMinutesAhead())[0], "-o", "json")
        assert (ended.code, results(ended)["clock"]) == (0, "warning")
        assert "300.0 s ahead of this machine's" in details(ended)["clock"]


def test_what_airflow_logs_about_a_connection_is_not_in_the_json(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    endpoint = (
        '{"conn_type": "aws", "login": "a", "password": "b", "extra": {"endpoint_url": "http://127.0.0.1:9"}}'
    )
    monkeypatch.setenv("AIRFLOW_CONN_CLOSED", endpoint)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # else botocore asks for 20 s
    ended = run_process("airflow_provider_seedream", "check", "s3://closed@bucket/x", "-o", "json")
    assert ended.code == 1
    assert results(ended) == {"write": "failed"}
    assert "AWS Connection" in ended.err
