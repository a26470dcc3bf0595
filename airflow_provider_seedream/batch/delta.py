"""The rows of a Delta table: which files its log names now, with their partitions and their deleted rows.

deltalake reads the log from a local copy, so the table may lie in any store that Airflow's connections reach,
and its own credentials are not needed. The data files are read as any Parquet. It is an optional dependency,
imported when it is used.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.extras import missing_extra

LOG = "_delta_log"
# Reader features of the format that need nothing more than below. Any other may change the meaning of the
# files.
_READABLE = {
    "deletionVectors",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "typeWidening",
    "typeWidening-preview",
}
_OTHERWISE = "Give its rows as a query (SqlTable), or export them to a folder of Parquet files."


class MissingFileError(SeedreamInputError):
    """The log names a file that is not there: it was deleted, or the table was rewritten after its files were
    listed.

    The table is listed once more after it::

        raise MissingFileError(
            "requests: the log of the Delta table ... names a file that is missing: part-0.parquet."
        )
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaFile:
    """A data file of a Delta table::

        DeltaFile(name="num_images=2/part-0.parquet", partition={"num_images": 2}, kept=[True, False])

    :param name: its path within the table's folder.
    :param partition: columns that stand in the log and not in the file, with the types of the table.
    :param kept: True for each row that was not deleted. If it is shorter than the file, the rows beyond its
        end were not.
    """

    name: str
    partition: dict[str, Any]
    kept: Sequence[bool]


def delta_files(uri: str, fs: Any, paths: Mapping[str, str]) -> list[DeltaFile]:
    """The data files of the table's current version, sorted by name.

    :param uri: of the table, for the message of an error.
    :param fs: the file system of fsspec.
    :param paths: of all files below the table's folder, by their names within it.
    :raises SeedreamInputError: deltalake is not installed, the log is broken, or the table has a feature that
        is not read here.
    :raises MissingFileError: the log names a file that is not among the paths.
    :raises FileNotFoundError: a file of the log was deleted after it was listed.
    """
    try:
        from deltalake import DeltaTable
    except ImportError:
        needs = (
            f"requests: {uri} is a table of the Delta format: its files also hold rows that were "
            "deleted. Its log needs deltalake"
        )
        raise missing_extra(needs, "delta") from None
    with tempfile.TemporaryDirectory(prefix="seedream-delta-") as local:
        for name in _log_files(fs, paths):
            (Path(local) / name).parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(paths[name], str(Path(local) / name))
        try:
            files = _files(DeltaTable(local))
        except SeedreamInputError as error:
            raise SeedreamInputError(
                f"requests: the Delta table {uri} {error.message}. {_OTHERWISE}"
            ) from None
        except Exception as error:  # of deltalake: the log is broken, or of a later version of the format
            raise SeedreamInputError(
                f"requests: {uri} is a table of the Delta format: its files also hold rows that were "
                f"deleted. Its log cannot be read ({error!s:.300})."
            ) from error
    for file in files:
        if file.name not in paths:
            raise MissingFileError(
                f"requests: the log of the Delta table {uri} names a file that is missing: {file.name:.200}."
            )
    return files


def _log_files(fs: Any, paths: Mapping[str, str]) -> list[str]:
    """The files that tell the current version: the last checkpoint and all after it, and the marks of deleted
    rows.

    A table that is written every minute keeps tens of thousands of older ones.
    """
    since, pointer = 0, f"{LOG}/_last_checkpoint"
    if pointer in paths:
        since = int(json.loads(fs.cat_file(paths[pointer]))["version"])
    return [
        name
        for name in paths
        if name.endswith(".bin") or (name.startswith(f"{LOG}/") and _version_of(name, since) >= since)
    ]


def _version_of(name: str, otherwise: int) -> int:
    """The version in the name of a file of the log; files without one belong to each version."""
    digits = name.rpartition("/")[2].partition(".")[0]
    return int(digits) if digits.isdecimal() else otherwise


def _files(table: Any) -> list[DeltaFile]:
    """The files that the log names.

    :raises SeedreamInputError: the table has a feature that is not read here; the message goes on from the
        table's name.
    """
    features = set(table.protocol().reader_features or ())
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        features.add("columnMapping")
    if strange := sorted(features - _READABLE):
        raise SeedreamInputError(f"has the feature {strange[0]}, which is not read here")
    root = table.table_uri.rstrip("/") + "/"
    kept = {
        unquote(one["filepath"].removeprefix(root)): one["selection_vector"]
        for one in _rows(table.deletion_vectors(), "filepath", "selection_vector")
    }
    added = [
        (unquote(one["path"]), one.get("partition") or {})
        for one in _rows(table.get_add_actions(), "path", "partition")
    ]
    if outside := next((name for name, _ in added if "://" in name or name.startswith("/")), None):
        raise SeedreamInputError(f"is a shallow clone: its log names a file of another table, {outside:.200}")
    files = [DeltaFile(name=name, partition=partition, kept=kept.get(name, ())) for name, partition in added]
    return sorted(files, key=attrgetter("name"))


def _rows(stream: Any, *columns: str) -> Iterator[dict[str, Any]]:
    """Some columns of an Arrow stream of deltalake, as dicts. A column that is not there is left out."""
    import pyarrow as pa

    for batch in pa.RecordBatchReader.from_stream(stream):
        yield from batch.select([name for name in columns if name in batch.schema.names]).to_pylist()
