"""The threads that submit rows: each takes one row from its sources to the recorded id.

The ledger keeps two threads from paying for one request. A thread decides nothing about the batch: the loop
does, from the results.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Self

from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import RefusedRow, identity
from airflow_provider_seedream.exceptions import SeedreamError
from airflow_provider_seedream.ledger.record import file_stem
from airflow_provider_seedream.ledger.submit import Request, Submitted, Submitter
from airflow_provider_seedream.model import clock, contract, threads
from airflow_provider_seedream.tasks.wait_options import MAX_POSTS_AT_ONCE


@dataclass(slots=True, kw_only=True, eq=False)
class Upcoming:
    """A row that was taken from the table and whose submission has not ended::

        Upcoming(row=row, digest=digest, price=20)

    :param row: a valid row, or one that breaks a rule; the latter is never submitted.
    :param digest: of the table up to this row.
    :param price: the credits that it can cost.
    :param request: made from the row, with the bytes of its sources; None before its first try.
    :param must_pay: True once the ledger has said that the row is not paid yet: then it waits for a turn of
        the rate limit.
    :param is_alone: True if no other submission may be under way beside it.
    :param is_priced: True if the wallet is read before and after its POST, which takes longer than others.
    :param was_beside: True if another one was under way during its last try.
    :param granted_epoch: when it took the turn of the rate limit that it uses; None without one.
    """

    row: Row | RefusedRow
    digest: str
    price: int = 0
    request: Request | None = None
    must_pay: bool = False
    is_alone: bool = False
    is_priced: bool = False
    was_beside: bool = False
    granted_epoch: float | None = None

    @property
    def number(self) -> int:
        """Its number in the table, from 1."""
        return self.row.number

    @property
    def request_row(self) -> Row:
        """The row, if it is valid.

        :raises TypeError: it breaks a rule.
        """
        if not isinstance(self.row, Row):
            raise TypeError(f"Row {self.number} was refused, and is not submitted.")
        return self.row

    @property
    def identity(self) -> int:
        """A number that is equal for equal requests."""
        return identity(self.request_row)

    @property
    def stem(self) -> str | None:
        """The stem of its files; None: its seedream task id."""
        return file_stem(self.request_row.name, self.request_row.take)

    @property
    def source_bytes(self) -> int:
        """The memory that its sources take, in bytes: the most that is allowed until they are read."""
        if self.request is None:
            return len(self.request_row.images) * contract.MAX_SOURCE_BYTES
        return sum(len(source.data) for source in self.request.submission.sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The end of one try to submit a row. With neither a generation nor an error the row is not paid, and it
    had no turn to pay::

        Tried(upcoming=upcoming, found=submitted, has_posted=True, seconds=1.2)

    :param has_posted: True if a POST was given to the hook.
    :param sent_epoch: when its first byte was sent; None if none was.
    :param seconds: that the try took.
    """

    upcoming: Upcoming
    found: Submitted | None = None
    error: SeedreamError | None = None
    has_posted: bool = False
    sent_epoch: float | None = None
    seconds: float = 0.0


class Posting:
    """The submissions under way, each in a thread::

        with Posting(submitter, make_request) as posting:
            posting.start(upcoming)
            wait(posting.under_way)
        [tried] = posting.ended()

    The methods are for one thread, the batch's own; it alone changes progress, results and the rate limit.

    :param request: makes the request of a row; for an edit it reads the source images.
    :param bell: is set when a submission has ended.
    """

    def __init__(
        self, submitter: Submitter, request: Callable[[Row], Request], bell: threading.Event | None = None
    ) -> None:
        self._bell = bell or threading.Event()
        self._submitter = submitter
        self._request = request
        self._pool: Executor | None = None
        self._stopped = threading.Event()
        self.under_way: dict[Future[Tried], Upcoming] = {}

    def __enter__(self) -> Self:
        """Threads are started as they are needed, and end with the block."""
        self._stopped.clear()
        self._pool = threads.pool(MAX_POSTS_AT_ONCE, "seedream-post")
        return self

    def __exit__(self, *error: object) -> None:
        """Start nothing more, and wait for the answers that are on their way: a paid id must get into its
        record.
        """
        self._stopped.set()
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, upcoming: Upcoming) -> None:
        """Submit a row that has a turn; only look up a row that has none in the ledger.

        :param upcoming: its ``granted_epoch`` says whether it has a turn of the rate limit.
        :raises RuntimeError: outside of the ``with`` block, where no thread would be waited for.
        """
        upcoming.was_beside = bool(self.under_way)
        for other in self.under_way.values():
            other.was_beside = True
        if self._pool is None:
            raise RuntimeError("Rows are submitted inside of `with posting:`.")
        future = self._pool.submit(self._try, upcoming)
        self.under_way[future] = upcoming
        future.add_done_callback(lambda _: self._bell.set())

    def ended(self) -> list[Tried]:
        """The tries that have ended since the last call. New generations come first: rows that attach to
        them cost nothing.
        """
        done = [future for future in self.under_way if future.done()]
        tried = [future.result() for future in done if not future.cancelled()]
        for future in done:
            del self.under_way[future]
        return sorted(tried, key=lambda one: (not (one.found and one.found.is_new), one.upcoming.number))

    def _try(self, upcoming: Upcoming) -> Tried:
        """Runs in a thread. Errors of this library are results; any other error is raised where the result
        is read.
        """
        began, posts = clock.steady_seconds(), self._submitter.posts
        found, error = None, None
        try:
            request = upcoming.request = upcoming.request or self._request(upcoming.request_row)
            if not self._stopped.is_set():  # the batch may have ended while the sources were read
                # Without a turn no POST may go: the ledger only tells whether an earlier try has paid.
                is_turn = upcoming.granted_epoch is not None
                found = self._submitter.submit_row(request) if is_turn else self._submitter.find(request)
        except SeedreamError as raised:
            error = raised
        has_posted = self._submitter.posts > posts
        return Tried(
            upcoming=upcoming,
            found=found,
            error=error,
            has_posted=has_posted,
            sent_epoch=self._submitter.sent_epoch if has_posted else None,
            seconds=clock.steady_seconds() - began,
        )
