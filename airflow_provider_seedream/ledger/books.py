"""The books of a connection in storage: one small page for each UTC month, ``_seedream/books/2026-11.json``.

A page is replaced only if it still is as it was read, so racing writers never overwrite each other. Threads
of one process share a write: while one is on its way, the changes of the others are gathered for the next.
The changes themselves are made in ``pages`` and ``cap_rules``.
"""

import logging
import os
import random
import threading
import uuid
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

from airflow_provider_seedream.exceptions import SeedreamError, SeedreamLedgerError, final
from airflow_provider_seedream.hooks.first_mistakes import named
from airflow_provider_seedream.ledger.changes import Asked, Change, Month, R
from airflow_provider_seedream.ledger.pages import Page
from airflow_provider_seedream.model import threads
from airflow_provider_seedream.model.clock import CLOCK, Clock
from airflow_provider_seedream.storage.exclusive import PROBES, NotExclusiveError
from airflow_provider_seedream.storage.folder import Folder
from airflow_provider_seedream.storage.swap import WAYS, NotConditionalError, Seen, SwapFile, Way

BOOKS = "_seedream/books"
MAX_WRITES = 100  # of one change, as other writers may be faster each time
LONGEST_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Books:
    """The pages in one place, which several connections, processes and installations may share.

    ::

        books = books_at("s3://my_conn@bucket/books")
        refusal = books.change("2026-11", lambda page: admit(page, entry, caps, warn_at=0.8))
        # with the next write, or by flush()
        books.later("2026-11", lambda page: (page.ended_with(entry.id, 20), None))

    A change may be called several times, each time with a newer page, and must not do I/O. The methods may
    run in several threads.

    :param uri: storage URI of the folder that holds the pages.
    """

    def __init__(self, uri: str, clock: Clock = CLOCK) -> None:
        self._folder = Folder(uri)
        self._clock = clock
        self._months: dict[str, Month] = {}
        self._lock = threading.Lock()

    @cached_property
    def uri(self) -> str:
        return self._folder.base

    def change(self, month: str, change: Change[R]) -> R:
        """Apply a change to the page of a month, and return its result. One GET and one PUT; one PUT where
        this process wrote last.

        :raises SeedreamLedgerError: the storage does not answer, or cannot replace by condition: the change
            was not written.
        """
        asked = Asked(change=change)
        self._ask(month, asked)
        self._write_all(month, asked)
        if asked.error:
            raise asked.error
        return cast(R, asked.result)

    def later(self, month: str, change: Change[Any]) -> None:
        """Apply a change with the next write of this process, or by :meth:`flush`. A kill loses it."""
        self._ask(month, Asked(change=change))

    def flush(self) -> None:
        """Write the changes that wait. :raises SeedreamLedgerError: the storage does not answer."""
        for month in list(self._months):
            if self._months[month].asked:
                self.change(month, lambda page: (page, None))

    def look(self, month: str) -> Page | None:
        """The page as it is in storage now, by one GET; None if there is none.

        :raises SeedreamLedgerError: the storage does not answer, or the file is no page.
        """
        seen = self._try(lambda: self._file(month).look())
        return None if seen is None else self._understood(seen, month)

    def glance(self, month: str) -> Page | None:
        """The page as this process has seen it last, without asking the storage; None before the first
        time.
        """
        known = self._months.get(month)
        return known.page if known else None

    def _ask(self, month: str, asked: Asked[Any]) -> None:
        """Put a change into the list that the next write of this month takes."""
        with self._lock:
            self._months.setdefault(month, Month(name=month)).asked.append(asked)

    def _write_all(self, month: str, mine: Asked[Any]) -> None:
        """Write all changes that wait, in one PUT. If another thread has written this one with its own, do
        nothing.
        """
        at = self._months[month]
        with at.turn:
            if mine.is_done:
                return
            with self._lock:
                group, at.asked = at.asked, []
            try:
                self._write(at, group)
            except BaseException as error:
                at.seen = at.page = None
                for one in group:
                    one.error, one.is_done = error, True

    def _write(self, at: Month, group: list[Asked[Any]]) -> None:
        """Apply a group of changes to the page and write it; begin anew if another writer was faster.

        If the changes leave the page as it is, nothing is written. A page from memory is read again first, as
        another process may have written since.

        :raises SeedreamLedgerError: other writers were faster 100 times in a row.
        """
        for number in range(MAX_WRITES):
            is_remembered = at.page is not None
            if at.page is None or at.seen is None:
                at.seen, at.page = self._read(at.name)
            page, results = at.page, []
            for one in group:
                page, result = one.change(page)
                results.append(result)
            if page is at.page and is_remembered:  # e.g. a refusal: another process may have written since
                at.page = None
                continue
            if page is at.page or self._is_swapped(at, page):
                for one, result in zip(group, results, strict=True):
                    one.result, one.is_done = result, True
                return
            self._clock.sleep(random.uniform(0, min(LONGEST_PAUSE_SECONDS, 0.01 * 2**number)))
        raise SeedreamLedgerError(
            f"Cannot write the books in {self.uri}: other writers were faster {MAX_WRITES} times in a row."
        )

    def _is_swapped(self, at: Month, page: Page) -> bool:
        """Write the page over the one that was seen. False: another writer was faster; then change its
        page.
        """
        seen, data, way = at.seen, page.to_json(), cast(Way, page.way)
        is_done, at.seen = self._try(lambda: self._file(at.name).swap(cast(Seen, seen), data, way))
        if is_done:
            at.page = page
        else:
            at.page = None if at.seen is None else self._understood(at.seen, at.name)
        return is_done

    def _read(self, month: str) -> tuple[Seen, Page]:
        """The page in storage; the first writer of a month makes it."""
        seen = self._try(lambda: self._file(month).look())
        if seen is None:
            empty = Page(month=month, way=self._try(self._way_that_holds))
            # False: another process was faster
            self._try(lambda: self._folder.create(_file(month), empty.to_json()))
            seen = self._try(lambda: self._file(month).look())
        if seen is None:
            raise SeedreamLedgerError(f"The books in {self.uri} do not show the page that was just written.")
        return seen, self._understood(seen, month)

    def _file(self, month: str) -> SwapFile:
        """The page in storage. Opens the storage, so it belongs into :meth:`_try`: its connection or its
        library may be missing.
        """
        return self._folder.swap_file(_file(month))

    def _way_that_holds(self) -> Way:
        """The form of a condition that this store obeys when it replaces a file.

        The process that makes the page of a month tests it. All other processes read it in the page.
        """
        self._folder.check_exclusive()
        name = f"{PROBES}/{uuid.uuid4().hex}"
        self._folder.create(name, b"first\n")
        try:
            return self._folder.swap_file(name).way_that_holds()
        finally:
            self._folder.delete(name)

    def _understood(self, seen: Seen, month: str) -> Page:
        """The page in these bytes.

        :raises SeedreamLedgerError: they are not a page of this month, or have a later version, so the
            spending is not known.
        """
        try:
            page = Page.from_json(seen.data)
        except ValueError as error:
            raise SeedreamLedgerError(
                f"The books {self._folder.uri(_file(month))} cannot be understood ({error})."
            ) from None
        if page.way not in WAYS or page.month != month:
            raise SeedreamLedgerError(
                f"The books {self._folder.uri(_file(month))} are those of another month or a later version."
            )
        return page

    def _try(self, act: Callable[[], R]) -> R:
        """Call the storage. :raises SeedreamLedgerError: final if no retry can help, as caps cannot hold
        at this store.
        """
        try:
            return act()
        except NotExclusiveError as error:
            why = (
                f"{self.uri} cannot keep the books of caps: {error}"
                if isinstance(error, NotConditionalError)
                else str(error)
            )
            refused = SeedreamLedgerError(
                f"{why.rstrip('.')}. Without that, two tasks could spend the same credits.",
                verdict="STORAGE UNSUITABLE",
            )
            refused.on_retry = (
                "A retry would be refused again: name another place in `books` of the "
                "connection, or remove its caps."
            )
            raise final(refused) from error
        except SeedreamLedgerError:
            raise
        except Exception as error:  # each store has its own error classes
            cause = f"{type(error).__name__}: {error}"[:400]
            failed = SeedreamLedgerError(
                f"Cannot read or write the books of caps in {self.uri}.", cause=cause
            )
            begins = f"The books of caps in {self.uri} cannot be opened: "
            raise named(failed, error, self.uri, begins=begins) from error


def _file(month: str) -> str:
    return f"{BOOKS}/{month}.json"


_books: dict[str, Books] = {}
_making = threads.lock()
# their locks may be held by a thread of the parent, and their pages are old
os.register_at_fork(after_in_child=_books.clear)


def books_at(uri: str) -> Books:
    """The books in a place, one object for each process: its threads share writes, and the page that was
    written last.
    """
    with _making:
        return _books.setdefault(uri, Books(uri))


def give_back(books: str, month: str, change: Callable[[Page], Page]) -> None:
    """Take an attempt out of the books. If the storage fails, the caps count it until it is settled from the
    ledger.

    :param books: the place. :param month: of the page, e.g. ``2026-11``.
    """
    try:
        books_at(books).change(month, lambda page: (change(page), None))
    except SeedreamError as error:
        _log.warning(
            "%s A cap counts some credits too many until its books are settled from the ledger.",
            error.message,
        )


def flush_books() -> None:
    """Write the changes that wait in all books of this process. Best effort: a lost change is settled from
    the ledger later.
    """
    for books in list(_books.values()):
        try:
            books.flush()
        except SeedreamError as error:
            _log.warning("%s The books are settled from the ledger later.", error.message)
