"""Errors that stop a batch from sending further rows, in a form that survives a deferral. Pure: no I/O.

Rows that are paid still land after a halt; then the task fails with the error. The progress file holds the
halt as JSON, because the process that met the error may not be the process that ends the batch.
"""

from typing import Any

from airflow_provider_seedream.exceptions import (
    SeedreamBatchError,
    SeedreamCapError,
    SeedreamConnectionError,
    SeedreamError,
    SeedreamInputError,
    SeedreamInsufficientCreditsError,
)
from airflow_provider_seedream.model.clock import minute_of
from airflow_provider_seedream.model.counting import counted, verb_for

# error                             its cause, and the remedy
# SeedreamInsufficientCreditsError  the wallet is empty: top it up
# SeedreamConnectionError           the API cannot be reached for long: wait
# SeedreamInputError                a template that had a value at first has none now: look at its XCom
# SeedreamBatchError                several POSTs in a row were not answered: look at the wallet. Or the table
#                                   was changed, or the table of the results does not answer. Or a cap has
#                                   room only after execution_timeout: clear the task then
_HALTS: dict[str, type[SeedreamError]] = {
    cls.__name__: cls
    for cls in (
        SeedreamInsufficientCreditsError,
        SeedreamConnectionError,
        SeedreamInputError,
        SeedreamBatchError,
    )
}


def halt_by(error: SeedreamError) -> dict[str, Any]:
    """An error as plain JSON: the name of its class, or of the error of a batch, and its attributes."""
    name = next((name for name, cls in _HALTS.items() if isinstance(error, cls)), SeedreamBatchError.__name__)
    return {"error": name, "fields": dict(vars(error))}


def too_late(error: SeedreamCapError, room_epoch: float) -> SeedreamBatchError:
    """The error of a batch whose rows wait for room under a cap that comes only after its
    ``execution_timeout``.

    :param room_epoch: when the cap has room again, in epoch seconds.
    """
    found = SeedreamBatchError(error.message, paid="no", verdict=error.verdict)
    found.on_retry = (
        f"There is room again at {minute_of(room_epoch)}, after the end of `execution_timeout`, so the "
        "batch does not wait for it. Clear the task after that, give it a longer one, or raise the cap: no "
        "row is paid twice."
    )
    return found


def error_of(
    halt: dict[str, Any],
    *,
    unsent: int,
    unlanded: int,
    landed: int,
    credits_: int,
    rows: int,
    kept_until: str | None = None,
) -> SeedreamError:
    """The error again, with the numbers of rows that landed, that were not sent, and that are paid and not
    landed.

    :param halt: as :func:`halt_by` made it, perhaps in another process.
    :param unsent: rows that were not sent because of the halt.
    :param unlanded: rows that are paid and whose images are not in storage.
    :param landed: rows that have landed. :param credits_: that the rows with a result have cost.
    :param rows: of the whole table.
    :param kept_until: when the API deletes the first images of the unlanded rows, ISO 8601; None if it is
        unknown.
    """
    fields = halt["fields"]
    error = _HALTS[halt["error"]](fields["message"])
    vars(error).update(fields)
    if unsent:  # 0 if it was met with the last row
        error.message = (
            f"{error.message} {unsent} of {counted(rows, 'row')} {verb_for(unsent, 'were')} not sent."
        )
    if unsent == rows:  # and none of them is paid: each was looked for in the ledger
        error.paid = "no"
    if credits_ and error.paid == "no":
        error.paid, error.credits = "yes", credits_
    if unlanded:
        error.message = (
            f"{error.message} {counted(unlanded, 'row', 'are')} paid for and not landed: a retry lands them "
            "for free."
        )
        error.kept_until = kept_until
        error.paid = "yes"
    if landed:
        error.message = f"{error.message} Landed: {landed}."
    return error
