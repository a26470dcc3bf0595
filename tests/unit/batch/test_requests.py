"""Tables in three formats and as a list: read row by row, and where something is wrong, the line is named."""

from __future__ import annotations

import gzip
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
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk.io.store import attach

from airflow_provider_seedream.batch.requests import RawRow, check_table, read_table
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.table_summary import summarise
from airflow_provider_seedream.batch.upcoming import RefusedRow, RequestTable
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.submissions import sha256_json
from tests.unit.stores import ObjectStore, Walked, attached_store, done, forbidden

ROWS: list[dict[str, Any]] = [
    {"prompt": "a fox", "num_images": 2},
    {"prompt": "eine Büchse\nund Ölzeug"},
    {"prompt": "a, b"},
]


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
    pq.write_table(
        pa.Table.from_pylist(list(rows), schema=schema), path.with_suffix(".parquet"), row_group_size=1000
    )
    return str(path.with_suffix(".parquet"))


WRITERS = [jsonl, csv, parquet]
Writer = Callable[[Path, Sequence[dict[str, Any]]], str]


def refusal(source: Any) -> str:
    with pytest.raises(SeedreamInputError) as refused:
        list(read_table(source))
    return refused.value.detail


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
    def test_it_is_read_from_a_store_through_airflows_connection(
        self, write_table: Writer, tmp_path: Path
    ) -> None:
        local, (uri, store) = Path(write_table(tmp_path / "requests", ROWS)), attached_store()
        store.pipe_file(f"/bucket/{local.name}", local.read_bytes())
        in_store = f"{uri.removesuffix('/watches')}/{local.name}"
        assert [raw.columns for raw in read_table(in_store)] == [
            raw.columns for raw in read_table(str(local))
        ]

    @pytest.mark.slow
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
            (
                '[{"prompt": "a"}]',
                "line 1 of r.jsonl must be a JSON object, not list. A table has one JSON object per line, "
                "and no",
            ),
            ('{"prompt": "a"}\n["b"]\n', "line 2 of r.jsonl must be a JSON object, not list."),
            ('{"prompt": "a", "prompt": "b"}', "line 1 of r.jsonl is no JSON: 'prompt' occurs twice."),
            (
                b'{"prompt": "a"}\n{"prompt": "\xff"}\n',
                "line 2 of r.jsonl is not UTF-8 (invalid start byte).",
            ),
            (
                '[{"prompt": "a"},',
                "line 1 of r.jsonl is no JSON: Expecting value. A table has one JSON object per line, and no "
                "list",
            ),
            (
                '{"prompt": "a", "SKU": 1}\n{"sku": 2}',
                "line 2 of r.jsonl: columns 'SKU' and 'sku' differ only in case. Rename one.",
            ),
            ("[" * 100_000, "line 1 of r.jsonl is no JSON: "),
        ],
    )
    def test_a_wrong_line_of_json_is_named(self, content: str | bytes, says: str, tmp_path: Path) -> None:
        assert refusal(write(tmp_path / "r.jsonl", content)).startswith(says)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ('prompt,sku\n"a\nb",1\nc,2,3\n', "line 4 of r.csv has 3 cells; the header has 2."),
            (
                "prompt,SKU, sku\n",
                "line 1 of r.csv: columns 'SKU' and 'sku' differ only in case. Rename one.",
            ),
            (
                "prompt,PROMPT\n",
                "line 1 of r.csv: column 'prompt' occurs twice; capital and small letters are the same.",
            ),
            (
                "prompt,Status\n",
                "line 1 of r.csv: column 'Status' is one of the results' own; give it another name.",
            ),
            (
                'prompt\n"a \\"big\\" fox"\n',
                "line 2 of r.csv is no CSV: ',' expected after '\"'. If Spark wrote it: write it again",
            ),
            ("prompt,sku\na\n", "line 2 of r.csv has 1 cells; the header has 2."),
            ("prompt,sku, sku\n", "line 1 of r.csv: column 'sku' occurs twice."),
            ("\nprompt,,sku\n", "line 2 of r.csv: '' is not a column name."),
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
        assert refusal(write(tmp_path / "r.parquet", "prompt\na\n")).startswith(
            "r.parquet cannot be read as Parquet ("
        )
        pq.write_table(pa.table({"prompt": ["a"], "num_image": [1]}), tmp_path / "s.parquet")
        assert refusal(str(tmp_path / "s.parquet")).startswith(
            "s.parquet: unknown column 'num_image'. Did you mean 'num_images'?"
        )

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
        table = write(
            tmp_path / "r.csv",
            f'prompt,images\na,"{json.dumps([image] * 2).replace(chr(34), chr(34) * 2)}"\n',
        )
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
        assert [raw.columns for raw in read_table(write(tmp_path / "r.jsonl", '\ufeff{"prompt": "a"}'))] == [
            {"prompt": "a"}
        ]

    def test_ndjson_is_another_name_and_capitals_are_the_same(self, tmp_path: Path) -> None:
        assert len(list(read_table(write(tmp_path / "R.NDJSON", '{"prompt": "a"}')))) == 1

    def test_parquet_gives_python_values(self, tmp_path: Path) -> None:
        rows = {
            "prompt": ["a"],
            "images": [["s3://b/a.png"]],
            "day": [date(2026, 11, 22)],
            "seed": pa.array([None], pa.int64()),
        }
        pq.write_table(pa.table(rows), tmp_path / "r.parquet")
        [raw] = read_table(str(tmp_path / "r.parquet"))
        assert raw.columns == {
            "prompt": "a",
            "images": ["s3://b/a.png"],
            "day": date(2026, 11, 22),
            "seed": None,
        }

    def test_without_pyarrow_the_extra_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = parquet(tmp_path / "r", ROWS)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert "pip install 'airflow-provider-seedream[parquet]'" in refusal(table)


