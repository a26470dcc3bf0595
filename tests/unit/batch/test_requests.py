"""Tables in three formats and as a list: read row by row, and where something is wrong, the line is named."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk.io.store import attach

from airflow_provider_seedream.batch.requests import RawRow, check_table, read_table
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import RefusedRow, RequestTable, summarise
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.submissions import sha256_json
from tests.unit.stores import ObjectStore, attached_store

ROWS: list[dict[str, Any]] = [{"prompt": "a fox", "num_images": 2}, {"prompt": "eine Büchse\nund Ölzeug"}, {"prompt": "a, b"}]


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    return write(path.with_suffix(".jsonl"), "".join(json.dumps(row) + "\n" for row in rows))


def csv(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    lines = ["prompt,num_images", *(f'"{row["prompt"]}",{row.get("num_images", "")}' for row in rows)]
    return write(path.with_suffix(".csv"), "".join(f"{line}\r\n" for line in lines))


def parquet(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    schema = pa.schema([("prompt", pa.string()), ("num_images", pa.int64())])
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path.with_suffix(".parquet"), row_group_size=1000)
    return str(path.with_suffix(".parquet"))


WRITERS = [jsonl, csv, parquet]
Writer = Callable[[Path, Sequence[dict[str, Any]]], str]


def refusal(source: Any) -> str:
    with pytest.raises(SeedreamInputError) as refused:
        list(read_table(source))
    return refused.value.message


class TestAnyFormat:
    @pytest.mark.parametrize("write_table", WRITERS)
    def test_the_same_rows_are_read(self, write_table: Writer, tmp_path: Path) -> None:
        read = [raw.columns for raw in read_table(write_table(tmp_path / "requests", ROWS))]
        assert [row["prompt"] for row in read] == [row["prompt"] for row in ROWS]
        assert [str(row.get("num_images") or "") for row in read] == ["2", "", ""]

    @pytest.mark.parametrize("write_table", WRITERS)
    def test_rows_are_counted_from_one(self, write_table: Writer, tmp_path: Path) -> None:
        assert [raw.number for raw in read_table(write_table(tmp_path / "requests", ROWS))] == [1, 2, 3]

    @pytest.mark.parametrize("write_table", WRITERS)
    def test_a_table_without_rows_is_an_empty_table(self, write_table: Writer, tmp_path: Path) -> None:
        assert list(read_table(write_table(tmp_path / "requests", []))) == []

    @pytest.mark.parametrize("write_table", WRITERS)
    def test_it_is_read_from_a_store_through_airflows_connection(self, write_table: Writer, tmp_path: Path) -> None:
        local, (uri, store) = Path(write_table(tmp_path / "requests", ROWS)), attached_store()
        store.pipe_file(f"/bucket/{local.name}", local.read_bytes())
        in_store = f"{uri.removesuffix('/watches')}/{local.name}"
        assert [raw.columns for raw in read_table(in_store)] == [raw.columns for raw in read_table(str(local))]

    @pytest.mark.parametrize("write_table", WRITERS)
    def test_memory_does_not_grow_with_the_rows(self, write_table: Writer, tmp_path: Path) -> None:
        def peak(count: int) -> int:
            rows = [{"prompt": f"a fox number {number} " * 5, "num_images": 1} for number in range(count)]
            source = write_table(tmp_path / f"requests{count}", rows)
            del rows
            sum(1 for _ in read_table(source))  # caches and imports are filled
            tracemalloc.start()
            read = sum(1 for _ in read_table(source))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert read == count
            return peak

        assert peak(20_000) < 1.3 * peak(2_000)


class TestALine:
    """What is wrong is named as people find it."""

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ('{"prompt": "a"}\n\n{"prompt": \n', "line 3 of r.jsonl is no JSON: Expecting value."),
            ('{"prompt": "a"}\n["b"]\n', "line 2 of r.jsonl must be a JSON object, not list."),
            ('{"prompt": "a", "prompt": "b"}', "line 1 of r.jsonl is no JSON: 'prompt' occurs twice."),
            (b'{"prompt": "a"}\n{"prompt": "\xff"}\n', "line 2 of r.jsonl is not UTF-8 (invalid start byte)."),
            ("[" * 100_000, "line 1 of r.jsonl is no JSON: "),
        ],
    )
    def test_a_wrong_line_of_json_is_named(self, content: str | bytes, says: str, tmp_path: Path) -> None:
        assert refusal(write(tmp_path / "r.jsonl", content)).startswith(says)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ('prompt,sku\n"a\nb",1\nc,2,3\n', "line 4 of r.csv has 3 cells; the header has 2."),
            ("prompt,sku\na\n", "line 2 of r.csv has 1 cells; the header has 2."),
            ("prompt,sku, sku\n", "line 1 of r.csv: column 'sku' occurs twice."),
            ("\nprompt,,sku\n", "line 2 of r.csv: '' is no name of a column."),
            ("promt,sku\na,1\n", "line 1 of r.csv: unknown column 'promt'. Did you mean 'prompt'?"),
            ("prompt;sku\na;1\n", "line 1 of r.csv: columns must be separated by commas; got 'prompt;sku'."),
            ('prompt\na\n"b\nc\n', "line 3 of r.csv is no CSV: unexpected end of data."),
            ('prompt\n"a"b\n', "line 2 of r.csv is no CSV: "),
            (b"prompt\na\n\xe9\n", "line 3 of r.csv is not UTF-8 (invalid continuation byte)."),
        ],
    )
    def test_a_wrong_line_of_csv_is_named(self, content: str | bytes, says: str, tmp_path: Path) -> None:
        assert refusal(write(tmp_path / "r.csv", content)).startswith(says)

    def test_a_wrong_row_of_parquet_is_named(self, tmp_path: Path) -> None:
        assert refusal(write(tmp_path / "r.parquet", "prompt\na\n")).startswith("r.parquet cannot be read as Parquet (")
        pq.write_table(pa.table({"prompt": ["a"], "num_image": [1]}), tmp_path / "s.parquet")
        assert refusal(str(tmp_path / "s.parquet")).startswith("s.parquet: unknown column 'num_image'. Did you mean 'num_images'?")

    def test_a_wrong_row_of_a_list_is_named(self) -> None:
        assert refusal([{"prompt": "a"}, "b"]) == "requests[1] must be a dict of columns, not str."
        assert refusal([{"prompt": "a", 7: "b"}]) == "requests[0]: names of columns must be text."

    def test_rows_know_where_they_stand(self, tmp_path: Path) -> None:
        table = write(tmp_path / "r.csv", '\ufeffprompt,sku\r\n"a\r\nb",1\r\n,\r\n\r\nc,2\r\n')
        assert list(read_table(table)) == [
            RawRow(1, "line 2 of r.csv", {"prompt": "a\r\nb", "sku": "1"}, ("prompt", "sku")),
            RawRow(2, "line 6 of r.csv", {"prompt": "c", "sku": "2"}, ("prompt", "sku")),
        ]
        assert [raw.where for raw in read_table(jsonl(tmp_path / "r", ROWS[:1]))] == ["line 1 of r.jsonl"]
        assert [raw.where for raw in read_table(parquet(tmp_path / "r", ROWS[:1]))] == ["row 1 of r.parquet"]
        assert [raw.where for raw in read_table(ROWS[:1])] == ["requests[0]"]


class TestFormats:
    def test_a_cell_of_a_csv_holds_the_images_of_an_edit(self, tmp_path: Path) -> None:
        image = "data:image/png;base64," + "A" * (contract.MAX_SOURCE_BYTES * 4 // 3)
        table = write(tmp_path / "r.csv", f'prompt,images\na,"{json.dumps([image] * 2).replace(chr(34), chr(34) * 2)}"\n')
        [raw] = read_table(table)
        assert json.loads(raw.columns["images"]) == [image] * 2

    def test_a_quote_that_swallows_a_file_is_an_error_and_no_memory_without_end(self, tmp_path: Path) -> None:
        with (tmp_path / "r.csv").open("w") as file:
            file.write('prompt,x\na,"')
            for _ in range(150):
                file.write("b" * 1024 * 1024)
        assert "line 2 of r.csv is no CSV: field larger than field limit" in refusal(str(tmp_path / "r.csv"))

    def test_an_empty_column_of_a_csv_is_null_in_the_results(self, tmp_path: Path) -> None:
        table = write(tmp_path / "r.csv", "prompt,tags,sku\na,,1\n,,2\n")
        rows = [row for row, _ in RequestTable(source=table, defaults={}, template=None).rows()]
        assert isinstance(rows[0], Row)
        assert rows[0].extra == {"tags": None, "sku": "1"}
        assert isinstance(rows[1], RefusedRow)
        assert rows[1].columns == {"tags": None, "sku": "2"}

    def test_the_digest_of_a_csv_with_empty_cells_is_that_of_0_2(self, tmp_path: Path) -> None:
        """A batch that was deferred before an upgrade compares it."""
        table = write(tmp_path / "r.csv", "prompt,tags,sku\na,,1\n")
        [(_, digest)] = RequestTable(source=table, defaults={}, template=None).rows()
        assert digest == sha256_json(["", '{"prompt": "a", "sku": "1"}'])

    def test_equal_texts_in_two_unicode_forms_are_one_request(self) -> None:
        rows = [{"prompt": text, "name": text} for text in ("Gr\u00fcn", "Gru\u0308n")]
        summary = summarise(RequestTable(source=rows, defaults={}, template=None))
        assert (summary.repeats, summary.credits, summary.errors) == ([2], 10, [])

    def test_a_byte_order_mark_is_no_part_of_the_first_column(self, tmp_path: Path) -> None:
        assert [raw.columns for raw in read_table(write(tmp_path / "r.jsonl", '\ufeff{"prompt": "a"}'))] == [{"prompt": "a"}]

    def test_ndjson_is_another_name_and_capitals_are_the_same(self, tmp_path: Path) -> None:
        assert len(list(read_table(write(tmp_path / "R.NDJSON", '{"prompt": "a"}')))) == 1

    def test_parquet_gives_python_values(self, tmp_path: Path) -> None:
        rows = {"prompt": ["a"], "images": [["s3://b/a.png"]], "day": [date(2026, 11, 22)], "seed": pa.array([None], pa.int64())}
        pq.write_table(pa.table(rows), tmp_path / "r.parquet")
        [raw] = read_table(str(tmp_path / "r.parquet"))
        assert raw.columns == {"prompt": "a", "images": ["s3://b/a.png"], "day": date(2026, 11, 22), "seed": None}

    def test_without_pyarrow_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        table = parquet(tmp_path / "r", ROWS)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert "install airflow-provider-seedream[parquet]" in refusal(table)


class TestSources:
    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ({"prompt": "a"}, "requests must be a list of dicts or the URI of a table, not dict."),
            (None, "requests must be a list of dicts or the URI of a table, not NoneType."),
            (b"/a.csv", "requests must be a list of dicts or the URI of a table, not bytes."),
            ("a fox", "requests must be a list of dicts, a storage URI or an absolute path; got 'a fox'."),
            ("requests.csv", "requests must be a list of dicts, a storage URI or an absolute path; got 'requests.csv'."),
            (
                "https://host/r.csv",
                "requests must be a list of dicts, a storage URI or an absolute path; got 'https://host/r.csv'.",
            ),
            ("/data/r.xlsx", "requests: the table's name must end in .jsonl, .ndjson, .csv, .parquet; got '/data/r.xlsx'."),
        ],
    )
    def test_what_can_be_no_table_is_refused_before_anything_is_read(self, source: Any, says: str) -> None:
        with pytest.raises(SeedreamInputError) as refused:
            check_table(source)
        assert refused.value.message == says

    @pytest.mark.parametrize("source", [[], ROWS, tuple(ROWS), "/data/r.csv", "s3://conn@b/r.jsonl", "file:///r.parquet"], ids=repr)
    def test_what_can_be_one_is_not(self, source: Any) -> None:
        check_table(source)

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        assert refusal(f"file://{tmp_path}/r.csv") == f"requests: there is no file file://{tmp_path}/r.csv."
        (tmp_path / "d.csv").mkdir()
        assert "there is no file" in refusal(f"{tmp_path}/d.csv")

    def test_a_store_that_does_not_answer_is_an_error_to_retry(self) -> None:
        class Silent(ObjectStore):
            def _open(self, path: str, *args: Any, **options: Any) -> Any:
                raise ConnectionError("no answer")

        attach(protocol="memory", conn_id="silent", fs=Silent())
        with pytest.raises(SeedreamError, match="cannot be read \\(ConnectionError: no answer\\)") as failed:
            list(read_table("memory://silent@bucket/r.csv"))
        assert not isinstance(failed.value, SeedreamInputError)
