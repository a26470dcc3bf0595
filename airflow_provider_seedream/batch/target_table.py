"""A table of a database as the results meet it: the values that its columns take, its key, and the inserted
and updated rows. SQLAlchemy writes the statements and quotes the names. Never imports a driver: Airflow's
hook does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, JSON, Column, MetaData, Table, bindparam, false, insert, select, tuple_, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError

from airflow_provider_seedream.batch.column_values import check_bounds, fitted
from airflow_provider_seedream.batch.databases import driver_error, is_refused, short_text, sql_hook
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError, final
from airflow_provider_seedream.tables import ResultsTable

ROWS_AT_A_TIME = 500
_PRICES = ("credits", "billed_credits")


class Counts(NamedTuple):
    """The rows of a table after its update, e.g. ``Counts(inserted=2, updated=0, unchanged=38)``."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


class TargetTable:
    """The table as it is in the database, with the columns of the key.

    For some rows of the results::

        target = TargetTable(connection, asked)
        target.write(connection, [target.values(line, "row 1 of the results")]).inserted  # 1

    :raises NoSuchTableError: there is no such table.
    :raises SeedreamInputError: it lacks a column of the key.
    """

    def __init__(self, connection: Connection, asked: ResultsTable) -> None:
        schema, name = split_name(asked.table)
        table = Table(name, MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)
        self._name = asked.table
        self._table = table
        self._dialect = connection.dialect.name
        self._columns = {column.name.casefold(): column for column in table.columns}
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type.none_as_null = True  # else None is the JSON `null`, which IS NULL does not find
        self._key = [self._column_of_key(name) for name in key_names(asked.key)]

    def _column_of_key(self, name: str) -> Column[Any]:
        column = self._columns.get(name.casefold())
        if column is None or isinstance(column.type, JSON | ARRAY):
            has = ", ".join(f"{one.name} {one.type}" for one in self._table.columns)
            raise SeedreamInputError(
                f"results_table: {self._name} has no column {name!r:.80} for a key. It has: {has:.300}."
            )
        return column

    def values(self, line: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The values of a row for the columns that the table has, by their names there.

        :raises SeedreamInputError: naming the row, the column and the value that does not fit.
        """
        values = {}
        for name, value in line.items():
            if (column := self._columns.get(name.casefold())) is not None:
                try:
                    if column.computed is not None or (
                        column.identity is not None and column.identity.always
                    ):
                        raise ValueError("the database generates its values")
                    values[column.key] = fitted(value, column.type)
                    check_bounds(values[column.key], column.type, self._dialect)
                except ValueError as error:
                    raise SeedreamInputError(
                        f"results_table: {where}: column {name!r:.80} of {self._name} is {column.type}, and "
                        f"does not take {value!r:.80} ({error})."
                    ) from None
        return values

    def check_nulls(self, line: Mapping[str, Any], where: str) -> None:
        """:raises SeedreamInputError: a column without a value here is NOT NULL: its row could be neither
        inserted nor updated.
        """
        for name, value in line.items():
            column = self._columns.get(name.casefold())
            if value is None and column is not None and not column.nullable:
                raise SeedreamInputError(
                    f"results_table: column {name!r:.80} of {self._name} is NOT NULL, and {where} may have "
                    "no value there. Let it be NULL, or leave the column out."
                )

    def needed(self, given: Iterable[str]) -> dict[str, bool]:
        """The columns that are NOT NULL and that only the rows of the requests can fill, each with whether it
        has a default.

        :param given: names that each row of the results has. The key is left out, as each row needs one.
        :returns: by their names without case, e.g. ``{"brand": False}``.
        """
        filled = {*map(str.casefold, given), *(column.name.casefold() for column in self._key)}
        return {
            name: self._has_default(column)
            for name, column in self._columns.items()
            if not column.nullable and name not in filled
        }

    def _has_default(self, column: Column[Any]) -> bool:
        """True if the database gives a new row a value, or if that is not known: it is tested for SQLite
        and PostgreSQL only.
        """
        is_counted = self._dialect == "sqlite" and column is self._table.autoincrement_column
        is_known = self._dialect in ("sqlite", "postgresql")
        return not is_known or is_counted or any((column.server_default, column.identity, column.computed))

    def check_writable(self, connection: Connection, names: Iterable[str]) -> None:
        """Insert no row and update none, in these columns: a role without the privilege, a view and a replica
        refuse even that.

        :param names: of results. Those that the table has not are passed over.
        :raises SQLAlchemyError: of the driver.
        """
        there = [column for name in names if (column := self._columns.get(name.casefold())) is not None]
        columns = [*self._key, *(column for column in there if column not in self._key)]
        nothing = select(*columns).where(false())
        connection.execute(
            insert(self._table).from_select(
                [column.key for column in columns], nothing, include_defaults=False
            )
        )
        if others := {column.key: column for column in columns[len(self._key) :]}:
            connection.execute(update(self._table).where(false()).values(others))

    def check_new(self, connection: Connection, name: str, keys: Iterable[tuple[Any, ...]]) -> None:
        """Check that the rows of these keys are there already, as this column needs a value and gets none.

        :raises SeedreamInputError: one of them is new.
        """
        names, remaining = [column.key for column in self._key], iter(keys)
        while some := list(islice(remaining, ROWS_AT_A_TIME)):
            stored = self._stored(connection, [dict(zip(names, key, strict=True)) for key in some])
            if any(key not in stored for key in some):
                raise SeedreamInputError(
                    f"results_table: column {name!r:.80} of {self._name} is NOT NULL without a DEFAULT, and "
                    "the results have no such column, so no row can be inserted. Give it a DEFAULT, let it "
                    "be NULL, or fill it by a column of the requests."
                )

    def key_of(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of the key columns, in their order: equal for the same row of the table."""
        return tuple(values.get(column.key) for column in self._key)

    def write(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> Counts:
        """Insert and update some rows, all of which have the same columns."""
        stored = self._stored(connection, rows)
        new, changed = [], []
        for row in rows:
            before = stored.get(self.key_of(row))
            if before is None:
                new.append(row)
            elif (after := _with_price_of(before, row)) != before:
                changed.append({f"new_{name}": value for name, value in after.items()})
        if new:
            connection.execute(insert(self._table), new)
        if changed:
            where = [column == bindparam(f"new_{column.key}") for column in self._key]
            keys = {column.key for column in self._key}
            to: dict[str, Any] = {name: bindparam(f"new_{name}") for name in rows[0] if name not in keys}
            connection.execute(update(self._table).where(*where).values(to), changed)
        return Counts(len(new), len(changed), len(rows) - len(new) - len(changed))

    def _stored(
        self, connection: Connection, rows: Sequence[dict[str, Any]]
    ) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The rows of the table that have these keys, by key, each with the columns of the results."""
        is_wanted = (
            self._key[0].in_([row[self._key[0].key] for row in rows])
            if len(self._key) == 1
            else tuple_(*self._key).in_([self.key_of(row) for row in rows])
        )
        columns = [self._table.columns[name] for name in rows[0]]
        stored = {}
        for found in connection.execute(select(*columns).where(is_wanted)).mappings():
            row = dict(found)
            for column in columns:
                with suppress(ValueError):
                    # SQLite keeps any value in any column: one that does not fit is another value
                    row[column.key] = fitted(row[column.key], column.type)
            stored[self.key_of(row)] = row
        return stored


@contextmanager
def connected(asked: ResultsTable) -> Iterator[Connection]:
    """A connection with one transaction: committed at the end, rolled back by an error.

    :raises SeedreamInputError: the connection is none for SQL, or its hook has no SQLAlchemy dialect.
    :raises SeedreamError: the database does not answer, or refuses a statement.
    """
    hook = sql_hook(asked.conn_id, "results_table")
    try:
        engine = hook.get_sqlalchemy_engine()
    except Exception as error:  # the hook has no URL, or the dialect is not installed
        raise SeedreamInputError(
            f"results_table: connection {asked.conn_id!r} has no SQLAlchemy engine ({short_text(error)}). "
            "The database's provider says which package brings its dialect."
        ) from error
    try:
        with engine.begin() as connection:
            yield connection
    except (SeedreamError, NoSuchTableError):
        raise
    except SQLAlchemyError as error:
        ours = driver_error(error)
        failed = SeedreamError(
            f"results_table: connection {asked.conn_id!r} failed ({type(ours).__name__}: {short_text(ours)})."
        )
        raise (final(failed) if is_refused(ours) else failed) from None
    finally:
        engine.dispose()


def _with_price_of(before: Mapping[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The new values, with the stored price where both are of the same paid generation: a price is written
    once.
    """
    task_id = after.get("seedream_task_id")
    is_same = task_id is not None and all(
        before.get(name) == after.get(name) for name in ("seedream_task_id", "paid")
    )
    return after | {name: before[name] for name in _PRICES if is_same and name in before}


def key_names(key: str | Sequence[str]) -> list[str]:
    """The names of the key columns, of which a user may give one alone."""
    return [key] if isinstance(key, str) else list(key)


def split_name(table: str) -> tuple[str | None, str]:
    """Schema and name: ``shop.images`` is table ``images`` of schema ``shop``."""
    schema, _, name = table.strip().rpartition(".")
    return schema or None, name
