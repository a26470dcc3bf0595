"""Tables of requests that are not files. Loaded with every DAG that uses one: it holds words and reads
nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError


class SqlTable:
    """The rows of a query, as a table of requests: through any hook of Airflow's common-sql provider
    (``DbApiHook``).

    ::

        SeedreamBatchOperator(
            task_id="catalogue",
            requests = (
                SqlTable(
                    sql="SELECT sku, prompt FROM catalogue WHERE day = '{{ ds }}' ORDER BY sku",
                    conn_id="warehouse",
                ),
            )
            destination="s3://my_conn@bucket/catalogue/{{ ds }}",
        )

    The columns are those of any table of requests, compared without case. The query runs on the worker each
    time the batch begins or resumes. Its rows are copied to a local temporary file, so the connection is
    closed before the first request is sent. Order the rows: a batch that resumes and finds them changed
    stops, and pays for no row twice.

    :param sql: one query; rendered by Jinja.
    :param conn_id: an Airflow connection whose hook is a ``DbApiHook``; rendered.
    :param parameters: for placeholders in the query, in the driver's own style (``%s``, ``?``, ``:1``);
        rendered. None for none.
    :raises SeedreamInputError: the query or the connection id is not text.
    :cvar template_fields: Airflow renders these fields of a value within a templated argument.
    """

    template_fields: Sequence[str] = ("sql", "parameters", "conn_id")

    def __init__(
        self, *, sql: str, conn_id: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> None:
        for field, value in (("sql", sql), ("conn_id", conn_id)):
            if not isinstance(value, str) or not value.strip():
                raise SeedreamInputError(f"SqlTable: {field} must be text, not {value!r:.80}.")
        self.sql = sql
        self.conn_id = conn_id
        self.parameters = parameters

    def __repr__(self) -> str:
        # Airflow stores it in the serialized DAG: it must not change from one parse to the next
        given = f", parameters={self.parameters!r}" if self.parameters else ""
        return f"SqlTable(sql={self.sql!r}, conn_id={self.conn_id!r}{given})"


class ResultsTable:
    """A database table that gets the results of a batch: through any hook of the common-sql provider with an
    SQLAlchemy dialect.

    ::

        SeedreamBatchOperator(
            task_id="catalogue",
            requests=SqlTable(sql="SELECT sku, prompt FROM catalogue ORDER BY sku", conn_id="warehouse"),
            results_table=ResultsTable(table="shop.images", conn_id="warehouse", key="sku"),
        )

    At the end of the batch each row of the results is inserted, or updates the row with its key if they
    differ, all in one transaction. Columns of the table that have the name of a column of the results
    (without case) are written; all others are left alone. The table must exist: if it does not, the error
    before the first POST holds the CREATE TABLE to copy.

    :param table: its name, with its schema before a dot if it has one; quoted where it needs that; rendered
        by Jinja.
    :param conn_id: an Airflow connection whose hook is a ``DbApiHook``; rendered.
    :param key: the column or columns of the requests that no two rows share, e.g. ``"sku"`` or ``["day",
        "sku"]``; or ``"row"``, their number. Give the table a primary key of them.
    :raises SeedreamInputError: an argument is not text.
    :cvar template_fields: Airflow renders these fields of a value within a templated argument.
    """

    template_fields: Sequence[str] = ("table", "conn_id", "key")

    def __init__(self, *, table: str, conn_id: str, key: str | Sequence[str]) -> None:
        keys = key if isinstance(key, list | tuple) else [key]
        fields = [("table", table), ("conn_id", conn_id), *(("key", one) for one in keys or [""])]
        for field, value in fields:
            if not isinstance(value, str) or not value.strip():
                raise SeedreamInputError(f"ResultsTable: {field} must be text, not {value!r:.80}.")
        self.table = table
        self.conn_id = conn_id
        self.key = key

    def __repr__(self) -> str:  # as for SqlTable
        return f"ResultsTable(table={self.table!r}, conn_id={self.conn_id!r}, key={self.key!r})"


def check_results_table(value: Any) -> None:
    """:raises SeedreamInputError: it is neither None nor a :class:`ResultsTable`."""
    if value is not None and not isinstance(value, ResultsTable):
        raise SeedreamInputError(f"results_table must be a ResultsTable or None, not {type(value).__name__}.")
