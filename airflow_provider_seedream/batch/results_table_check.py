"""Checks before the first POST that a database table can take the results: after it, the rows are paid.

Reads the table's columns, perhaps its keys, and writes: no row, to see that it may. Loaded when a batch has
such a table.
"""

from collections.abc import Mapping
from typing import Any, get_args

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, MetaData, String, Table, Text
from sqlalchemy.exc import CompileError, NoSuchTableError
from sqlalchemy.schema import CreateTable

from airflow_provider_seedream.batch.parquet import ColumnType, column_type
from airflow_provider_seedream.batch.row_result import COLUMN_TYPES, RowResult
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.statuses import Status
from airflow_provider_seedream.batch.target_table import TargetTable, connected, key_names, split_name
from airflow_provider_seedream.batch.upcoming import RefusedRow
from airflow_provider_seedream.exceptions import Paid, SeedreamInputError
from airflow_provider_seedream.model.submissions import sha256_json
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.tables import ResultsTable

_KEY_CHARACTERS = 255  # MySQL indexes no text without a length
_ID = "00000000-0000-4000-8000-000000000000"
_SPECIMENS = (  # of the longest status; all but the first have no values where a result may have none
    RowResult(
        row=1,
        status="landed",
        name="a",
        seedream_task_id=_ID,
        images=(f"{_ID}_1.png",),
        manifest=f"{_ID}.json",
        detail="a",
    ),
    RowResult(row=1, status="skipped_budget", paid="refunded"),
    # for a column that is an enumeration, as the next
    *(RowResult(row=1, status=status) for status in get_args(Status)),
    *(RowResult(row=1, status="landed", paid=paid) for paid in get_args(Paid)),
)


def check_key(asked: ResultsTable, by: TaskRef) -> None:
    """:raises SeedreamInputError: each instance of a mapped task, and each round of a loop, has a row 1 of
    its own.
    """
    if (by.map_index >= 0 or by.loop_index is not None) and [
        name.casefold() for name in key_names(asked.key)
    ] == ["row"]:
        raise SeedreamInputError(
            "results_table: the instances of a mapped task, and the rounds of a loop, would overwrite each "
            "other's rows: each has a row 1. Take a column of the requests as the key instead of 'row'."
        )


class TargetCheck:
    """Checks before the first POST that the results will fit the table::

        check = TargetCheck(asked)
        for row in rows:
            check.add(row)
        check.finish()

    :param asked: the table with its key. It is looked up now; without one in the database :meth:`finish`
        refuses it.
    :raises SeedreamInputError: the connection cannot be used, or the table cannot hold the results.
    :raises SeedreamError: the database does not answer; nothing was sent, and a retry asks again.
    """

    def __init__(self, asked: ResultsTable) -> None:
        self._asked = asked
        self._rows: dict[str, int] = {}
        self._kinds: dict[str, ColumnType | None] = dict(COLUMN_TYPES)
        self._target: TargetTable | None = None
        self._needed: _NeededColumns | None = None
        with connected(asked) as connection:
            self._dialect = connection.dialect
            try:
                self._target = TargetTable(connection, asked)
            except NoSuchTableError:
                return
            for specimen in _SPECIMENS:
                self._target.values(specimen.to_dict(), "The results")
                self._target.check_nulls(specimen.to_dict(), "a row of the results")
            self._target.check_writable(connection, _SPECIMENS[0].to_dict())
        self._needed = _NeededColumns(self._target)

    def add(self, row: Row | RefusedRow) -> None:
        """Check the values of a row, and that no earlier row has its key. Holds some 150 bytes for that.

        :raises SeedreamInputError: naming the row, the column and the reason.
        """
        columns = {"row": row.number, **(row.columns if isinstance(row, RefusedRow) else row.columns())}
        for column, value in columns.items():
            if column not in COLUMN_TYPES:
                self._kinds[column] = column_type(value, self._kinds.get(column))
        if self._target is None or self._needed is None:
            return
        key = self._target.key_of(self._target.values(columns, row.where))
        names = ", ".join(key_names(self._asked.key))
        if None in key:
            raise SeedreamInputError(
                f"results_table: {row.where} has no value in the key ({names:.80}): fill it, or name other "
                "columns."
            )
        self._target.check_nulls(columns, row.where)
        first = self._rows.setdefault(sha256_json([str(value) for value in key])[:16], row.number)
        if first != row.number:
            raise SeedreamInputError(
                f"results_table: {row.where} has the key of row {first} ({names:.80}: "
                f"{', '.join(map(str, key)):.80}). Each row needs its own: add a column to the key."
            )
        self._needed.add(columns, key, row.where)

    def finish(self) -> None:
        """:raises SeedreamInputError: the table does not exist: with the statement that creates it. Or rows
        have no value for a column that needs one.
        """
        if self._needed:
            self._needed.check(self._asked)
        else:
            try:
                JSON().compile(dialect=self._dialect)
                listed: Any = JSON()
            except CompileError:  # a database without such a type; the values are the same text
                listed = Text()
            types: dict[str, Any] = {
                "boolean": Boolean(),
                "integer": BigInteger(),
                "number": Float(53),
                "json": listed,
                "texts": listed,
            }
            keys = {name.casefold() for name in key_names(self._asked.key)}
            columns: list[Column[Any]] = []
            for name, kind in self._kinds.items():
                is_key = name.casefold() in keys
                text = String(_KEY_CHARACTERS) if is_key else Text()
                columns.append(
                    Column(name, types.get(kind or "text", text), primary_key=is_key, autoincrement=False)
                )
            schema, table = split_name(self._asked.table)
            statement = str(
                CreateTable(Table(table, MetaData(), *columns, schema=schema)).compile(dialect=self._dialect)
            ).strip()
            raise SeedreamInputError(
                f"results_table: connection {self._asked.conn_id!r} has no table {self._asked.table}. "
                f"Create it and clear the task. Columns that you do not need may be left out:\n{statement};\n"
            )


class _NeededColumns:
    """The columns of the table that are NOT NULL and that are no result, so that only columns of the requests
    can fill them.

    While one without a default has no value in any row, the keys of all rows are held: rows that are there
    already are updated, which needs no value.
    """

    def __init__(self, target: TargetTable) -> None:
        self._target = target
        self._has_default = target.needed(_SPECIMENS[0].to_dict())
        self._filled: set[str] = set()
        self._lacking: dict[str, str] = {}  # the first row that lacks a column
        self._keys: list[tuple[Any, ...]] = []

    def _empty(self) -> list[str]:
        """The columns without a default that no row has filled yet."""
        return [
            name
            for name, has_default in self._has_default.items()
            if not has_default and name not in self._filled
        ]

    def add(self, columns: Mapping[str, Any], key: tuple[Any, ...], where: str) -> None:
        if not self._has_default:  # most tables need nothing, and a batch has thousands of rows
            return
        names = {name.casefold() for name in columns}
        self._filled |= self._has_default.keys() & names
        for name in self._has_default.keys() - names:
            self._lacking.setdefault(name, where)
        if self._empty():
            self._keys.append(key)
        else:
            self._keys.clear()

    def check(self, asked: ResultsTable) -> None:
        """:raises SeedreamInputError: naming a column that would have no value in some row."""
        for name in sorted(self._filled & self._lacking.keys()):  # such a row gets NULL there, and no default
            self._target.check_nulls({name: None}, self._lacking[name])
        if empty := self._empty():
            with connected(asked) as connection:
                self._target.check_new(connection, empty[0], self._keys)
