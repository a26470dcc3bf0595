"""Tables of requests that are not files. Loaded with every DAG that uses one: it holds words and reads nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError


class SqlTable:
    """The rows of a query, as a table of requests: through any hook of Airflow's common-sql provider (``DbApiHook``).

    ::

        SeedreamBatchOperator(
            task_id="catalogue",
            requests=SqlTable(sql="SELECT sku, prompt FROM catalogue WHERE day = '{{ ds }}' ORDER BY sku", conn_id="warehouse"),
            destination="s3://my_conn@bucket/catalogue/{{ ds }}",
        )

    The columns are those of any table of requests, compared without case. The query runs on the worker each time the batch begins
    or resumes. Its rows are copied to a local temporary file, so the connection is closed before the first request is sent. Order
    the rows: a batch that resumes and finds them changed stops, and pays for no row twice.

    :param sql: one query; rendered by Jinja.
    :param conn_id: an Airflow connection whose hook is a ``DbApiHook``; rendered.
    :param parameters: for placeholders in the query, in the driver's own style (``%s``, ``?``, ``:1``); rendered. None for none.
    :raises SeedreamInputError: the query or the connection id is not text.
    :cvar template_fields: Airflow renders these fields of a value within a templated argument.
    """

    template_fields: Sequence[str] = ("sql", "parameters", "conn_id")

    def __init__(self, *, sql: str, conn_id: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None) -> None:
        for field, value in (("sql", sql), ("conn_id", conn_id)):
            if not isinstance(value, str) or not value.strip():
                raise SeedreamInputError(f"SqlTable: {field} must be text, not {value!r:.80}.")
        self.sql = sql
        self.conn_id = conn_id
        self.parameters = parameters

    def __repr__(self) -> str:  # Airflow stores it in the serialized DAG: it must not change from one parse to the next
        given = f", parameters={self.parameters!r}" if self.parameters else ""
        return f"SqlTable(sql={self.sql!r}, conn_id={self.conn_id!r}{given})"