class TestColumnsAsWritersSpellThem:
    def test_names_of_parameters_in_capitals_are_parameters(self, tmp_path: Path) -> None:
        """Snowflake writes all names so."""
        for table in (
            write(tmp_path / "r.csv", "PROMPT,Num_Images,SKU\na,2,7\n"),
            [{"PROMPT": "a", "Num_Images": "2", "SKU": "7"}],
        ):
            assert [raw.columns for raw in read_table(table)] == [
                {"prompt": "a", "num_images": "2", "SKU": "7"}
            ]

    def test_the_index_of_pandas_is_left_out(self, tmp_path: Path) -> None:
        table = write(tmp_path / "r.csv", ",prompt,num_images\n0,a,2.0\n1,b,\n")
        assert [raw.columns for raw in read_table(table)] == [
            {"prompt": "a", "num_images": "2.0"},
            {"prompt": "b"},
        ]
        assert next(read_table(table)).header == ("prompt", "num_images")


class TestGzip:
    @pytest.mark.parametrize("write_table", [jsonl, csv])
    def test_text_is_read_packed_and_unpacked_alike(self, write_table: Writer, tmp_path: Path) -> None:
        plain = Path(write_table(tmp_path / "requests", ROWS))
        packed, unpacked = tmp_path / f"packed-{plain.name}.gz", tmp_path / f"unpacked-{plain.name}.gz"
        two = plain.read_bytes()
        packed.write_bytes(gzip.compress(two[:20]) + gzip.compress(two[20:]))  # as `cat a.gz b.gz` makes it
        unpacked.write_bytes(two)  # a store that unpacks on the way
        expected = [raw.columns for raw in read_table(str(plain))]
        assert [raw.columns for raw in read_table(str(packed))] == expected
        assert [raw.columns for raw in read_table(str(unpacked))] == expected

    def test_a_line_without_end_is_an_error_and_no_memory_without_end(self, tmp_path: Path) -> None:
        path = tmp_path / "requests.jsonl.gz"
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(b'{"prompt": "a fox"}\n{"prompt": "')
            for _ in range(400):
                file.write(bytes(1_000_000))
        rows = read_table(str(path))
        assert next(rows).columns == {"prompt": "a fox"}
        with pytest.raises(SeedreamInputError, match=r"line 2 of requests.jsonl.gz is longer than 279 MB"):
            next(rows)

    def test_a_file_that_ends_too_early_is_an_error(self, tmp_path: Path) -> None:
        cut = gzip.compress(b"".join(b'{"prompt": "fox %d"}\n' % number for number in range(99)))[:-20]
        assert refusal(write(tmp_path / "r.jsonl.gz", cut)).startswith(
            "r.jsonl.gz is not a whole gzip file ("
        )


