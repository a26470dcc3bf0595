"""The command that settles unknown outcomes by the wallet: a record is given back only if two looks prove
that it was not charged.

It reads all folders that the key pays for. What the wallet does not prove stays as it is.
"""

import argparse
from dataclasses import asdict, replace
from typing import Any

from airflow_provider_seedream.accounts.by_wallet import Proof, Sight, judge, without_charge
from airflow_provider_seedream.accounts.entries import Entry
from airflow_provider_seedream.accounts.reading import ledgers_of
from airflow_provider_seedream.cli.printing import err, print_json, print_lines, print_rows
from airflow_provider_seedream.cli.records import with_bar
from airflow_provider_seedream.cli.resolving import Say, ask, find_named, seconds_left, settle_one, tell
from airflow_provider_seedream.cli.running import FAILED
from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger, Record, record_at
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.reconciliation import Reading, read_all

ASSUMED = (
    "This holds if the folders named here are all that this key pays for, if nobody topped up just these "
    "credits in between, and if the clocks of the workers differ by less than a minute."
)
_FIND_OUT = "Find it in the account's history on the vendor's pages, then: {command}"
_WHAT_NOW = {
    "charged": f"It was paid. {_FIND_OUT}",
    "unclear": f"The wallet does not tell. {_FIND_OUT}, or --not-paid",
}


def resolve_by_wallet(options: argparse.Namespace) -> int:
    """`airflow seedream resolve --by-wallet`: take away the records of requests that were not charged, if the
    wallet proves it.

    :param options: ``record`` (its URI, or a folder with ``key``) or ``all``; ``also``, ``yes``, ``conn_id``,
        ``output``.
    :returns: 0 if each was settled, 1 if one is left.
    :raises SeedreamInputError: there is no such record, its outcome is known, or a folder has no ledger.
    :raises SeedreamError: the wallet does not answer, or a ledger cannot be listed.
    """
    folder, uri = _asked(options)
    done, reading = settle_all_by_wallet(SeedreamHook(options.conn_id), folder, uri, options)
    _show(done, options)
    return 0 if all(one["settled"] for one in done) and not reading.unreadable else FAILED


def settle_all_by_wallet(
    hook: SeedreamHook, folder: str, uri: str | None, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], Reading]:
    """Settle one record (``uri``) or all of a folder. Returns what came of each, and what was read.

    :raises SeedreamError: as :func:`resolve_by_wallet`.
    """
    reading = read_all(hook, ledgers_of([folder, *(options.also or [])], recursive=False), tracked=with_bar)
    unknown = [
        entry
        for entry in reading.entries
        if entry.at_risk and not entry.is_late and entry.destination == folder
    ]
    if uri and not (unknown := [entry for entry in unknown if entry.record == uri]):
        raise SeedreamInputError(
            "Its outcome is known, or the record is gone. Only an unknown one can be resolved."
        )
    return _settle_all(sorted(unknown, key=lambda entry: entry.first_epoch), reading, options), reading


def _settle_all(unknown: list[Entry], reading: Reading, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Settle what is proved, again and again: each request that is known not to be charged is one doubt
    less for the others.
    """
    entries = {entry.record: entry for entry in reading.entries}
    done: dict[str, dict[str, Any]] = {}
    while True:
        # Nobody is asked twice: a person who has said no to a proved one means it.
        left = [entry for entry in unknown if done.get(entry.record, {}).get("verdict") != "not_charged"]
        for entry in left:
            done[entry.record] = _settled(entry, replace(reading, entries=list(entries.values())), options)
            if done[entry.record]["settled"]:
                entries[entry.record] = without_charge(entry)
        if not any(done[entry.record]["settled"] for entry in left):
            return [done[entry.record] for entry in unknown]


def _asked(options: argparse.Namespace) -> tuple[str, str | None]:
    """The folder, and the URI of the one record that is meant; None with ``--all``."""
    if options.all:
        return Ledger(options.all).folder.base, None
    ledger, record = find_named(options.record, options.key)
    return ledger.folder.base, ledger.uri(record)


def _settled(entry: Entry, reading: Reading, options: argparse.Namespace) -> dict[str, Any]:
    """Judge one request, and settle it if it is proved not to be paid.

    :returns: ``record``, ``verdict``, ``why``, ``credits``, ``settled``, ``what_now``.
    """
    ledger, file = record_at(entry.record) or (Ledger(entry.destination), "")
    record = ledger.read(file)
    proof = _proof(ledger, record, entry, reading)
    facts = {
        "record": entry.record,
        **asdict(proof),
        "credits": entry.at_risk,
        "settled": False,
        "what_now": None,
    }
    if record is None or proof.verdict != "not_charged":
        if record is not None and seconds_left(ledger, record) > 0:
            return facts | {"what_now": "Nothing was changed. Run this command again after that."}
        paid = command("resolve", entry.record, "--paid", "ID", conn_id=options.conn_id)
        return facts | {"what_now": _WHAT_NOW[proof.verdict].format(command=paid)}
    err().print(f"\n{entry.record}\n{proof.why}. {ASSUMED}", markup=False)
    try:
        settle_one(
            ledger,
            record,
            Say(
                seedream_task_id=None,
                hook=SeedreamHook(options.conn_id),
                confirm=tell if options.yes else ask,
            ),
        )
    except SeedreamError as error:
        if not options.all:
            raise
        return facts | {"what_now": error.message}
    return facts | {"settled": True}


def _proof(ledger: Ledger, record: Record | None, entry: Entry, reading: Reading) -> Proof:
    """What the wallet proves. A POST that may still be under way, and a file that may hide another request,
    prove nothing.

    :param record: as it is now.
    """
    if record is None or record.claim != entry.claim:
        return Proof(verdict="unclear", why="Its record has changed meanwhile")
    if (left := seconds_left(ledger, record)) > 0:
        return Proof(verdict="unclear", why=f"Its request may still be on its way, for {left:.0f} s more")
    if reading.unreadable:
        return Proof(
            verdict="unclear", why=f"{reading.unreadable[0]} cannot be read, and may hide another request"
        )
    now = None if reading.is_moving else Sight(reading.at_epoch, reading.balance, None)
    return judge(entry, reading.entries, now)


def _show(done: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """The verdicts, and what to do about those that are left."""
    if options.output == "json":
        print_json({"requests": done, "assumed": ASSUMED})
        return
    print_rows(
        "By the wallet",
        [{name: one[name] for name in ("verdict", "credits", "settled", "record")} for one in done],
    )
    for one in done:
        print_lines(f"{one['record']}\n  {one['why']}.")
        if one["what_now"]:
            print_lines(f"  {one['what_now']}")
    left = sum(not one["settled"] for one in done)
    print_lines(f"{counted(len(done) - left, 'record')} resolved, {left} left.")
