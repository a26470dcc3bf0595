"""The command that says what was paid for in a folder. Reads only, and asks no API: it needs no key."""

import argparse
from typing import Any

from airflow_provider_seedream.cli.printing import print_json, print_lines, print_rows
from airflow_provider_seedream.cli.records import Books, credits_by_paid, describe, paid, read_books, summarize
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.model import clock

RECORD_COLUMNS = ("seedream_task_id", "outcome", "credits", "task", "prompt")
UNKNOWN_COLUMNS = ("intent_at", "credits", "wallet_balance", "task", "prompt")
PROMPT_CHARACTERS = 60


def ledger(options: argparse.Namespace) -> int:
    wanted = _filter(options)
    book = Ledger(options.destination)
    read = read_books(book)
    books = Books(records=tuple(filter(wanted, read.records)), unreadable=read.unreadable)
    (_print_json if options.output == "json" else _print_tables)(book, books, options)
    return 0


def _filter(options: argparse.Namespace) -> Any:
    since = clock.to_epoch(options.since) if options.since else 0.0
    if since is None:
        raise SeedreamInputError(f"--since must be an instant, e.g. 2026-11-22T18:00:00Z; got {options.since[:80]!r}.")
    ids = {name: getattr(options, name) for name in ("dag_id", "run_id", "task_id")}

    def wanted(record: Record) -> bool:
        mine = all(value in (None, record.made_by.get(name)) for name, value in ids.items())
        of_these = not options.outcome or record.outcome in options.outcome
        return mine and of_these and (clock.to_epoch(record.intent_at) or 0.0) >= since

    return wanted


def _print_json(book: Ledger, books: Books, options: argparse.Namespace) -> None:
    print_json(
        {
            "destination": book.folder.base,
            "credits": credits_by_paid(books.records),
            "runs": summarize(books.records),
            "records": [describe(record, book.uri(record)) for record in books.records],
            "unreadable": list(books.unreadable),
        }
    )


def _print_tables(book: Ledger, books: Books, options: argparse.Namespace) -> None:
    unknown = [record for record in books.records if paid(record) == "unknown"]
    print_rows("Requests and credits", summarize(books.records))
    if options.records:
        print_rows("Records", [_row(record, RECORD_COLUMNS) for record in books.records])
    print_rows("Unknown", [_row(record, UNKNOWN_COLUMNS) for record in unknown])
    print_lines("To be resolved:", [book.uri(record) for record in unknown])
    print_lines("Not readable, each may hide a payment:", books.unreadable)
    spent = credits_by_paid(books.records)
    totals = f"Credits paid: {spent['yes']}, refunded: {spent['refunded']}, unknown: {spent['unknown']}."
    print_lines(f"{len(books.records)} requests. {totals}")


def _row(record: Record, columns: tuple[str, ...]) -> dict[str, Any]:
    facts = describe(record, "")
    prompt = str(facts["prompt"])
    facts["prompt"] = prompt if len(prompt) <= PROMPT_CHARACTERS else f"{prompt[:PROMPT_CHARACTERS]}..."
    facts["task"] = " ".join(str(facts[name]) for name in ("dag_id", "run_id", "task_id"))
    return {name: facts[name] for name in columns}
