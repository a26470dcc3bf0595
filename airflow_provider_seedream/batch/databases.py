"""The database of an Airflow connection: its hook, and what its errors mean. Never imports a driver:
Airflow's hook does.
"""

from typing import Any

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_seedream.exceptions import SeedreamInputError

_MAX_MESSAGE = 300  # characters of a database's error: it may quote the whole statement
# PEP 249: the statement is wrong, names a table that does not exist, or holds a value that the column does
# not take.
_REFUSALS = {"ProgrammingError", "NotSupportedError", "DataError"}


def sql_hook(conn_id: str, argument: str) -> Any:
    """The hook of a connection, which is one of the common-sql provider (``DbApiHook``)::

        sql_hook("warehouse", "requests").get_sqlalchemy_engine()

    :param argument: of the operator, for the error.
    :raises SeedreamInputError: there is no such connection, its provider is not installed, or it is not one
        for SQL.
    """
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    try:
        hook = BaseHook.get_connection(conn_id).get_hook()
    except Exception as error:  # no such connection, or its provider is not installed
        raise SeedreamInputError(
            f"{argument}: connection {conn_id!r} cannot be used ({error!s:.200}). Create the connection, or "
            "if its type is unknown, install the provider of its database where the tasks run, e.g. `pip "
            "install apache-airflow-providers-sqlite`."
        ) from error
    if not isinstance(hook, DbApiHook):
        raise SeedreamInputError(
            f"{argument}: connection {conn_id!r} is not one for SQL: its hook is {type(hook).__name__}."
        )
    return hook


def driver_error(error: BaseException) -> BaseException:
    """The driver's own error: SQLAlchemy wraps it."""
    return getattr(error, "orig", None) or error


def is_refused(error: BaseException) -> bool:
    """True if the database refuses the statement or its values: a retry would be refused again.

    :param error: of a driver. Each driver has its own classes; PEP 249 gives them their names.
    """
    return bool({kind.__name__ for kind in type(error).__mro__} & _REFUSALS)


def short_text(error: BaseException) -> str:
    """The text of a database's error in one line of at most 300 characters."""
    return " ".join(str(error).split())[:_MAX_MESSAGE]
