"""The rows of a query, copied to a local file: memory holds one row, and no connection stays open while
requests are sent.

A batch may run for hours at the rate limit, and databases close a connection that is idle for so long. The
copy is deleted when the rows were read, or when the process ends. Never imports a driver: Airflow's hook
does.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from airflow_provider_seedream.batch.databases import driver_error, is_refused, short_text, sql_hook
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.tables import SqlTable

ROWS_AT_A_TIME = 1000


def query_rows(table: SqlTable) -> Iterator[dict[str, Any]]:
    """The rows of a query in its order. Dates, decimals and other values that JSON lacks become text.

    ::

        list(query_rows(SqlTable(conn_id="pg", sql="SELECT prompt, sku FROM wanted ORDER BY sku")))

    :param table: the connection, the query and its parameters.
    :returns: a dict for each row. The query runs when the first of them is asked for.
    :raises SeedreamInputError: the connection has no SQL hook, the database refuses the query, or two columns
        have one name.
    :raises SeedreamError: the database does not answer; a retry asks again.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", prefix="seedream-query-") as file:
        hook = sql_hook(table.conn_id, "requests")
        try:
            for row in _through_sqlalchemy(hook, table) or _through_cursor(hook, table):
                file.write(f"{json.dumps(row, default=str, ensure_ascii=True)}\n")
        except SeedreamError:
            raise
        except Exception as error:  # each driver has its own errors
            cause = driver_error(error)
            text = short_text(cause)
            if is_refused(cause):  # the query is wrong: a retry would be refused again
                raise SeedreamInputError(
                    f"requests: the database of connection {table.conn_id!r} refuses the query ({text})."
                ) from None
            raise SeedreamError(
                f"requests: the query of connection {table.conn_id!r} failed ({type(cause).__name__}: "
                f"{text})."
            ) from None
        file.seek(0)
        yield from map(json.loads, file)


def _through_sqlalchemy(hook: Any, table: SqlTable) -> Iterator[dict[str, Any]] | None:
    """Rows through SQLAlchemy, which knows the server-side cursors of the drivers; None if this hook has
    no engine.
    """
    try:
        engine = hook.get_sqlalchemy_engine()
    except Exception:  # the hook has none, or its dialect is not installed
        return None
    return _streamed(engine, table)


def _streamed(engine: Any, table: SqlTable) -> Iterator[dict[str, Any]]:
    """The rows through a server-side cursor where the driver has one, so that a large result stays on the
    server.
    """
    # Without parameters the driver must not search for placeholders: LIKE 'a%' would be one.
    options = {
        "stream_results": True,
        "max_row_buffer": ROWS_AT_A_TIME,
        "no_parameters": table.parameters is None,
    }
    try:
        with engine.connect().execution_options(**options) as connection:
            result = connection.exec_driver_sql(table.sql, table.parameters)
            columns = _columns(list(result.keys()))
            for row in result:
                yield dict(zip(columns, row, strict=True))
    finally:
        engine.dispose()


def _through_cursor(hook: Any, table: SqlTable) -> Iterator[dict[str, Any]]:
    """Rows through the driver's own cursor, some at a time; the driver decides how many it holds."""
    with closing(hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(table.sql, *(() if table.parameters is None else (table.parameters,)))
        columns = _columns([column[0] for column in cursor.description])
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            for row in rows:
                yield dict(zip(columns, row, strict=True))


def _columns(names: list[str]) -> list[str]:
    """The names of the columns.

    :raises SeedreamInputError: two columns have one name: a dict would keep only the last of their values.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SeedreamInputError(
            f"requests: the query has two columns named {twice[0]!r:.80}. Give one another name with AS."
        )
    return names
