"""An error as a block of short lines for the log: what happened, what it cost, what to do, which record,
which connection.

Airflow's log page shows about 100 characters of a line and does not wrap it, so the text of an exception, one
line of 250 to 600 characters, hides its cost and its remedy. Does no I/O; the clock is an argument.
"""

import re
import textwrap
from dataclasses import dataclass

from airflow_provider_seedream.exceptions import SeedreamError
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.commands import command, folded
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.verdicts import anchor

MAX_LINE_CHARACTERS = 100  # what the log page shows at a width of 1440 px
MAX_MESSAGE_LINES = 9  # of what happened, which may be several wrong rows
MAX_LINES_EACH = 5  # of one part, such as the message: the exception that follows has the whole text
_MORE = "  ... (more in the error's text below)"
_SENTENCES = re.compile(r"\n\s*|(?<=[.!?])\s+(?=[A-Z'\"`(])")
_RECORD = re.compile(
    r"(?P<folder>.+)/_seedream/ledger/(?P<key>[0-9a-f]{8})[0-9a-f]{56}(?P<attempt>\.\d+)?\.json"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The connection that a failed task used::

        Where(conn_id="seedream_default", host="https://api.3daistudio.com")

    :param conn_id: of the Airflow connection.
    :param host: base URL; None where the connection could not be read.
    """

    conn_id: str
    host: str | None = None


def error_lines(error: SeedreamError, where: Where, *, now_epoch: float) -> list[str]:
    """The block of an error, its verdict first. Each line has at most 100 characters, unless a URI alone is
    longer.

    A URI or a command to copy is never cut or wrapped in the middle of a word.

    :param now_epoch: the wall clock, for the time that is left until the images are deleted.
    :returns: verdict and message, cost, wallet, remedy with commands, deadline, record, ids, connection,
        cause and help page; a part that is not known has no line.
    """
    lines = _happened(error)
    lines += _wrapped(f"Cost: {_cost(error)}")
    if error.wallet:
        lines += _wrapped(f"Wallet: {error.wallet}")
    lines += _wrapped(f"Do: {error.on_retry}")
    for printed in error.commands:
        lines += [f"  {part}" for part in folded(printed, width=MAX_LINE_CHARACTERS - 2)]
    if error.kept_until:
        lines += _wrapped(f"Until: {_until(error.kept_until, now_epoch)}; then the API deletes the images.")
    if error.record:
        lines.append(f"Record: {short_record(error.record)}")
    if error.seedream_task_id:
        lines.append(f"Seedream task id: {error.seedream_task_id}")
    lines += _wrapped(f"Connection: {where.conn_id!r}" + (f", host {where.host}" if where.host else ""))
    if error.cause:
        lines += _wrapped(f"Cause: {error.cause}")
    return [*lines, f"Help: {anchor(error.verdict)}"]


def _happened(error: SeedreamError) -> list[str]:
    """Verdict and message, each sentence on lines of its own: wrong rows and wrong arguments stand below
    each other.
    """
    first, *rest = _SENTENCES.split(error.message)
    lines = [
        *_wrapped(f"{error.headline}: {first}"),
        *(line for sentence in rest for line in _wrapped(f"  {sentence}")),
    ]
    return lines if len(lines) <= MAX_MESSAGE_LINES else [*lines[: MAX_MESSAGE_LINES - 1], _MORE]


def short_record(uri: str) -> str:
    """A record as its folder and the first letters of its name: ``s3://bucket/campaign 3f2a9c1b``."""
    return " ".join(record_words(uri))


def record_words(uri: str) -> tuple[str, ...]:
    """The same as the arguments of ``airflow seedream resolve``: folder and letters, or the URI alone if it
    is not a record's.

    A name has 64 letters, more than a line of the log has room for.
    """
    found = _RECORD.fullmatch(uri)
    return (found["folder"], f"{found['key']}{found['attempt'] or ''}") if found else (uri,)


def _cost(error: SeedreamError) -> str:
    """The credits. Quoted and billed are named apart where the wallet lost another sum than was
    calculated.
    """
    if error.paid == "no":
        return "nothing, no credits were spent."
    quoted, billed = error.credits, error.billed_credits
    many = "credits (the number is in the record)" if quoted is None else counted(quoted, "credit")
    if quoted is not None and billed is not None and billed != quoted:
        many = f"{counted(billed, 'credit')} billed, {quoted} quoted"
    if quoted is None and error.paid == "unknown":
        return f"not known here: `{command('ledger', 'DESTINATION')}` lists what was paid."
    words = {
        "yes": f"{many}, paid once.",
        "refunded": f"nothing: {many}, refunded.",
        "unknown": f"up to {many}, not known yet.",
    }
    return words[error.paid]


def _until(kept_until: str, now_epoch: float) -> str:
    """An instant as people read it, with the time that is left: ``2026-11-29 16:48 UTC (23 h left)``."""
    epoch = clock.to_epoch(kept_until)
    return kept_until if epoch is None else f"{clock.minute_of(epoch)} ({_left(epoch - now_epoch)})"


def _left(seconds: float) -> str:
    """The time that is left: ``23 h left``, or ``over``."""
    return f"{clock.spell(seconds)} left" if seconds > 0 else "over"


def _wrapped(text: str) -> list[str]:
    """One part of the block. Later lines are indented, so that each part is seen to begin."""
    indent = "  " if text.startswith("  ") else ""
    lines = textwrap.wrap(
        " ".join(text.split()),
        width=MAX_LINE_CHARACTERS,
        initial_indent=indent,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines if len(lines) <= MAX_LINES_EACH else [*lines[: MAX_LINES_EACH - 1], _MORE]
