"""Delta tables as deltalake writes them, and deleted rows as Spark and Databricks mark them."""

from __future__ import annotations

import base64
import json
import struct
import sys
import uuid
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk.io import attach
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_seedream.batch.requests import read_table
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import RequestTable
from airflow_provider_seedream.exceptions import SeedreamBatchError, SeedreamError, SeedreamInputError

deltalake = pytest.importorskip("deltalake", reason="the extra `delta` is not installed")
_OF_PYTHON = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_OF_DELTA = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six foxes in three partitions; the names of their folders are escaped, and one is null."""
    foxes = {
        "prompt": [f"fox {number}" for number in range(6)],
        "num_images": pa.array([1, 1, 2, 2, 3, 3], pa.int32()),
        "team": ["a/b c", "a/b c", "d", "d", None, None],
    }
    deltalake.write_deltalake(tmp_path / "wanted", pa.table(foxes), partition_by=["num_images", "team"])
    return tmp_path / "wanted"


def rows(table: Path) -> list[tuple[Any, ...]]:
    return sorted(
        (raw.columns["prompt"], raw.columns["num_images"], raw.columns.get("team"))
        for raw in read_table(str(table))
    )


def refusal(table: Path) -> str:
    with pytest.raises(SeedreamInputError) as refused:
        list(read_table(str(table)))
    return f"{refused.value.message} {refused.value.commands}"


def commit(table: Path, version: int, *actions: dict[str, Any]) -> None:
    """A commit that another writer has made."""
    (table / "_delta_log" / f"{version:020}.json").write_text("\n".join(map(json.dumps, actions)) + "\n")


def added(table: Path) -> list[dict[str, Any]]:
    """The files that the first commit of a table has added."""
    actions = map(json.loads, (table / "_delta_log" / f"{0:020}.json").read_text().splitlines())
    return [action["add"] for action in actions if "add" in action]


def protocol(feature: str) -> dict[str, Any]:
    return {
        "protocol": {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": [feature],
            "writerFeatures": [feature],
        }
    }


def mark_deleted(table: Path, version: int, path: str, numbers: list[int]) -> None:
    """Mark rows of a file as deleted, by a bitmap in a file of its own: Delta's protocol, "Deletion Vector
    Format".
    """
    container = struct.pack("<HHI", 0, len(numbers) - 1, 16) + struct.pack(f"<{len(numbers)}H", *numbers)
    bitmap = struct.pack("<IQIII", 1681511377, 1, 0, 12346, 1) + container
    name = uuid.uuid4()
    (table / f"deletion_vector_{name}.bin").write_bytes(
        b"\x01" + struct.pack(">I", len(bitmap)) + bitmap + struct.pack(">I", zlib.crc32(bitmap))
    )
    spelled = base64.b85encode(name.bytes).decode().translate(str.maketrans(_OF_PYTHON, _OF_DELTA))
    vector = {
        "storageType": "u",
        "pathOrInlineDv": spelled,
        "offset": 1,
        "sizeInBytes": len(bitmap),
        "cardinality": len(numbers),
    }
    [add] = [add for add in added(table) if add["path"] == path]
    remove = {"path": path, "deletionTimestamp": 1, "dataChange": True}
    commit(
        table,
        version,
        protocol("deletionVectors"),
        {"remove": remove},
        {"add": {**add, "deletionVector": vector}},
    )


def rewrite(table: Path) -> None:
    """The same rows in other files, and the old files are deleted, as a nightly job does. Written by hand:
    the vacuum of deltalake 1.5 fails where a partition is null.
    """
    changes = []
    for add in added(table):
        folder, _, name = add["path"].rpartition("/")
        path = f"{folder}/rewritten-{name}".lstrip("/")
        (table / unquote(add["path"])).rename(table / unquote(path))
        changes += [
            {"remove": {"path": add["path"], "deletionTimestamp": 1, "dataChange": True}},
            {"add": {**add, "path": path}},
        ]
    commit(table, 1, *changes)


class RewrittenOnce(LocalFileSystem):
    """A disk on which a table is rewritten right after the listing of its folder, before that of its log."""

    cachable = False

    def __init__(self, table: Path) -> None:
        super().__init__()
        self._table: Path | None = table

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
        found = super().ls(path, detail=detail, **kwargs)
        if self._table:
            rewritten, self._table = self._table, None
            rewrite(rewritten)
        return found


class TestADeltaTable:
    def test_its_log_names_the_rows_and_partitions_have_the_types_of_the_table(self, table: Path) -> None:
        assert rows(table) == [
            (f"fox {number}", 1 + number // 2, ("a/b c", "d", None)[number // 2]) for number in range(6)
        ]
        assert {type(raw.columns["num_images"]) for raw in read_table(str(table))} == {int}

    def test_deleted_and_replaced_rows_are_not_bought_although_their_files_are_there(
        self, table: Path
    ) -> None:
        delta, before = deltalake.DeltaTable(table), len(list(table.rglob("*.parquet")))
        delta.delete("prompt = 'fox 1'")
        delta.update(predicate="prompt = 'fox 2'", new_values={"prompt": "hare"})
        assert len(list(table.rglob("*.parquet"))) > before
        assert [prompt for prompt, *_ in rows(table)] == ["fox 0", "fox 3", "fox 4", "fox 5", "hare"]

    def test_rows_that_are_only_marked_as_deleted_are_not_bought(self, table: Path) -> None:
        """So Databricks deletes, and no file is written anew. The folder's name has letters that are
        escaped twice.
        """
        [path] = [str(file.relative_to(table)) for file in table.rglob("num_images=1/*/*.parquet")]
        mark_deleted(table, 1, path.replace("%", "%25"), [1])
        assert [prompt for prompt, *_ in rows(table)] == ["fox 0", "fox 2", "fox 3", "fox 4", "fox 5"]

    def test_a_checkpoint_stands_for_the_commits_before_it(self, table: Path) -> None:
        delta = deltalake.DeltaTable(table)
        delta.delete("prompt = 'fox 1'")
        delta.create_checkpoint()
        late = {"prompt": ["late"], "num_images": pa.array([4], pa.int32()), "team": ["e"], "sku": ["7"]}
        deltalake.write_deltalake(table, pa.table(late), mode="append", schema_mode="merge")
        (table / "_delta_log" / f"{0:020}.json").write_text("not read any more")
        assert [prompt for prompt, *_ in rows(table)] == ["fox 0", "fox 2", "fox 3", "fox 4", "fox 5", "late"]

    def test_a_batch_that_goes_on_notices_another_version(self, table: Path) -> None:
        requests = RequestTable(source=str(table), defaults={}, template=None)
        [*_, (third, digest), _, _, _] = requests.rows()
        assert isinstance(third, Row)
        assert len(list(requests.rows_after(3, digest, of=6))) == 3
        deltalake.DeltaTable(table).delete("prompt = 'fox 0'")
        with pytest.raises(SeedreamBatchError, match="The table was changed"):
            list(requests.rows_after(3, digest, of=6))

    def test_one_that_is_rewritten_and_vacuumed_while_it_is_read_is_an_error_to_retry(
        self, table: Path
    ) -> None:
        reading = read_table(str(table))
        next(reading)
        rewrite(table)
        with pytest.raises(
            SeedreamError,
            match=r"was changed while it was read: its file num_images=.* is gone. A retry reads",
        ) as error:
            list(reading)
        assert not isinstance(error.value, AirflowFailException)
        assert len(rows(table)) == 6

    def test_one_that_is_rewritten_while_its_files_are_listed_is_listed_again(self, tmp_path: Path) -> None:
        deltalake.write_deltalake(tmp_path / "wanted", pa.table({"prompt": ["fox"]}))
        attach("memory", conn_id="busy", fs=RewrittenOnce(tmp_path / "wanted"))
        assert [raw.columns["prompt"] for raw in read_table(f"memory://busy@{tmp_path}/wanted")] == ["fox"]
        assert len(list((tmp_path / "wanted").glob("*.parquet"))) == 1

    def test_a_table_of_which_all_is_deleted_has_no_rows(self, table: Path) -> None:
        deltalake.DeltaTable(table).delete()
        assert rows(table) == []


class TestWhatIsRefused:
    def test_a_feature_that_changes_the_meaning_of_the_files_is_refused(self, table: Path) -> None:
        for version, feature in enumerate(("columnMapping", "variantType"), 1):
            commit(table, version, protocol(feature))
            assert refusal(table).startswith(
                f"requests: the Delta table {table} has the feature {feature}, which is not read here."
            )
        assert "Give its rows as a query (SqlTable)" in refusal(table)

    def test_a_clone_whose_files_belong_to_another_table_is_refused(self, table: Path) -> None:
        add = {
            "path": "s3://other/part-0.parquet",
            "partitionValues": {"num_images": "1", "team": "a"},
            "size": 1,
        }
        commit(table, 1, {"add": {**add, "modificationTime": 1, "dataChange": True}})
        assert (
            "is a shallow clone: its log names a file of another table, s3://other/part-0.parquet"
            in refusal(table)
        )

    def test_a_file_that_was_deleted_from_the_folder_is_named(self, table: Path) -> None:
        [file] = table.rglob("num_images=2/*/*.parquet")
        file.unlink()
        assert f"names a file that is missing: {file.relative_to(table)}" in refusal(table)

    def test_a_log_that_is_broken_is_refused(self, table: Path) -> None:
        commit(table, 1, {"add": "nothing"})
        assert "Its log cannot be read (" in refusal(table)

    def test_without_deltalake_the_extra_is_named(self, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "deltalake", None)
        said = refusal(table)
        assert (
            "rows that were deleted. Its log needs deltalake, which is not installed on this worker." in said
        )
        assert "pip install 'airflow-provider-seedream[delta]'" in said
