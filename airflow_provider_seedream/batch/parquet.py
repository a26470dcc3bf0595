"""Parquet through pyarrow, an optional dependency: rows of a file, and a file of rows.

Memory holds a thousand rows at a time, in both directions. pyarrow is imported when it is used, as a task
without Parquet must run without it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from airflow_provider_seedream.model.extras import missing_extra

ROWS_AT_A_TIME = 1000
# The types of a column of the results. Values that do not fit are null; results.jsonl has them.
ColumnType = Literal["boolean", "integer", "number", "text", "json", "texts", "instant", "labels"]


def require_pyarrow() -> Any:
    """The module ``pyarrow``.

    :raises SeedreamInputError: it is not installed; the message names the extra to install.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise missing_extra("Parquet needs pyarrow", "parquet") from None
    return pa


def read_parquet(file: Any) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """The columns of an open file, and its rows as Python values.

    :param file: an open binary file that can seek, as Parquet keeps its table of contents at the end.
    :returns: the names of the columns in the file's order, and an iterator of dicts that reads on as it is
        used.
    :raises SeedreamInputError: pyarrow is not installed.
    :raises ValueError: the file is not Parquet; raised here, or by the iterator if the damage is further on.
    """
    require_pyarrow()
    from pyarrow.parquet import ParquetFile

    table = ParquetFile(file)
    return list(table.schema_arrow.names), _rows(table)


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of all row groups. Memory holds one group."""
    for group in range(table.num_row_groups):
        # one iteration over all groups would keep the pages of each in memory
        for batch in table.iter_batches(batch_size=ROWS_AT_A_TIME, row_groups=[group]):
            yield from batch.to_pylist()


def write_parquet(path: str, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, ColumnType]) -> None:
    """Write rows to a new local file, a thousand at a time.

    :param path: of the file; an existing one is replaced.
    :param rows: columns that a row lacks are null. Values are fitted to the type of their column.
    :param columns: the names and types of all columns, in the order of the file. They are known before the
        first row is written, because Parquet fixes the schema at the head of the file.
    """
    pa = require_pyarrow()
    from pyarrow.parquet import ParquetWriter

    types = {
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "text": pa.string(),
        "json": pa.string(),
        "texts": pa.list_(pa.string()),
        "instant": pa.timestamp("us", tz="UTC"),
        "labels": pa.map_(pa.string(), pa.string()),
    }
    schema = pa.schema([(column, types[kind]) for column, kind in columns.items()])
    remaining = iter(rows)
    with ParquetWriter(path, schema) as writer:
        while some := list(islice(remaining, ROWS_AT_A_TIME)):
            arrays = {
                column: [fitted(row.get(column), kind) for row in some] for column, kind in columns.items()
            }
            writer.write_table(pa.table(arrays, schema=schema))


def column_type(value: Any, before: ColumnType | None) -> ColumnType | None:
    """The type of a column after one more value; None as long as it holds only nulls.

    Integers beside floats make numbers. Any other mixture is kept as JSON text, so no value is lost::

        column_type("red", column_type(7, None))  # "json"

    :param value: of the next row; null changes nothing.
    :param before: the type by the rows up to it.
    """
    if value is None:
        return before
    mine = _type_of(value)
    if before is None or before == mine:
        return mine
    return "number" if {before, mine} == {"integer", "number"} else "json"


def fitted(value: Any, kind: ColumnType) -> Any:
    """A value as a column of this type holds it; None when it cannot.

    A null in the Parquet file loses no data: ``results.jsonl`` has every value as it was.
    """
    if value is None:
        return None
    if kind == "json":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "instant":
        return value if isinstance(value, datetime) else None
    if kind == "labels":
        return list(value.items()) if isinstance(value, Mapping) else None
    if kind == "texts":
        return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None
    return value if _type_of(value) == kind else None


def _type_of(value: Any) -> ColumnType:
    """The type of one value. An integer beyond 64 bits is JSON, as Parquet's integers end there."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "integer"
    if isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else "json"
