"""The table of results: whole or an error, read back as it was noted, and memory that does not know how
long it is.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest

from airflow_provider_seedream.batch.results import Results
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.batch.rows import RESULT_COLUMNS, build_row
from airflow_provider_seedream.batch.statuses import Status
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.storage import Folder
from tests.unit.stores import attached_store, refused

PREFIX = "_seedream/batches/try-1"
OWN = {"name", "seedream_task_id", "manifest", "detail"}


def result(row: int, status: Status = "landed", **changes: Any) -> RowResult:
    return RowResult(
        row=row, status=status, columns=changes.pop("columns", {"prompt": f"fox {row}"}), **changes
    )


def filled(folder: Folder, rows: int) -> Results:
    results = Results(folder, PREFIX)
    for row in range(1, rows + 1):
        results.add(result(row))
    return results


def lines(folder: Folder, file: str = "results.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder.read(file) or b"").decode().split("\n")[:-1]]


@pytest.fixture
def folder(destination: str) -> Folder:
    return Folder(destination)


class TestALine:
    def test_it_says_what_became_of_a_row_and_then_what_the_row_was(self) -> None:
        row = build_row(
            3,
            "row 3",
            {"prompt": "at night", "sku": 7, "images": ["s3://b/in.png"], "name": "hero"},
            defaults={},
        )
        landed = RowResult(
            row=3,
            status="landed",
            name="hero",
            seedream_task_id="t",
            credits=10,
            paid="yes",
            images=("s3://b/hero_1.png",),
            manifest="s3://b/hero.json",
            columns=row.columns(),
        )
        assert landed.to_dict() == {
            "row": 3,
            "status": "landed",
            "name": "hero",
            "seedream_task_id": "t",
            "credits": 10,
            "billed_credits": None,
            "paid": "yes",
            "images": ["s3://b/hero_1.png"],
            "manifest": "s3://b/hero.json",
            "detail": None,
            "prompt": "at night",
            "image_size": "auto_2K",
            "num_images": 1,
            "seed": None,
            "enable_safety_checker": True,
            "take": 1,
            "sources": ["s3://b/in.png"],
            "sku": 7,
        }

    def test_its_own_columns_are_those_that_rows_must_leave_alone(self) -> None:
        assert (*result(1, columns={}).to_dict(), "sources") == RESULT_COLUMNS

    def test_no_column_of_the_row_hides_what_became_of_it(self) -> None:
        assert result(1, columns={"row": 7, "paid": "x"}).to_dict()["row"] == 1

    def test_a_link_in_its_detail_has_lost_its_query(self) -> None:
        assert (
            result(1, "failed", detail="at https://h/a.png?sig=secret it was").to_dict()["detail"]
            == "at https://h/a.png?... it was"
        )


class TestATable:
    @pytest.mark.parametrize("rows", [0, 1, 499, 500, 501, 1203])
    def test_every_row_is_in_it_once_and_in_order(self, folder: Folder, rows: int) -> None:
        summary = filled(folder, rows).finish(rows, "results")
        assert [line["row"] for line in lines(folder)] == list(range(1, rows + 1))
        assert (summary["rows"], summary["count"]["landed"], summary["results"]) == (
            rows,
            rows,
            folder.uri("results.jsonl"),
        )

    def test_rows_may_end_in_any_order_and_in_several_processes(self, folder: Folder) -> None:
        results = Results(folder, PREFIX)
        for start in (3, 1, 4, 2, 0):
            for row in range(start + 1, 1203, 5):
                results.add(result(row, "failed" if start else "landed"))
            results.flush()
            results = Results.from_state(folder, json.loads(json.dumps(results.state())))
        assert results.finish(1202, "results")["count"] == {
            **dict.fromkeys(get_args(Status), 0),
            "landed": 241,
            "failed": 961,
        }
        assert [line["row"] for line in lines(folder)] == list(range(1, 1203))

    def test_a_later_word_on_a_row_replaces_the_earlier(self, folder: Folder) -> None:
        results = Results(folder, PREFIX)
        results.add(result(1, "unknown", credits=10))
        results.flush()
        results.add(result(1, "landed", credits=10))
        assert results.count == {**dict.fromkeys(get_args(Status), 0), "landed": 1}
        assert results.finish(1, "results")["count"]["landed"] == 1
        assert [line["status"] for line in lines(folder)] == ["landed"]

    def test_credits_and_images_are_summed(self, folder: Folder) -> None:
        results = Results(folder, PREFIX)
        results.add(result(1, "landed", credits=20, images=("a", "b")))
        results.add(result(2, "partial", credits=20, images=("c",)))
        results.add(result(3, "skipped_budget"))
        summary = results.finish(3, "results")
        assert (summary["credits"], summary["images"]) == (40, 3)

    def test_any_text_stays_on_its_line(self, folder: Folder) -> None:
        texts = ["two\nlines", "line\u2028separator", "ü 🦊 \x85", '"quoted"']
        results = Results(folder, PREFIX)
        for row, text in enumerate(texts, 1):
            results.add(result(row, columns={"prompt": text}))
        results.finish(len(texts), "results", parquet=True)
        assert [line["prompt"] for line in lines(folder)] == texts
        published = (folder.read("results.jsonl") or b"").decode()
        # as pandas' and many others' line ends
        assert [json.loads(line)["prompt"] for line in published.splitlines()] == texts

    def test_the_pages_are_gone_once_it_is_published(self, tmp_path: Path) -> None:
        folder = Folder(str(tmp_path))
        results = filled(folder, 1203)
        results.flush()
        assert len(list((tmp_path / PREFIX).iterdir())) == 3
        results.finish(1203, "results", parquet=True)
        assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
            "results.jsonl",
            "results.parquet",
        ]

    def test_another_table_of_the_same_name_is_replaced(self, folder: Folder) -> None:
        filled(folder, 7).finish(7, "results")
        filled(folder, 2).finish(2, "results")
        assert len(lines(folder)) == 2

    @pytest.mark.slow
    def test_memory_does_not_grow_with_the_rows(self, tmp_path: Path) -> None:
        def peak(rows: int) -> int:
            folder = Folder(str(tmp_path / str(rows)))
            tracemalloc.start()
            filled(folder, rows).finish(rows, "results", parquet=True)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak

        peak(1)  # imports
        assert peak(20_000) < 1.3 * peak(2_500)


class TestWhatDoesNotReconcile:
    def test_missing_rows_are_named_and_nothing_is_published(self, folder: Folder) -> None:
        results = Results(folder, PREFIX)
        for row in set(range(1, 1001)) - {7, 501, 502, 503, 504, 505, 999}:
            results.add(result(row))
        with pytest.raises(
            SeedreamError, match="7 of 1000 rows have no result: 7, 501, 502, 503, 504, "
        ) as missing:
            results.finish(1000, "results")
        assert not isinstance(missing.value, SeedreamInputError)  # a retry goes on from the ledger
        assert folder.read("results.jsonl") is None

    def test_more_rows_than_there_are_is_an_error(self, folder: Folder) -> None:
        with pytest.raises(SeedreamError, match="do not reconcile"):
            filled(folder, 501).finish(500, "results")

    def test_a_page_that_lost_what_was_noted_is_an_error(self, folder: Folder) -> None:
        results = filled(folder, 700)
        results.flush()
        folder.delete(f"{PREFIX}/page-000002.jsonl")
        with pytest.raises(SeedreamError, match="200 of 700 rows"):
            results.finish(700, "results")

    @pytest.mark.parametrize(
        "page", [b'{"row": 1}\n{"row": 1}\n', b'{"row": 501}\n', b"[]\n", b"broken\n", b"\xff\n"]
    )
    def test_a_page_that_is_none_of_ours_is_an_error(self, folder: Folder, page: bytes) -> None:
        folder.replace(f"{PREFIX}/page-000001.jsonl", page)
        with pytest.raises(SeedreamError, match="is not as it was written"):
            Results(folder, PREFIX).add(result(1))

    def test_a_state_of_another_version_is_an_error(self, folder: Folder) -> None:
        with pytest.raises(SeedreamError, match="another version"):
            Results.from_state(folder, {**Results(folder, PREFIX).state(), "schema_version": 2})


class TestAStoreInTrouble:
    @pytest.mark.parametrize(("operation", "verb"), [("pipe", "written"), ("cat", "read")])
    def test_it_is_an_error_to_retry(self, operation: str, verb: str) -> None:
        uri, store = attached_store()
        results = filled(Folder(uri), 3)
        store.trouble(operation, *[refused] * 2)
        with pytest.raises(SeedreamError, match=f"page-.* cannot be {verb}"):
            results.add(result(501)) if verb == "read" else results.flush()
            results.finish(3, "results")

    def test_pages_that_cannot_be_deleted_are_left(self) -> None:
        uri, store = attached_store()
        store.trouble("rm", refused)
        assert filled(Folder(uri), 3).finish(3, "results")["rows"] == 3
        assert len(lines(Folder(uri))) == 3


class TestParquet:
    def table(self, tmp_path: Path, *columns: dict[str, Any], **changes: Any) -> Any:
        folder = Folder(str(tmp_path))
        results = Results(folder, PREFIX)
        for row, mine in enumerate(columns, 1):
            results.add(result(row, columns=mine, **changes))
        summary = results.finish(len(columns), "results", parquet=True)
        assert summary["results_parquet"] == folder.uri("results.parquet")
        return pq.read_table(tmp_path / "results.parquet")

    def test_it_holds_what_the_json_lines_hold(self, tmp_path: Path) -> None:
        filled(Folder(str(tmp_path)), 2500).finish(2500, "results", parquet=True)
        read = pq.read_table(tmp_path / "results.parquet").to_pylist()
        assert [
            {name: row[name] for name in line}
            for line, row in zip(lines(Folder(str(tmp_path))), read, strict=True)
        ] == lines(Folder(str(tmp_path)))

    @pytest.mark.parametrize(
        ("values", "kind", "read"),
        [
            ([1, 2], "int64", [1, 2]),
            ([1, 2.5], "double", [1.0, 2.5]),
            ([True, False], "bool", [True, False]),
            (["a", "b"], "string", ["a", "b"]),
            ([1, "b"], "string", ["1", "b"]),
            ([True, 1], "string", ["true", "1"]),
            ([["a"], {"b": "ü"}], "string", ['["a"]', '{"b": "ü"}']),
            ([2**64, 1], "string", ["18446744073709551616", "1"]),
            ([1, None], "int64", [1, None]),
            ([None, None], "string", [None, None]),
        ],
    )
    def test_a_free_column_has_the_type_of_what_it_holds_or_is_text(
        self, tmp_path: Path, values: list[Any], kind: str, read: list[Any]
    ) -> None:
        table = self.table(tmp_path, *({"x": value} for value in values))
        assert (str(table.schema.field("x").type), table["x"].to_pylist()) == (kind, read)

    def test_a_free_column_that_is_null_throughout_is_a_column_all_the_same(self, tmp_path: Path) -> None:
        requests = [
            {"prompt": "a fox", "tags": None, "more": [None, None]},
            {"prompt": "a hare", "tags": None, "more": [None]},
        ]
        rows = [build_row(number, "row", raw, defaults={}) for number, raw in enumerate(requests, 1)]
        table = self.table(tmp_path, *(row.columns() for row in rows))
        assert (str(table.schema.field("tags").type), table["tags"].to_pylist()) == ("string", [None, None])
        assert table["more"].to_pylist() == ["[null, null]", "[null]"]

    def test_a_column_that_only_some_rows_have_is_null_in_the_others(self, tmp_path: Path) -> None:
        assert self.table(tmp_path, {"a": 1}, {"b": 2})["b"].to_pylist() == [None, 2]

    def test_a_parameter_has_its_own_type_and_what_does_not_fit_is_null(self, tmp_path: Path) -> None:
        table = self.table(
            tmp_path,
            {"num_images": "x", "seed": 2**70, "sources": "x"},
            {"num_images": 2, "seed": 1, "sources": ["s"]},
        )
        assert table["num_images"].to_pylist() == [None, 2]
        assert table["seed"].to_pylist() == [None, 1]
        assert table["sources"].to_pylist() == [None, ["s"]]

    def test_the_columns_of_our_own_are_there_in_an_empty_table_too(self, tmp_path: Path) -> None:
        table = self.table(tmp_path)
        assert (table.num_rows, table.column_names[: len(RESULT_COLUMNS) - 1]) == (
            0,
            list(RESULT_COLUMNS[:-1]),
        )

    def test_without_pyarrow_the_json_lines_are_there_and_the_extra_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(SeedreamInputError, match="airflow-provider-seedream\\[parquet\\]"):
            filled(Folder(str(tmp_path)), 3).finish(3, "results", parquet=True)
        assert len(lines(Folder(str(tmp_path)))) == 3


class TestPublishing:
    @pytest.fixture
    def local(self, tmp_path: Path) -> Iterator[str]:
        path = tmp_path / "local"
        path.write_bytes(b"x" * 3_000_000)
        yield str(path)

    def test_a_local_file_is_published_and_replaces_another(self, folder: Folder, local: str) -> None:
        folder.replace("a/b.jsonl", b"before")
        folder.publish("a/b.jsonl", local)
        assert folder.size_bytes("a/b.jsonl") == 3_000_000

    def test_on_a_disk_a_failure_leaves_what_was_there(self, tmp_path: Path, local: str) -> None:
        folder = Folder(str(tmp_path / "out"))
        folder.replace("a.jsonl", b"before")
        with pytest.raises(FileNotFoundError):
            folder.publish("a.jsonl", f"{local}-not-there")
        (tmp_path / "out" / "b.jsonl").mkdir()
        with pytest.raises(OSError):
            folder.publish("b.jsonl", local)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jsonl", "b.jsonl"]
        assert folder.read("a.jsonl") == b"before"
