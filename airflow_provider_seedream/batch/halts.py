"""Errors that stop a batch from sending further rows, in a form that survives a deferral. Pure: no I/O.

Rows that are paid still land after a halt; then the task fails with the error. The progress file holds the
halt as JSON, because the process that met the error may not be the process that ends the batch.
"""

from typing import Any

from airflow_provider_seedream.exceptions import (
    SeedreamBatchError,
    SeedreamConnectionError,
    SeedreamError,
    SeedreamInputError,
    SeedreamInsufficientCreditsError,
)

# error                             its cause, and the remedy
# SeedreamInsufficientCreditsError  the wallet is empty: top it up
# SeedreamConnectionError           the API cannot be reached for long: wait
# SeedreamInputError                a template that gave something at first gives nothing now: look at its XCom
# SeedreamBatchError                several POSTs in a row were not answered: look at the wallet. Or the table was changed
_HALTS: dict[str, type[SeedreamError]] = {
    cls.__name__: cls for cls in (SeedreamInsufficientCreditsError, SeedreamConnectionError, SeedreamInputError, SeedreamBatchError)
}


def halt_by(error: SeedreamError) -> dict[str, Any]:
    """One of these errors as plain JSON: the name of its class, and its attributes.

    :raises ValueError: the error is of a class that stops no batch.
    """
    [name] = [name for name, cls in _HALTS.items() if isinstance(error, cls)]
    return {"error": name, "fields": dict(vars(error))}


def error_of(halt: dict[str, Any], *, unsent: int, unlanded: int, rows: int, kept_until: str | None = None) -> SeedreamError:
    """The error again, with the numbers of rows that were not sent, and of rows that are paid and not landed.

    :param halt: as :func:`halt_by` made it, perhaps in another process.
    :param unsent: rows that were not sent because of the halt.
    :param unlanded: rows that are paid and whose images are not in storage.
    :param rows: of the whole table.
    :param kept_until: when the API deletes the first images of those, ISO 8601; None if it is unknown.
    """
    fields = halt["fields"]
    error = _HALTS[halt["error"]](fields["message"])
    vars(error).update(fields)
    error.message = f"{error.message} {unsent} of {rows} rows were not sent."
    if unlanded:
        error.message = f"{error.message} {unlanded} rows are paid for and not landed: a retry lands them for free."
        error.kept_until = kept_until
        error.paid = "yes"
    return error
