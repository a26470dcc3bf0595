"""A table of requests, read row by row: a list of dicts, a query, or JSON lines, CSV or Parquet in the user's
storage.

A line that cannot be read ends the table with an error that names the file and the line; ``rows`` checks the
values of a row. Memory holds one row (Parquet: one row group), however long the table.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, compress, repeat
from typing import Any, NamedTuple

from airflow_provider_seedream.batch.formats import Found, check_header, csv_rows, json_rows, parquet_rows
from airflow_provider_seedream.batch.spelling import Spelling
from airflow_provider_seedream.batch.table_files import TableFile, opened, table_files
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.tables import SqlTable

_PARQUET_MAGIC = b"PAR1"
_LOCAL = ("", "file", "local")
_REFUSED = ("http", "https")


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


def _numbered(rows: Iterator[Found]) -> Iterator[RawRow]:
    """The rows with their numbers, and with one spelling for each column."""
    spelling = Spelling()
    for number, (where, columns, header) in enumerate(rows, 1):
        yield RawRow(
            number,
            where,
            spelling.unified(columns, where),
            tuple(spelling.unified(dict.fromkeys(header), where)),
        )


def _list_rows(source: Sequence[Any]) -> Iterator[Found]:
    """The rows of a list. Rows must be dicts whose keys are text."""
    for index, row in enumerate(source):
        where = f"requests[{index}]"
        if not isinstance(row, dict):
            raise SeedreamInputError(f"{where} must be a dict of columns, not {type(row).__name__}.")
        if not all(isinstance(column, str) for column in row):
            raise SeedreamInputError(f"{where}: names of columns must be text.")
        yield where, row, ()


def _query_rows(table: SqlTable) -> Iterator[Found]:
    from airflow_provider_seedream.batch.query import query_rows

    for number, row in enumerate(query_rows(table), 1):
        if number == 1:
            check_header(list(row), "the query")
        yield f"row {number} of the query", row, tuple(row)


def _table_rows(uri: str) -> Iterator[Found]:
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


def _reader_of(name: str) -> Callable[[Any, str], Iterator[Found]] | None:
    """The reader that the end of a name asks for. Parquet is compressed inside, never as a whole."""
    plain = name.lower().removesuffix(".gz")
    read = next((read for ending, read in _READERS.items() if plain.endswith(ending)), None)
    return None if read is parquet_rows and plain != name.lower() else read


def _reader_by_magic(stream: Any, name: str) -> Callable[[Any, str], Iterator[Found]]:
    """The reader of a part without a known end: Athena and BigQuery write Parquet like that."""
    magic = stream.read(len(_PARQUET_MAGIC))
    stream.seek(0)
    if magic != _PARQUET_MAGIC:
        raise SeedreamInputError(
            f"requests: {name} is not Parquet, and its name does not end in {', '.join(_READERS)}."
        )
    return parquet_rows


_READERS = {
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".json": json_rows,  # as Spark, BigQuery and Snowflake write JSON: one object per line
    ".csv": csv_rows,
    ".parquet": parquet_rows,
}
