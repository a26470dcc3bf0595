"""The rows of one open file of a table: JSON lines and CSV, also in gzip, and Parquet. Memory holds one row
(Parquet: one row group). Imports no storage: another module finds the files, opens them and chooses the
reader.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_provider_seedream.batch.parquet import read_parquet
from airflow_provider_seedream.batch.rows import check_column
from airflow_provider_seedream.batch.spelling import Spelling
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model import contract

_BUFFER_BYTES = 4 * 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
# csv's own limit, 131,072 characters, is less than one image as a data URI: a cell may hold all images of an
# edit
_MAX_CELL = contract.MAX_SOURCES * (contract.MAX_SOURCE_BYTES * 4 // 3 + 1024)
# bytes: a packed file of some kB may hold a line of many GB, which no worker's memory has room for
_MAX_LINE = 2 * _MAX_CELL
_SPARK_HINT = (
    " If Spark wrote it: write it again with .option('escape', '\"'), so that quotes in a cell are doubled."
)
Found = tuple[str, dict[str, Any], tuple[str, ...]]  # where, columns, header


def json_rows(file: Any, name: str) -> Iterator[Found]:
    """The rows of JSON lines: one object per line, blank lines passed over."""
    for number, line in enumerate(_lines(file, name), 1):
        if line.strip():
            where = f"line {number} of {name}"
            yield where, _json_object(line, where), ()


def _json_object(line: str, where: str) -> dict[str, Any]:
    """One line as a dict.

    :raises SeedreamInputError: it is not a JSON object, or names a column twice.
    """
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise SeedreamInputError(
            f"{where} is no JSON: {getattr(error, 'msg', error)}.{_no_list(line)}"
        ) from None
    if not isinstance(row, dict):
        raise SeedreamInputError(f"{where} must be a JSON object, not {type(row).__name__}.{_no_list(line)}")
    return row


def _no_list(line: str) -> str:
    """A hint, if the line begins a list of objects."""
    is_list = "".join(line.split())[:2] in ("[", "[{")
    return " A table has one JSON object per line, and no list around them." if is_list else ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a column that a JSON object names twice: Python would keep the last value, and drop the first
    in silence.
    """
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.80} occurs twice")
    return row


def csv_rows(file: Any, name: str) -> Iterator[Found]:
    """The rows of a CSV as RFC 4180 has it: commas, and quotes doubled within a cell. The header comes
    first.
    """
    # of the whole process: never lowered, others may count on it
    csv.field_size_limit(max(_MAX_CELL, csv.field_size_limit()))
    reader = csv.reader(_lines(file, name), strict=True)
    header: tuple[str, ...] | None = None
    while True:
        where = f"line {reader.line_num + 1} of {name}"  # a quoted cell may span lines: the first of them
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise SeedreamInputError(
                f"{where} is no CSV: {error}.{_SPARK_HINT if 'expected after' in str(error) else ''}"
            ) from None
        if cells is None:
            return
        if not any(cells):  # blank, or nothing but commas, as spreadsheets leave lines
            continue
        if header is None:
            header = tuple(cell.strip() for cell in cells)
            # pandas writes its row index as a first column without a name
            has_index = len(header) > 1 and not header[0]
            header = tuple(check_header(list(header[has_index:]), where))
        else:
            yield where, _csv_row(header, cells[has_index:], where), header


def _csv_row(header: Sequence[str], cells: list[str], where: str) -> dict[str, Any]:
    if len(cells) != len(header):
        raise SeedreamInputError(f"{where} has {len(cells)} cells; the header has {len(header)}.")
    return {column: cell for column, cell in zip(header, cells, strict=True) if cell}


def parquet_rows(file: Any, name: str) -> Iterator[Found]:
    """The rows of a Parquet file."""
    try:
        columns, rows = read_parquet(file)
        check_header(columns, name)
        for number, row in enumerate(rows, 1):
            yield f"row {number} of {name}", row, ()
    except SeedreamInputError:
        raise
    except ValueError as error:  # pyarrow's ArrowInvalid among them
        raise SeedreamInputError(f"{name} cannot be read as Parquet ({error}).") from None


def check_header(columns: list[str], where: str) -> list[str]:
    """Check the columns once for all rows: a row with a misspelt parameter must not be paid for."""
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise SeedreamInputError(f"{where}: columns must be separated by commas; got {columns[0]!r:.80}.")
    for column in columns:
        if columns.count(column) > 1:
            raise SeedreamInputError(f"{where}: column {column!r:.80} occurs twice.")
    unified = list(Spelling().unified(dict.fromkeys(columns), where))
    for column in unified:
        try:
            check_column(column)
        except SeedreamInputError as error:
            raise SeedreamInputError(f"{where}: {error.message}") from None
    return unified


def _lines(file: Any, name: str) -> Iterator[str]:
    """The lines of a file as text, without a byte order mark."""
    unzipped = _unzipped(file)
    try:
        for number, line in enumerate(iter(lambda: unzipped.readline(_MAX_LINE), b""), 1):
            if len(line) == _MAX_LINE:
                raise SeedreamInputError(
                    f"line {number} of {name} is longer than {_MAX_LINE // 1_000_000} MB, more than ten "
                    "images take."
                )
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise SeedreamInputError(f"line {number} of {name} is not UTF-8 ({error.reason}).") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SeedreamInputError(f"{name} is not a whole gzip file ({error}).") from None


def _unzipped(file: Any) -> io.BufferedReader:
    """The bytes of a file, unpacked. Its first bytes tell: a store may already have unpacked a file whose
    name ends in .gz.
    """
    plain = io.BufferedReader(file, _BUFFER_BYTES)  # fsspec's own lines copy a block for each
    magic = plain.read(len(_GZIP_MAGIC))
    plain.seek(0)  # within the buffer
    if magic != _GZIP_MAGIC:
        return plain
    return io.BufferedReader(gzip.GzipFile(fileobj=plain), _BUFFER_BYTES)