class TestFolders:
    """A table of part files, as engines write it."""

    def test_rows_come_in_the_order_of_the_sorted_names(self, tmp_path: Path) -> None:
        for part, prompt in (("part-00001.json", "b"), ("part-00000.json", "a"), ("part-00002.json.gz", "c")):
            line = f'{{"prompt": "{prompt}"}}\n'.encode()
            (tmp_path / part).write_bytes(gzip.compress(line) if part.endswith(".gz") else line)
        read = list(read_table(f"{tmp_path}/"))
        assert [(raw.number, raw.columns["prompt"]) for raw in read] == [(1, "a"), (2, "b"), (3, "c")]
        assert read[2].where == "line 1 of part-00002.json.gz"

    def test_parquet_has_any_name(self, tmp_path: Path) -> None:
        folder = tmp_path / "export.parquet"  # as Spark names the folder
        folder.mkdir()
        for name in ("20261128_000_xyz", "part-0.snappy.parquet"):
            pq.write_table(pa.table({"prompt": [name]}), folder / name)
        assert [raw.columns["prompt"] for raw in read_table(str(folder))] == [
            "20261128_000_xyz",
            "part-0.snappy.parquet",
        ]

    def test_marks_and_hidden_files_are_passed_over(self, tmp_path: Path) -> None:
        marks = (
            "_SUCCESS",
            ".part-0.csv.crc",
            "part-0.csv.crc",
            "part-0.csv.metadata",
            "_committed_1",
            "x_$folder$",
        )
        for name in (*marks, ".hidden/part-9.csv"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("x,y\n")
        (tmp_path / "part-0.csv").write_text("prompt\na\n")
        assert [raw.columns for raw in read_table(str(tmp_path))] == [{"prompt": "a"}]

    def test_partition_columns_come_from_the_path(self, tmp_path: Path) -> None:
        for folder in ("num_images=2/sku=a%2Fb", "num_images=1/sku=__HIVE_DEFAULT_PARTITION__"):
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "part-0.csv").write_text("prompt\na\n")
        rows = [row for row, _ in RequestTable(source=str(tmp_path), defaults={}, template=None).rows()]
        assert [(row.num_images, row.extra) for row in rows if isinstance(row, Row)] == [
            (1, {"sku": None}),
            (2, {"sku": "a/b"}),
        ]

    @pytest.mark.parametrize(
        ("files", "says"),
        [
            (
                {"a.csv": "prompt\na\n", "b.csv": "a fox\nb\n"},
                "b.csv has another header than the first part: 'a fox'.",
            ),
            (
                {"num_images=2/a.csv": "prompt,num_images\na,3\n"},
                "line 2 of num_images=2/a.csv: column 'num_images' has another value",
            ),
            (
                {"num_image=2/a.csv": "prompt\na\n"},
                "line 2 of num_image=2/a.csv: unknown column 'num_image'.",
            ),
            ({"notes.txt": "x"}, "requests: notes.txt is not Parquet, and its name does not end in .jsonl"),
            (
                {"_delta_log/0.json": "{}", "part-0.parquet": ""},
                "is a table of the Delta format: its files also hold rows that were deleted.",
            ),
            ({"metadata/v1.metadata.json": "{}", "data/a.parquet": ""}, "is a table of the Iceberg format: "),
        ],
    )
    def test_what_is_no_table_of_parts_is_refused(
        self, files: dict[str, str], says: str, tmp_path: Path
    ) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        if "unknown column" in says:
            [(row, _)] = RequestTable(source=str(tmp_path), defaults={}, template=None).rows()
            assert isinstance(row, RefusedRow)
            assert says in row.error.message
        else:
            assert says in refusal(str(tmp_path))

    def test_a_folder_that_is_still_being_written_is_read_by_a_retry(self, tmp_path: Path) -> None:
        (tmp_path / "_temporary/0").mkdir(parents=True)
        (tmp_path / "_temporary/0/part-1.csv").write_text("prompt\nb\n")
        (tmp_path / "part-0.csv").write_text("prompt\na\n")
        with pytest.raises(SeedreamError, match="still being written") as early:
            list(read_table(str(tmp_path)))
        assert not isinstance(early.value, SeedreamInputError)
        (tmp_path / "_SUCCESS").touch()
        assert len(list(read_table(str(tmp_path)))) == 1

    def test_a_part_folder_that_cannot_be_listed_is_an_error_and_no_row_is_missed(self) -> None:
        uri, store = attached_store(Walked())
        for day in "12":
            store.pipe_file(f"/bucket/watches/day={day}/part-0.csv", b"prompt\na\n")
        store.trouble("ls", done, forbidden)
        with pytest.raises(SeedreamError, match=r"cannot be read \(PermissionError: Forbidden\)") as unread:
            list(read_table(uri))
        assert not isinstance(unread.value, SeedreamInputError), "a retry reads it again"
        assert sorted(raw.columns["day"] for raw in read_table(uri)) == ["1", "2"]

    def test_it_is_read_from_a_store_through_airflows_connection(self, tmp_path: Path) -> None:
        uri, store = attached_store()
        bucket = uri.removesuffix("/watches")
        for part in ("day=1/part-0.csv", "day=2/part-0.csv", "_SUCCESS"):
            store.pipe_file(f"/bucket/exports/{part}", b"prompt\na\n" if part != "_SUCCESS" else b"")
        assert [raw.columns for raw in read_table(f"{bucket}/exports/")] == [
            {"prompt": "a", "day": "1"},
            {"prompt": "a", "day": "2"},
        ]


