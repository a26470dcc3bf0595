"""Parquet through pyarrow, an optional dependency: rows of a file, and a file of rows. Both a few rows at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

from airflow_provider_seedream.model.extras import missing_extra

ROWS_AT_A_TIME = 1000
# What a column of the results is. Values that do not fit are null; results.jsonl has them.
ColumnType = Literal["boolean", "integer", "number", "text", "json", "texts"]


def require_pyarrow() -> Any:
    """:raises SeedreamInputError: when pyarrow is not installed."""
    try:
        import pyarrow as pa
    except ImportError:
        raise missing_extra("Parquet needs pyarrow", "parquet") from None
    return pa


def read_parquet(file: Any) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """The columns of an open file, and its rows as Python values.

    :raises ValueError: when it is no Parquet file, here or on the way.
    """
    require_pyarrow()
    from pyarrow.parquet import ParquetFile

    table = ParquetFile(file)
    return list(table.schema_arrow.names), _rows(table)


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    for group in range(table.num_row_groups):  # one iteration over all groups would keep what it has read of each
        for batch in table.iter_batches(batch_size=ROWS_AT_A_TIME, row_groups=[group]):
            yield from batch.to_pylist()


def write_parquet(path: str, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, ColumnType]) -> None:
    pa = require_pyarrow()
    from pyarrow.parquet import ParquetWriter

    types = {
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "text": pa.string(),
        "json": pa.string(),
        "texts": pa.list_(pa.string()),
    }
    schema = pa.schema([(column, types[kind]) for column, kind in columns.items()])
    remaining = iter(rows)
    with ParquetWriter(path, schema) as writer:
        while some := list(islice(remaining, ROWS_AT_A_TIME)):
            arrays = {column: [fitted(row.get(column), kind) for row in some] for column, kind in columns.items()}
            writer.write_table(pa.table(arrays, schema=schema))


def column_type(value: Any, before: ColumnType | None) -> ColumnType | None:
    """The type of a column that holds a value, after what it held before; None as long as it holds nothing."""
    if value is None:
        return before
    mine = _type_of(value)
    if before is None or before == mine:
        return mine
    return "number" if {before, mine} == {"integer", "number"} else "json"


def fitted(value: Any, kind: ColumnType) -> Any:
    """A value as a column of this type holds it; None when it cannot."""
    if value is None:
        return None
    if kind == "json":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "texts":
        return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None
    return value if _type_of(value) == kind else None


def _type_of(value: Any) -> ColumnType:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "integer"
    if isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else "json"
