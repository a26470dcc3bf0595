"""Tables read from and published to every kind of store."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from airflow_provider_seedream.batch.requests import read_table
from airflow_provider_seedream.batch.results import Results
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.storage import Folder
from tests.stores.servers import Place

MEGABYTE = 1_000_000


class TestTables:
    def test_a_table_is_read_as_it_was_written(self, store: Place) -> None:
        folder = Folder(store.uri)
        folder.replace("r.csv", b"prompt,sku\n" + "".join(f'"ü {n}",{n}\n' for n in range(5000)).encode())
        assert [raw.columns["sku"] for raw in read_table(folder.uri("r.csv"))] == [
            str(n) for n in range(5000)
        ]

    def test_a_delta_table_is_read_by_its_log(self, store: Place, tmp_path: Path) -> None:
        deltalake = pytest.importorskip("deltalake", reason="the extra `delta` is not installed")
        table = tmp_path / "table"
        rows = {"prompt": [f"fox {number}" for number in range(4)], "team": ["a b", "a b", "c", "c"]}
        deltalake.write_deltalake(table, pa.table(rows), partition_by=["team"])
        deltalake.DeltaTable(table).delete("prompt = 'fox 1'")
        folder = Folder(store.uri)
        for file in table.rglob("*.*"):
            if file.is_file():
                folder.replace(f"wanted/{file.relative_to(table)}", file.read_bytes())
        read = {(raw.columns["prompt"], raw.columns["team"]) for raw in read_table(folder.uri("wanted"))}
        assert read == {("fox 0", "a b"), ("fox 2", "c"), ("fox 3", "c")}

    def test_results_are_published_and_their_pages_deleted(self, store: Place) -> None:
        folder = Folder(store.uri)
        for _ in range(2):  # a second table of the same name replaces the first
            results = Results(folder, "_seedream/batches/try")
            for row in range(1, 602):
                results.add(RowResult(row=row, status="landed", columns={"sku": row}))
            summary = results.finish(601, "results", parquet=True)
        assert len((folder.read("results.jsonl") or b"").splitlines()) == summary["rows"] == 601
        assert (folder.read("results.parquet") or b"").startswith(b"PAR1")
        assert folder.read("_seedream/batches/try/page-000001.jsonl") is None


class TestPublish:
    @pytest.mark.parametrize("size_bytes", [0, 1, 7 * MEGABYTE, 120 * MEGABYTE])
    def test_a_file_of_any_size_replaces_the_one_there(
        self, store: Place, tmp_path: Path, size_bytes: int
    ) -> None:
        folder, local = Folder(store.uri), tmp_path / "local"
        local.write_bytes(b"x" * size_bytes)
        folder.replace("a/b.jsonl", b"before")
        folder.publish("a/b.jsonl", str(local))
        assert folder.size_bytes("a/b.jsonl") == size_bytes