class TestSources:
    @pytest.mark.parametrize(
        ("source", "says"),
        [
            (
                {"prompt": "a"},
                "requests must be a list of dicts, the URI of a table or a SqlTable, not dict.",
            ),
            (None, "requests must be a list of dicts, the URI of a table or a SqlTable, not NoneType."),
            (b"/a.csv", "requests must be a list of dicts, the URI of a table or a SqlTable, not bytes."),
            ("a fox", "requests must be a list of dicts, a storage URI or an absolute path; got 'a fox'."),
            (
                "requests.csv",
                "requests must be a list of dicts, a storage URI or an absolute path; got 'requests.csv'.",
            ),
            (
                "https://host/r.csv",
                "requests must be a list of dicts, a storage URI or an absolute path; got "
                "'https://host/r.csv'.",
            ),
            (
                "/data/r.xlsx",
                "requests: the table's name must end in .jsonl, .ndjson, .json, .csv, .parquet (text also "
                "in .gz), or be a folder; got '/data/r.xlsx'.",
            ),
            (
                "/data/r.parquet.gz",
                "requests: the table's name must end in .jsonl, .ndjson, .json, .csv, .parquet (text also "
                "in .gz), or be a folder; got '/data/r.parquet.gz'.",
            ),
        ],
    )
    def test_what_can_be_no_table_is_refused_before_anything_is_read(self, source: Any, says: str) -> None:
        with pytest.raises(SeedreamInputError) as refused:
            check_table(source)
        assert refused.value.message == says

    @pytest.mark.parametrize(
        "source",
        [[], ROWS, tuple(ROWS), "/data/r.csv", "s3://conn@b/r.jsonl.gz", "file:///r.parquet", "/data/r"],
        ids=repr,
    )
    def test_what_can_be_one_is_not(self, source: Any) -> None:
        check_table(source)

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        assert (
            refusal(f"file://{tmp_path}/r.csv")
            == f"requests: there is no file or folder file://{tmp_path}/r.csv."
        )
        (tmp_path / "d.csv").mkdir()
        assert refusal(f"{tmp_path}/d.csv") == f"requests: the folder {tmp_path}/d.csv has no part files."

    def test_a_store_that_does_not_answer_is_an_error_to_retry(self) -> None:
        class Silent(ObjectStore):
            is_silent = False

            def _open(self, path: str, *args: Any, **options: Any) -> Any:
                if self.is_silent:
                    raise ConnectionError("no answer")
                return super()._open(path, *args, **options)

        attach(protocol="memory", conn_id="silent", fs=(silent := Silent()))
        silent.pipe_file("/bucket/r.csv", b"prompt\na fox\n")
        silent.is_silent = True
        with pytest.raises(SeedreamError, match="cannot be read \\(ConnectionError: no answer\\)") as failed:
            list(read_table("memory://silent@bucket/r.csv"))
        assert not isinstance(failed.value, SeedreamInputError)

    @pytest.mark.parametrize("scheme", ["sftp", "s4"])
    def test_a_store_that_nothing_installed_opens_is_named_and_no_retry_is_wasted(self, scheme: str) -> None:
        with pytest.raises(SeedreamError, match=f"No installed provider opens {scheme}://") as failed:
            list(read_table(f"{scheme}://host/r.csv"))
        assert isinstance(failed.value, AirflowFailException)
        assert failed.value.verdict == "EXTRA MISSING"
