"""A table of requests, read row by row: a list of dicts, or a file of JSON lines, CSV or Parquet in the user's storage.

What cannot be read ends the table, with the file's name and the line; what a row says is judged in ``rows``. Memory holds one row
(Parquet: one row group), however long the table.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from airflow_provider_seedream.batch.parquet import read_parquet
from airflow_provider_seedream.batch.rows import check_column
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.model import contract

_BLOCK_BYTES = 4 * 1024 * 1024  # per request to a store; the clients' own defaults go up to 50 MiB
_LOCAL = ("", "file", "local")
_REFUSED = ("http", "https")
# csv's own limit, 131,072 characters, is less than one image as a data URI: a cell may hold all images of an edit
_MAX_CELL = contract.MAX_SOURCES * (contract.MAX_SOURCE_BYTES * 4 // 3 + 1024)
_Found = tuple[str, dict[str, Any], tuple[str, ...]]  # where, columns, header


class RawRow(NamedTuple):
    """A row as its table has it: ``build_row(*raw, defaults=...)`` makes a request of it.

    ``number`` counts rows from 1; ``where`` says where it stands, for people: ``line 7 of requests.csv``, ``requests[6]``.
    ``header`` names the columns of a CSV, the empty cells among them, which ``columns`` leaves out.
    """

    number: int
    where: str
    columns: dict[str, Any]
    header: tuple[str, ...] = ()


def check_table(source: Any) -> None:
    """Whether this can be a table, judged without reading it.

    :raises SeedreamInputError: when it cannot.
    """
    if isinstance(source, str):
        _reader(source)
    elif not isinstance(source, Sequence) or isinstance(source, bytes):
        raise SeedreamInputError(f"requests must be a list of dicts or the URI of a table, not {type(source).__name__}.")


def read_table(source: Any) -> Iterator[RawRow]:
    """The rows of a table. An empty table has none, and that is no error.

    :param source: a list of dicts, or a storage URI or absolute path that ends in .jsonl, .ndjson, .csv or .parquet.
    :raises SeedreamInputError: naming the file and the line.
    :raises SeedreamError: when the storage does not answer; a retry reads again.
    """
    check_table(source)
    return _numbered(_file_rows(source) if isinstance(source, str) else _list_rows(source))


def _numbered(rows: Iterator[_Found]) -> Iterator[RawRow]:
    for number, found in enumerate(rows, 1):
        yield RawRow(number, *found)


def _list_rows(source: Sequence[Any]) -> Iterator[_Found]:
    for index, row in enumerate(source):
        where = f"requests[{index}]"
        if not isinstance(row, dict):
            raise SeedreamInputError(f"{where} must be a dict of columns, not {type(row).__name__}.")
        if not all(isinstance(column, str) for column in row):
            raise SeedreamInputError(f"{where}: names of columns must be text.")
        yield where, row, ()


def _file_rows(uri: str) -> Iterator[_Found]:
    read, name = _reader(uri), _file_name(uri)
    with _opened(uri) as file:
        yield from read(file, name)


def _reader(uri: str) -> Callable[[Any, str], Iterator[_Found]]:
    scheme, _, path = uri.strip().rpartition("://")
    if scheme in _REFUSED or (scheme in _LOCAL and not path.startswith("/")):
        raise SeedreamInputError(f"requests must be a list of dicts, a storage URI or an absolute path; got {uri!r:.200}.")
    for ending, read in _READERS.items():
        if uri.strip().lower().endswith(ending):
            return read
    raise SeedreamInputError(f"requests: the table's name must end in {', '.join(_READERS)}; got {uri!r:.200}.")


def _file_name(uri: str) -> str:
    return uri.strip().rpartition("/")[2]


@contextmanager
def _opened(uri: str) -> Iterator[Any]:
    from airflow.sdk import ObjectStoragePath

    try:
        path = ObjectStoragePath(uri.strip())
        with path.fs.open(path.path, "rb", block_size=_BLOCK_BYTES) as file:
            yield file
    except SeedreamError:
        raise
    except (FileNotFoundError, IsADirectoryError):
        raise SeedreamInputError(f"requests: there is no file {uri}.") from None
    except Exception as error:  # whatever a store raises
        raise SeedreamError(f"requests: {uri} cannot be read ({type(error).__name__}: {error}).") from error


def _lines(file: Any, name: str) -> Iterator[str]:
    """The lines of a file as text; a byte order mark is no part of it."""
    for number, line in enumerate(io.BufferedReader(file, _BLOCK_BYTES), 1):  # fsspec's own lines copy a block for each
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise SeedreamInputError(f"line {number} of {name} is not UTF-8 ({error.reason}).") from None


def _json_rows(file: Any, name: str) -> Iterator[_Found]:
    for number, line in enumerate(_lines(file, name), 1):
        if line.strip():
            where = f"line {number} of {name}"
            yield where, _json_object(line, where), ()


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise SeedreamInputError(f"{where} is no JSON: {getattr(error, 'msg', error)}.") from None
    if not isinstance(row, dict):
        raise SeedreamInputError(f"{where} must be a JSON object, not {type(row).__name__}.")
    return row


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.80} occurs twice")
    return row


def _csv_rows(file: Any, name: str) -> Iterator[_Found]:
    csv.field_size_limit(max(_MAX_CELL, csv.field_size_limit()))  # of the whole process: never lowered, others may count on it
    reader = csv.reader(_lines(file, name), strict=True)
    header: tuple[str, ...] | None = None
    while True:
        where = f"line {reader.line_num + 1} of {name}"  # a quoted cell may span lines: the first of them
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise SeedreamInputError(f"{where} is no CSV: {error}.") from None
        if cells is None:
            return
        if not any(cells):  # blank, or nothing but commas, as spreadsheets leave lines
            continue
        if header is None:
            header = tuple(_header([cell.strip() for cell in cells], where))
        else:
            yield where, _csv_row(header, cells, where), header


def _csv_row(header: Sequence[str], cells: list[str], where: str) -> dict[str, Any]:
    if len(cells) != len(header):
        raise SeedreamInputError(f"{where} has {len(cells)} cells; the header has {len(header)}.")
    return {column: cell for column, cell in zip(header, cells, strict=True) if cell}


def _parquet_rows(file: Any, name: str) -> Iterator[_Found]:
    try:
        columns, rows = read_parquet(file)
        _header(columns, name)
        for number, row in enumerate(rows, 1):
            yield f"row {number} of {name}", row, ()
    except SeedreamInputError:
        raise
    except ValueError as error:  # pyarrow's ArrowInvalid among them
        raise SeedreamInputError(f"{name} cannot be read as Parquet ({error}).") from None


def _header(columns: list[str], where: str) -> list[str]:
    """Judged once for all rows: nothing may be paid for under a misspelt column."""
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise SeedreamInputError(f"{where}: columns must be separated by commas; got {columns[0]!r:.80}.")
    for column in columns:
        try:
            check_column(column)
        except SeedreamInputError as error:
            raise SeedreamInputError(f"{where}: {error.message}") from None
        if columns.count(column) > 1:
            raise SeedreamInputError(f"{where}: column {column!r:.80} occurs twice.")
    return columns


_READERS = {".jsonl": _json_rows, ".ndjson": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
