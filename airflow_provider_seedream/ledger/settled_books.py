"""Settles open entries of the books from the ledger: ended attempts go into the sums, attempts without a
claim are dropped.

An entry without a record may belong to a process that was stopped between its admission and its claim. It is
first marked as doubted, so that this process notices it before its POST; then the record is read again, and
only then the entry is taken out. No clocks of two machines are compared.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from airflow_provider_seedream.ledger.books import Books
from airflow_provider_seedream.ledger.pages import Entry, Page
from airflow_provider_seedream.ledger.record import Record, record_file
from airflow_provider_seedream.model import threads
from airflow_provider_seedream.model.clock import Clock
from airflow_provider_seedream.storage.folder import Folder

QUIET_SECONDS = 300.0  # younger entries are most likely at work: their records would tell nothing new
KEPT_SECONDS = 26 * 3600.0  # the API keeps results for 24 h [doc]: after that a refund can no longer be seen
DOUBT_SECONDS = 2.5  # longer than a claim may go unread before its POST, see ``claims.READ_AGAIN_SECONDS``
MAX_READ = 200  # records in one settling
THREADS = 16
_log = logging.getLogger(__name__)
Fate = Literal["open", "ended", "refunded", "unclaimed"]


def settle(books: Books, month: str, clock: Clock) -> bool:
    """Settle the oldest open entries of a month. True if the page has changed.

    :raises SeedreamLedgerError: the storage of the books does not answer. A record that cannot be read leaves
        its entry open.
    """
    page, now = books.look(month), clock.now_epoch()
    entries = sorted(page.open.values(), key=lambda one: one.at) if page else []
    old = [one for one in entries if now - one.at >= QUIET_SECONDS]
    fates = _fates(old[:MAX_READ], now)
    unclaimed = [entry for entry, (fate, _) in fates.items() if fate == "unclaimed"]
    if not unclaimed:
        return _settled(books, month, fates)
    doubted = {entry.id: entry.claims for entry in unclaimed}
    books.change(month, lambda page: (page.doubting(doubted), None))
    clock.sleep(DOUBT_SECONDS)
    again = _fates(unclaimed, now)
    claimed = {entry.id: entry.claims for entry, (fate, _) in again.items() if fate != "unclaimed"}
    if claimed:  # their processes have gone on, and their POSTs may be under way
        books.change(month, lambda page: (page.doubting(claimed, is_in_doubt=False), None))
    return _settled(books, month, {**fates, **again})


def _settled(books: Books, month: str, fates: dict[Entry, tuple[Fate, int]]) -> bool:
    """Write the fates into the page. True if it has changed."""

    def change(page: Page) -> tuple[Page, bool]:
        before = page
        for entry, (fate, cost) in fates.items():
            if fate == "ended":
                page = page.ended_with(entry.id, cost)
            elif fate == "refunded":
                page = page.without(entry.id)
            elif fate == "unclaimed":
                # only the tries that were looked for: another one may have been admitted since
                for claim in entry.claims:
                    page = page.withdrawn(entry.id, claim)
        return page, page is not before

    if all(fate == "open" for fate, _ in fates.values()):
        return False
    return books.change(month, change)


def _fates(entries: Iterable[Entry], now: float) -> dict[Entry, tuple[Fate, int]]:
    """The fate of each entry by the ledger, with the credits that its record counts."""
    by_folder: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_folder[entry.destination].append(entry)
    fates: dict[Entry, tuple[Fate, int]] = {}
    with threads.pool(THREADS, "seedream-books") as pool:
        for destination, some in by_folder.items():
            folder = Folder(destination)
            fates.update(
                zip(some, pool.map(lambda one, folder=folder: _fate(folder, one, now), some), strict=True)
            )
    return fates


def _fate(folder: Folder, entry: Entry, now: float) -> tuple[Fate, int]:
    """The fate of an entry by its record, and the credits that the record counts.

    "open" if the record cannot be read: its credits stay counted.
    """
    try:
        data = folder.read(record_file(entry.key, entry.attempt))
        record = None if data is None else Record.from_json(data)
    except Exception as error:  # any error of any store: an unreadable record is not a missing one
        _log.info(
            "A record of the books cannot be read (%s: %s), so its credits stay counted.",
            type(error).__name__,
            error,
        )
        return "open", 0
    if record is None or record.is_free or record.claim not in entry.claims:
        return "unclaimed", 0
    if record.is_open_for_next:
        return "refunded", 0
    is_final = record.outcome in ("landed", "partial", "failed", "expired")
    is_old = record.outcome == "submitted" and now - entry.at > KEPT_SECONDS
    return ("ended" if is_final or is_old else "open"), record.cost_credits
