"""The command that adds up the payments of folders by day, DAG, run, task or label.

It only reads and does not call the API, so it needs no key, unless the caps of a connection are asked for.
Memory grows with the lines of the answer, not with the records.
"""

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from airflow_provider_seedream.accounts.amounts import Spent
from airflow_provider_seedream.accounts.reading import Found, each_record, images_landed, ledgers_of
from airflow_provider_seedream.cli.printing import print_json, print_lines, print_rows
from airflow_provider_seedream.cli.records import with_bar
from airflow_provider_seedream.cli.running import FAILED
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger, Record
from airflow_provider_seedream.ledger.room import CapRoom
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.commands import command
from airflow_provider_seedream.model.counting import counted


class Period(NamedTuple):
    """The requests that count: from ``since`` on, before ``until``; None for no bound. Both in epoch
    seconds.
    """

    since: float | None
    until: float | None

    def has(self, record: Record) -> bool:
        """True if the request was sent in this period, by the clock of its worker."""
        at = clock.to_epoch(record.intent_at) or 0.0
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


def spending(options: argparse.Namespace) -> int:
    """`airflow seedream spending`: requests, landed images and credits of folders, one line for each day,
    DAG, run, task or label.

    JSON: ``destinations``, ``by``, ``rows``, ``total``, ``caps`` and ``unreadable``.

    :param options: ``destinations``, ``by``, ``since``, ``until``, ``recursive``, ``conn_id`` and ``output``.
    :returns: 1 if a file cannot be read, as it may hide a payment, else 0.
    :raises SeedreamInputError: a folder has no ledger, or an option is wrong.
    """
    period = period_of(options)
    ledgers = ledgers_of(options.destinations, recursive=options.recursive)
    caps = _caps(options.conn_id) if options.conn_id is not None else []
    spent, unreadable = Spent(by=options.by), []
    for ledger, found in found_in(ledgers, period):
        if found.record is None:
            unreadable.append(found.uri)
        else:
            spent.add(found.record, images=images_landed(ledger, found.record) or 0)
    if options.output == "json":
        facts = {"destinations": [ledger.folder.base for ledger in ledgers], "by": options.by}
        print_json(
            {
                **facts,
                "rows": spent.rows(),
                "total": spent.total.to_dict(),
                "caps": caps,
                "unreadable": unreadable,
            }
        )
    else:
        print_rows(f"Credits by {spent.by}", spent.rows())
        total = spent.total.to_dict()
        said = (
            f"{counted(total['requests'], 'request')}, {counted(total['images'], 'image')} landed. "
            f"Credits paid: {total['paid']}"
        )
        said += (
            f" (of these in flight: {total['in_flight']}), refunded: {total['refunded']}, unknown: "
            f"{total['unknown']}."
        )
        print_lines(said)
        if total["unknown"]:
            print_lines(
                f"Unknown: paid or not. `{command('ledger')}` names the records, `{command('reconcile')}` "
                "asks the wallet."
            )
        print_lines("Not readable, each may hide a payment:", unreadable)
        print_rows(f"Caps of {options.conn_id}", caps)
    return FAILED if unreadable else 0


def _caps(conn_id: str) -> list[dict[str, Any]]:
    """What is left of each cap of a connection, by its books: other folders and connections that share them
    count as well.

    :raises SeedreamInputError: the connection is missing or incomplete.
    :raises SeedreamLedgerError: the books cannot be read.
    """
    settings, now = SeedreamHook(conn_id).settings, clock.now_epoch()
    return CapRoom.read(settings.caps, settings.books, conn_id=conn_id, now_epoch=now).by_cap()


def period_of(options: argparse.Namespace) -> Period:
    """The period that the options name.

    :raises SeedreamInputError: ``--since`` or ``--until`` is not an instant, or the period is empty.
    """
    period = Period(*(instant_of(options, name) for name in ("since", "until")))
    if period.since is not None and period.until is not None and period.since >= period.until:
        raise SeedreamInputError("--since must be before --until.")
    return period


def instant_of(options: argparse.Namespace, name: str) -> float | None:
    """The epoch seconds of an option; None without it.

    :param name: of the option, without its dashes.
    :raises SeedreamInputError: it is not an instant.
    """
    text = getattr(options, name)
    if text is None:
        return None
    epoch = clock.to_epoch(text)
    if epoch is None:
        raise SeedreamInputError(
            f"--{name} must be an instant, e.g. 2026-11-22T18:00:00Z or 2026-11-22; got {text[:80]!r}."
        )
    return epoch


def found_in(ledgers: list[Ledger], period: Period) -> Iterator[tuple[Ledger, Found]]:
    """The records of a period, each with its ledger, and every file that cannot be read: its time is not
    known.
    """
    for ledger in ledgers:
        for found in each_record(ledger, tracked=with_bar):
            if found.record is None or period.has(found.record):
                yield ledger, found
