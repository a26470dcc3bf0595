"""The files of a table of requests: one file, or a folder of part files as Spark, Athena, BigQuery, Snowflake
and DuckDB write it.

Finds and opens files; ``requests`` reads the rows in them. A folder whose files hold deleted rows, or are
still being written, is refused: a row of it could be paid for by mistake, or be missed.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from airflow_provider_seedream.batch.delta import LOG, MissingFileError, delta_files
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.hooks.first_mistakes import named
from airflow_provider_seedream.storage.airflow_paths import airflow_path
from airflow_provider_seedream.storage.listing import files_below

_BLOCK_BYTES = 4 * 1024 * 1024  # per request to a store; the clients' own defaults go up to 50 MiB
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # Hive's and Spark's name for a partition column that is null
# checksums and folder markers of Hadoop, Athena's notes on a query
_MARKER_ENDINGS = (".crc", "_$folder$", ".metadata")
# Folders of these table formats also keep files of rows that were deleted or replaced since: only their own
# log tells.
_LOGGED_FORMATS = {"metadata": "Iceberg", ".hoodie": "Hudi"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """One file of a table::

        TableFile(path="bucket/night/team=a/part-0.csv", name="team=a/part-0.csv", partition={"team": "a"})

    :param path: in its file system.
    :param name: for people: the file's name, or its path within the folder.
    :param partition: columns that stand in the folders' names, or in Delta's log, and not in the file; None
        for a null.
    :param kept: of a Delta table, as :class:`DeltaFile`.
    """

    path: str
    name: str
    partition: dict[str, Any]
    kept: Sequence[bool] = ()


def table_files(uri: str) -> tuple[Any, list[TableFile]]:
    """The file system of a table and its files, sorted by name: the order of the rows.

    :raises SeedreamInputError: the file or folder does not exist, or the folder has no part files that can be
        read as they stand.
    :raises SeedreamError: the storage does not answer, or the folder is still being written; a retry reads
        again.
    """
    with store_errors(uri):
        path = airflow_path(uri)
        fs, root = path.fs, path.path
        if fs.info(root)["type"] != "directory":
            return fs, [TableFile(path=root, name=uri.rstrip("/").rpartition("/")[2], partition={})]
        try:
            return fs, _parts(uri, fs, root)
        except (MissingFileError, FileNotFoundError):
            # a Delta table was rewritten while its files were listed: list them again
            fs.invalidate_cache()
            return fs, _parts(uri, fs, root)


@contextmanager
def opened(uri: str, fs: Any, file: TableFile) -> Iterator[Any]:
    """The open file, as bytes.

    :raises SeedreamError: the storage does not answer, or the file was deleted after it was listed; a retry
        lists anew.
    :param uri: of the table, for the message of an error.
    :param fs: the file system of fsspec, as :func:`table_files` returns it.
    """
    with store_errors(uri):
        try:
            with fs.open(file.path, "rb", block_size=_BLOCK_BYTES) as stream:
                yield stream
        except FileNotFoundError:
            raise SeedreamError(
                f"requests: {uri} was changed while it was read: its file {file.name:.200} is gone. A retry "
                "reads it anew."
            ) from None


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn the errors of a store into ours: a missing file is final, any other error may be gone at a retry.

    :param uri: of the table, for the message.
    :raises SeedreamInputError: there is no such file or folder.
    :raises SeedreamError: the storage does not answer; final if its connection or its library is missing.
    """
    try:
        yield
    except SeedreamError:
        raise
    except FileNotFoundError:
        raise SeedreamInputError(f"requests: there is no file or folder {uri}.") from None
    except Exception as error:  # each store has its own error classes
        failed = SeedreamError(f"requests: {uri} cannot be read ({type(error).__name__}: {error}).")
        raise named(failed, error, uri, begins=f"requests: {uri} cannot be read: ") from error


def _parts(uri: str, fs: Any, root: str) -> list[TableFile]:
    """The part files of a folder, sorted by name. Without hidden files and markers; of a Delta table those
    that its log names.
    """
    named = {path.strip("/").removeprefix(root.strip("/")).strip("/"): path for path in files_below(fs, root)}
    tops = {name.partition("/")[0] for name in named}
    if LOG in tops:
        found = delta_files(uri, fs, named)
        return [
            TableFile(path=named[one.name], name=one.name, partition=one.partition, kept=one.kept)
            for one in found
        ]
    _check_format(uri, named, tops)
    if "_temporary" in tops and "_SUCCESS" not in tops:
        raise SeedreamError(
            f"requests: the folder {uri} is still being written: it has _temporary and no _SUCCESS."
        )
    parts = [
        TableFile(path=named[name], name=name, partition=_partition(name))
        for name in sorted(named)
        if is_part(name)
    ]
    if not parts and "_SUCCESS" not in tops:  # Spark writes _SUCCESS beside an empty table
        raise SeedreamInputError(f"requests: the folder {uri} has no part files.")
    return parts


def _check_format(uri: str, names: Iterable[str], tops: set[str]) -> None:
    """:raises SeedreamInputError: the folder is an Iceberg or Hudi table, whose files also hold deleted
    rows.
    """
    for folder, kind in _LOGGED_FORMATS.items():
        if folder not in tops or (
            kind == "Iceberg" and not any(name.endswith(".metadata.json") for name in names)
        ):
            continue
        raise SeedreamInputError(
            f"requests: {uri} is a table of the {kind} format: its files also hold rows that were deleted. "
            "Export its current rows to a Parquet or CSV folder, and give that."
        )


def is_part(name: str) -> bool:
    """True for a file with rows: not hidden, not in a hidden folder, and no checksum or folder marker."""
    hidden = any(part.startswith(("_", ".")) for part in name.split("/"))  # as Spark, Hive and Athena do
    return bool(name) and not hidden and not name.endswith(_MARKER_ENDINGS)


def _partition(name: str) -> dict[str, str | None]:
    """The columns in the folders' names: ``num_images=2/sku=a%2Fb/part-0.parquet`` has two."""
    pairs = [folder.split("=", 1) for folder in name.split("/")[:-1] if "=" in folder]
    return {unquote(column): None if value == _NULL_PARTITION else unquote(value) for column, value in pairs}
