"""A table of requests, read row by row: a list of dicts, a query, or JSON lines, CSV or Parquet in the user's
storage.

A line that cannot be read ends the table with an error that names the file and the line; ``rows`` checks the
values of a row. Memory holds one row (Parquet: one row group), however long the table.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, compress, repeat
from typing import Any, NamedTuple

from airflow_provider_seedream.batch.parquet import read_parquet
from airflow_provider_seedream.batch.rows import check_column
from airflow_provider_seedream.batch.spelling import Spelling
from airflow_provider_seedream.batch.table_files import TableFile, opened, table_files
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.tables import SqlTable

_BUFFER_BYTES = 4 * 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_LOCAL = ("", "file", "local")
_REFUSED = ("http", "https")
# csv's own limit, 131,072 characters, is less than one image as a data URI: a cell may hold all images of an
# edit
_MAX_CELL = contract.MAX_SOURCES * (contract.MAX_SOURCE_BYTES * 4 // 3 + 1024)
# bytes: a packed file of some kB may hold a line of many GB, which no worker's memory has room for
_MAX_LINE = 2 * _MAX_CELL
_SPARK_HINT = (
    " If Spark wrote it: write it again with .option('escape', '\"'), so that quotes in a cell are doubled."
)
_Found = tuple[str, dict[str, Any], tuple[str, ...]]  # where, columns, header


class RawRow(NamedTuple):
    """A row as its table has it: ``build_row(*raw, defaults=...)`` makes a request of it.

    ::

        RawRow(
            number=6, where="line 7 of requests.csv", columns={"prompt": "a watch"}, header=("prompt", "seed")
        )

    :param number: counts rows from 1; blank lines and the header do not count.
    :param where: its place in the table, for people: ``line 7 of requests.csv``, ``requests[6]``.
    :param columns: the cells that hold something, by column.
    :param header: the columns of a CSV or a query, the empty cells among them, which ``columns`` of a CSV
        leaves out.
    """

    number: int
    where: str
    columns: dict[str, Any]
    header: tuple[str, ...] = ()


def check_table(source: Any) -> None:
    """Check a table without reading it: all that can be known when a DAG is parsed.

    :raises SeedreamInputError: this cannot be a table.
    :param source: as for :func:`read_table`.
    """
    if isinstance(source, str):
        _check_uri(source.strip())
    elif isinstance(source, SqlTable):
        return
    elif not isinstance(source, Sequence) or isinstance(source, bytes):
        raise SeedreamInputError(
            "requests must be a list of dicts, the URI of a table or a SqlTable, not "
            f"{type(source).__name__}."
        )


def read_table(source: Any) -> Iterator[RawRow]:
    """The rows of a table. An empty table has no rows; that is not an error.

    Columns are compared without case, as Spark, Snowflake and DuckDB do: ``PROMPT`` is the parameter
    ``prompt``.

    :param source: a list of dicts, a :class:`SqlTable`, or the storage URI or absolute path of a file or a
        folder of files. Files end in .jsonl, .ndjson, .json, .csv (also in .gz after these) or .parquet.
    :raises SeedreamInputError: naming the file and the line.
    :raises SeedreamError: the storage does not answer; a retry reads again.
    """
    check_table(source)
    if isinstance(source, SqlTable):
        return _numbered(_query_rows(source))
    return _numbered(_table_rows(source.strip()) if isinstance(source, str) else _list_rows(source))


def _numbered(rows: Iterator[_Found]) -> Iterator[RawRow]:
    """The rows with their numbers, and with one spelling for each column."""
    spelling = Spelling()
    for number, (where, columns, header) in enumerate(rows, 1):
        yield RawRow(
            number,
            where,
            spelling.unified(columns, where),
            tuple(spelling.unified(dict.fromkeys(header), where)),
        )


def _list_rows(source: Sequence[Any]) -> Iterator[_Found]:
    """The rows of a list. Rows must be dicts whose keys are text."""
    for index, row in enumerate(source):
        where = f"requests[{index}]"
        if not isinstance(row, dict):
            raise SeedreamInputError(f"{where} must be a dict of columns, not {type(row).__name__}.")
        if not all(isinstance(column, str) for column in row):
            raise SeedreamInputError(f"{where}: names of columns must be text.")
        yield where, row, ()


def _query_rows(table: SqlTable) -> Iterator[_Found]:
    from airflow_provider_seedream.batch.query import query_rows

    for number, row in enumerate(query_rows(table), 1):
        if number == 1:
            _header(list(row), "the query")
        yield f"row {number} of the query", row, tuple(row)


def _table_rows(uri: str) -> Iterator[_Found]:
    """The rows of all files of a table. CSV parts must share one header, or a first row would be lost as a
    header.
    """
    fs, files = table_files(uri)
    first_header: tuple[str, ...] = ()
    for file in files:
        with opened(uri, fs, file) as stream:
            read = _reader_of(file.name) or _reader_by_magic(stream, file.name)
            kept = compress(read(stream, file.name), chain(file.kept, repeat(True)))
            for where, columns, header in kept:
                first_header = first_header or header
                if header != first_header:  # a part without a header: its first row was read as one
                    raise SeedreamInputError(
                        f"{file.name} has another header than the first part: {', '.join(header)!r:.80}."
                    )
                yield where, _with_partition(columns, file, where), header


def _with_partition(columns: dict[str, Any], file: TableFile, where: str) -> dict[str, Any]:
    """The columns of a row and of its folders' names, e.g. ``team`` of ``team=a/part-0.csv``.

    :raises SeedreamInputError: both have the column, with different values.
    """
    for column, value in file.partition.items():
        if column in columns and str(columns[column]) != str(value):
            raise SeedreamInputError(
                f"{where}: column {column!r:.80} has another value than the folder's name, {value!r:.80}."
            )
    return {**columns, **file.partition}


def _check_uri(uri: str) -> None:
    """:raises SeedreamInputError: the URI can be no table: a link, a relative path, or a file of an
    unknown kind.
    """
    scheme, _, path = uri.rpartition("://")
    if scheme in _REFUSED or (scheme in _LOCAL and not path.startswith("/")):
        raise SeedreamInputError(
            f"requests must be a list of dicts, a storage URI or an absolute path; got {uri!r:.200}."
        )
    may_be_folder = "." not in path.rpartition("/")[2]
    if not may_be_folder and not _reader_of(uri):
        endings = ", ".join(_READERS)
        raise SeedreamInputError(
            f"requests: the table's name must end in {endings} (text also in .gz), or be a folder; got "
            f"{uri!r:.200}."
        )


def _reader_of(name: str) -> Callable[[Any, str], Iterator[_Found]] | None:
    """The reader that the end of a name asks for. Parquet is compressed inside, never as a whole."""
    plain = name.lower().removesuffix(".gz")
    read = next((read for ending, read in _READERS.items() if plain.endswith(ending)), None)
    return None if read is _parquet_rows and plain != name.lower() else read


def _reader_by_magic(stream: Any, name: str) -> Callable[[Any, str], Iterator[_Found]]:
    """The reader of a part without a known end: Athena and BigQuery write Parquet like that."""
    magic = stream.read(len(_PARQUET_MAGIC))
    stream.seek(0)
    if magic != _PARQUET_MAGIC:
        raise SeedreamInputError(
            f"requests: {name} is not Parquet, and its name does not end in {', '.join(_READERS)}."
        )
    return _parquet_rows


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


def _json_rows(file: Any, name: str) -> Iterator[_Found]:
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


def _csv_rows(file: Any, name: str) -> Iterator[_Found]:
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
            header = tuple(_header(list(header[has_index:]), where))
        else:
            yield where, _csv_row(header, cells[has_index:], where), header


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


_READERS = {
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".json": _json_rows,  # as Spark, BigQuery and Snowflake write JSON: one object per line
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
