"""The command that goes through all unknown records of a folder, one after the other, and asks a person about
each.

A terminal is asked; a script writes its answers to standard input, each with the record that it means. Each
answer is settled at once, so an interrupted session has settled what it was told.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_provider_seedream.accounts.reading import record_files
from airflow_provider_seedream.cli.printing import answer_to, err, print_json, print_lines, print_rows
from airflow_provider_seedream.cli.records import describe, paid, read_books
from airflow_provider_seedream.cli.resolving import Say, settle_one, tell
from airflow_provider_seedream.cli.resolving import ask as ask_again
from airflow_provider_seedream.cli.running import FAILED
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model.counting import counted

COLUMNS = ("outcome", "paid", "credits", "seedream_task_id", "record")
NOT_PAID, SKIP, STOP = "not-paid", "skip", "stop"
_SHORT = {"n": NOT_PAID, "s": SKIP, "": SKIP, "q": STOP}
_QUESTION = "Its seedream task id if it was paid, n: not paid, s: skip, q: stop here >"
_PROMPT_CHARACTERS = 200
Ask = Callable[[str], str]


@dataclass(slots=True, kw_only=True)
class _Session:
    """The progress of one run of the command: the records it has settled, and those it has left.

    :param options: the command's own.
    :param ledger: of the folder.
    :param wallet: the balance now, as the API's decimal text; None if the API did not tell it.
    :param settled: one row for each settled record, as `describe` gives it.
    :param left: URIs of records that are still unknown, and of files that cannot be read.
    """

    options: argparse.Namespace
    ledger: Ledger
    wallet: str | None
    settled: list[dict[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def resolve_all(options: argparse.Namespace) -> int:
    """Ask about every record with an unknown outcome, in the order of the requests.

    :param options: ``all`` (the folder), ``yes``, ``conn_id`` and ``output``.
    :returns: 0 if no unknown record is left, else 1.
    :raises SeedreamInputError: the folder has no ledger, or a line of standard input names no unknown record
        of it.
    """
    ledger = Ledger(options.all)
    if not record_files(ledger):
        raise SeedreamInputError(
            f"There is no ledger in {ledger.folder.base}. Is this the destination of the tasks?"
        )
    books = read_books(ledger)
    unknown = {ledger.uri(record): record for record in books.records if paid(record) == "unknown"}
    # A script's lines are all read and checked here, before the first record changes. A person answers at the
    # terminal with a seedream task id, or one of the letters of the question; an empty line skips.
    ask = _reading(unknown) if not sys.stdin.isatty() else lambda uri: answer_to(_QUESTION)
    # The wallet is asked for only if there is something to compare it with.
    session = _Session(options=options, ledger=ledger, wallet=_wallet(options) if unknown else None)
    # each may hide a payment, so the exit code must not say that all is settled
    session.left += books.unreadable
    for number, (uri, record) in enumerate(unknown.items(), 1):
        _introduce(session, uri, record, f"{number} of {len(unknown)}")
        if not _resolve(session, uri, record, ask):
            session.left += list(unknown)[number - 1 :]  # this one and all that were not asked about
            break
    _show(session)
    return FAILED if session.left else 0


def _reading(unknown: Mapping[str, Record]) -> Ask:
    """The answers of a script: lines of a record's URI and ``<seedream task id>``, ``not-paid`` or ``skip``::

        s3://my_conn@bucket/watches/_seedream/ledger/3f2a....json not-paid

    Each line names its record. An answer by its position alone would meet another record as soon as one is
    settled meanwhile.

    :returns: a function from a record's URI to its answer; a record without a line is skipped.
    :raises SeedreamInputError: before anything is changed, for a line of another form or of no unknown
        record.
    """
    answers: dict[str, str] = {}
    for line in filter(None, map(str.strip, sys.stdin)):
        uri, _, answer = line.rpartition(" ")
        if uri.strip() not in unknown or uri.strip() in answers:
            form = "one line for each: RECORD and ID, not-paid or skip"
            raise SeedreamInputError(
                f"Nothing was changed. Standard input takes {form}; {line[:300]!r} names no unknown record."
            )
        answers[uri.strip()] = answer
    return lambda uri: answers.get(uri, SKIP)


def _resolve(session: _Session, uri: str, record: Record, ask: Ask) -> bool:
    """Settle one record as it is answered.

    :param ask: is called again after a refusal, if a person answers.
    :returns: False if the person stops here.
    """
    for answer in _answers(uri, ask):
        if answer == STOP:
            return False
        if answer == SKIP:
            session.left.append(uri)
            return True
        say = Say(
            seedream_task_id=None if answer == NOT_PAID else answer,
            hook=SeedreamHook(session.options.conn_id),
            confirm=ask_again if sys.stdin.isatty() and not session.options.yes else tell,
        )
        try:
            done = settle_one(session.ledger, record, say)
        except SeedreamError as error:
            err().print(f"{error.message}", markup=False, style="red")
            # Nothing was changed; a person may give another answer.
            continue
        session.settled.append(
            describe(done, uri) | ({"outcome": "removed", "paid": "no"} if answer == NOT_PAID else {})
        )
        return True
    session.left.append(uri)
    return True


def _answers(uri: str, ask: Ask) -> Iterator[str]:
    """The answers about one record: a person is asked again after a refusal, a script is not."""
    while True:
        answer = ask(uri)
        yield _SHORT.get(answer, answer)
        if not sys.stdin.isatty():
            return


def _introduce(session: _Session, uri: str, record: Record, place: str) -> None:
    """Say what is known of a record, on standard error: its task, prompt and price, and the wallet before and
    now.

    :param place: of the record among the unknown ones, e.g. ``1 of 3``.
    """
    facts = describe(record, uri)
    task = " ".join(str(facts[name]) for name in ("dag_id", "run_id", "task_id") if facts[name])
    lines = [
        f"\n{place}: {uri}",
        f"  task       {task}, {record.intent_at}",
        f"  prompt     {str(facts['prompt'])[:_PROMPT_CHARACTERS]}",
        f"  at risk    {counted(record.credits, 'credit')}",
        f"  wallet     {_compared(record.wallet_balance, session.wallet)}",
    ]
    err().print("\n".join(lines), markup=False)


def _compared(before: str | None, now: str | None) -> str:
    """The two balances side by side. The difference holds everything that was spent or topped up since."""
    words = f"{before or 'not noted'} before the request, {now or 'not known'} now"
    try:
        less = Decimal(before or "") - Decimal(now or "")
    except InvalidOperation:
        return words
    return f"{words}: {abs(less)} {'less' if less >= 0 else 'more'}, with everything else since then"


def _wallet(options: argparse.Namespace) -> str | None:
    """The balance now. Without an answer the person still can resolve records as not paid."""
    try:
        return SeedreamHook(options.conn_id).get_wallet().balance
    except SeedreamError as error:
        err().print(f"The wallet cannot be read: {error.message}", markup=False)
        return None


def _show(session: _Session) -> None:
    """Print what was settled and what is left to standard output, where nothing else of this command goes."""
    if session.options.output == "json":
        print_json(
            {"destination": session.ledger.folder.base, "resolved": session.settled, "left": session.left}
        )
        return
    print_rows("Resolved", [{name: facts[name] for name in COLUMNS} for facts in session.settled])
    print_lines("Left:", session.left)
    print_lines(f"{counted(len(session.settled), 'record')} resolved, {len(session.left)} left.")
