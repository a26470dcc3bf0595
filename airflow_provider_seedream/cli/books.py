"""The command that lists the payments in a folder.

It only reads the folder and does not call the API, so it needs no key, and works from any machine that reads
the storage.
"""

import argparse
from typing import Any

from airflow_provider_seedream.accounts.reading import ledgers_of
from airflow_provider_seedream.cli.printing import print_json, print_lines, print_rows
from airflow_provider_seedream.cli.records import (
    credits_by_paid,
    describe,
    paid,
    read_books,
    summarize,
)
from airflow_provider_seedream.cli.running import FAILED
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.counting import counted

RECORD_COLUMNS = ("seedream_task_id", "outcome", "credits", "task", "prompt")
UNKNOWN_COLUMNS = ("intent_at", "credits", "wallet_balance", "task", "prompt")
PROMPT_CHARACTERS = 60
Kept = dict[str, Record]  # by the record's URI


def ledger(options: argparse.Namespace) -> int:
    """`airflow seedream ledger`: the sums of a folder, and each record that a person has to settle.

    Filters apply to the sums, the records and ``--fail-on`` alike. A file that cannot be read is always
    named, because it may hide a payment.

    :param options: ``destination``, ``outcome``, ``dag_id``, ``run_id``, ``task_id``, ``since``, ``records``,
        ``recursive``, ``fail_on``, ``conn_id`` and ``output``.
    :returns: 1 if `--fail-on` names a kind that was found, else 0.
    :raises SeedreamInputError: there is no ledger in the folder, or an option is wrong. The error names the
        ledgers below.
    """
    wanted, fatal = _filter(options), _fatal(options)
    book = Ledger(options.destination)
    found = [
        (each, read_books(each)) for each in ledgers_of([options.destination], recursive=options.recursive)
    ]
    # Keyed by URI: with --recursive two folders may hold records of the same file name.
    kept = {each.uri(record): record for each, read in found for record in read.records if wanted(record)}
    unreadable = [uri for _, read in found for uri in read.unreadable]
    if options.output == "json":
        _print_json(book, kept, unreadable)
    else:
        total = sum(len(read.records) for _, read in found)
        _print_tables(kept, unreadable, lists_all=options.records, total=total, conn_id=options.conn_id)
    counts = {
        "unknown": sum(paid(record) == "unknown" for record in kept.values()),
        "unreadable": len(unreadable),
    }
    return FAILED if any(counts[what] for what in fatal) else 0


def _fatal(options: argparse.Namespace) -> list[str]:
    """The kinds of record that fail the command: `unknown`, `unreadable`.

    :raises SeedreamInputError: another word, as a misspelled one would never fail a check in CI.
    """
    kinds = [what.strip() for what in options.fail_on.split(",") if what.strip()]
    if wrong := [what for what in kinds if what not in ("unknown", "unreadable")]:
        raise SeedreamInputError(f"--fail-on takes unknown and unreadable; got {wrong[0][:80]!r}.")
    return kinds


def _filter(options: argparse.Namespace) -> Any:
    """A predicate for the records that the options ask for.

    :returns: a function of one record; True if the record is wanted.
    :raises SeedreamInputError: ``--since`` is not an instant, or an id is blank, as an unset variable of a
        shell is.
    """
    since = clock.to_epoch(options.since) if options.since else 0.0
    if since is None:
        raise SeedreamInputError(
            f"--since must be an instant, e.g. 2026-11-22T18:00:00Z; got {options.since[:80]!r}."
        )
    ids = {name: getattr(options, name) for name in ("dag_id", "run_id", "task_id")}
    if blank := [name for name, value in ids.items() if value is not None and not value.strip()]:
        raise SeedreamInputError(
            f"--{blank[0].replace('_', '-')} must not be blank: no request has such an id."
        )

    def wanted(record: Record) -> bool:
        # An option that is not given is None and fits every record.
        mine = all(value in (None, getattr(record.made_by, name)) for name, value in ids.items())
        of_these = not options.outcome or record.outcome in options.outcome
        # A record without a readable instant counts as the oldest.
        return mine and of_these and (clock.to_epoch(record.intent_at) or 0.0) >= since

    return wanted


def _print_json(book: Ledger, kept: Kept, unreadable: list[str]) -> None:
    """The whole answer as one JSON object: ``destination``, ``credits``, ``runs``, ``records``,
    ``unreadable``.
    """
    print_json(
        {
            "destination": book.folder.base,
            "credits": credits_by_paid(kept.values()),
            "runs": summarize(kept.values()),
            "records": [describe(record, uri) for uri, record in kept.items()],
            "unreadable": unreadable,
        }
    )


def _print_tables(kept: Kept, unreadable: list[str], *, lists_all: bool, total: int, conn_id: str) -> None:
    """The answer for people: sums, unknown records with the command that settles each, unreadable files,
    totals.

    :param lists_all: every record is listed, not only the unknown ones.
    :param total: records before the filter. :param conn_id: for the commands.
    """
    # Unknown records are listed even without --records: each may be money that a person has to account for.
    unknown = {uri: record for uri, record in kept.items() if paid(record) == "unknown"}
    print_rows("Requests and credits", summarize(kept.values()))
    if lists_all:
        print_rows("Records", [_row(record, RECORD_COLUMNS) for record in kept.values()])
    print_rows("Unknown", [_row(record, UNKNOWN_COLUMNS) for record in unknown.values()])
    commands = [command("resolve", uri, conn_id=conn_id) for uri in unknown]
    print_lines("To be resolved, each with --paid ID or --not-paid:", commands)
    print_lines("Not readable, each may hide a payment:", unreadable)
    spent = credits_by_paid(kept.values())
    totals = f"Credits paid: {spent['yes']}, refunded: {spent['refunded']}, unknown: {spent['unknown']}."
    shown = counted(total, "request") if len(kept) == total else f"{len(kept)} of {counted(total, 'request')}"
    print_lines(f"{shown}. {totals}")


def _row(record: Record, columns: tuple[str, ...]) -> dict[str, Any]:
    """A record as a row of a table, with a prompt of up to 60 characters and the three ids in one cell."""
    facts = describe(record, "")
    prompt = str(facts["prompt"])
    facts["prompt"] = prompt if len(prompt) <= PROMPT_CHARACTERS else f"{prompt[:PROMPT_CHARACTERS]}..."
    facts["task"] = " ".join(str(facts[name]) for name in ("dag_id", "run_id", "task_id"))
    return {name: facts[name] for name in columns}
