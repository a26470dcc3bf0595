"""The rows of a table that still have to be sent, in the order of the table: which comes next, and which wait
for another try.

Sends nothing. The batch's own thread alone uses it, so it needs no lock.
"""

from bisect import insort
from collections.abc import Iterator

from airflow_provider_seedream.batch.halts import halt_by
from airflow_provider_seedream.batch.posting import Upcoming
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import RefusedRow
from airflow_provider_seedream.exceptions import SeedreamBatchError
from airflow_provider_seedream.ledger.prices import Prices
from airflow_provider_seedream.model import clock

MAX_AHEAD = 5_000  # rows that wait for room in memory while those behind them are looked up in the ledger


class RowQueue:
    """The rows that are neither under way nor done.

    ::

        row = queue.first(now)
        queue.take(row)  # it goes under way
        queue.put_back(row)  # a 429: it waits, before all rows behind it in the table
        queue.take(row)
        queue.done(row.number, row.digest)  # it is in flight, or has ended: the cursor moves on

    :param progress: holds the cursor, and the numbers of waiting rows between two processes.
    :param rows: the rows that have not begun yet, each with the digest of the table up to this row.
    :param prices: tells what a row may cost.
    :param looks_ahead: while rows wait for room, those behind them are looked up in the ledger.
    """

    def __init__(
        self,
        progress: Progress,
        rows: Iterator[tuple[Row | RefusedRow, str]],
        *,
        prices: Prices,
        looks_ahead: bool,
    ) -> None:
        self._progress = progress
        self._rows = rows
        self._prices = prices
        self._looks_ahead = looks_ahead
        self.waiting: list[Upcoming] = []  # taken from the table and not under way, in the order of the table
        self._next = self._read_next()  # not begun yet

    def __bool__(self) -> bool:
        """True if rows are left that are neither under way nor done."""
        return bool(self._next or self.waiting)

    def first(self, now: float) -> Upcoming | None:
        """The first row of the table; while rows are held, the first that was not tried. None without any.

        :param now: in epoch seconds.
        """
        if self._next and self._progress.is_held(now) and self.is_ahead(self._next):
            return self._next
        return self.waiting[0] if self.waiting else self._next

    def is_ahead(self, candidate: Upcoming) -> bool:
        """True for a row that is looked up in the ledger while others wait for room."""
        return self._looks_ahead and candidate is self._next and len(self.waiting) < MAX_AHEAD

    def take(self, candidate: Upcoming) -> None:
        """The row leaves the queue: it goes under way, or is done."""
        if candidate is self._next:
            self._next = self._read_next()
        else:
            self.waiting.remove(candidate)

    def put_back(self, upcoming: Upcoming) -> None:
        """Put a row back to its place in the table: it takes the next turn before all rows behind it."""
        upcoming.granted_epoch = None
        insort(self.waiting, upcoming, key=lambda one: one.number)

    def done(self, number: int, digest: str) -> None:
        """The row is in flight or has ended. The cursor is the last of these rows; rows before it may still
        wait.

        A kill loses this progress, and no payment: a retry looks up every row in the ledger.
        """
        if number > self._progress.cursor:
            self._progress.cursor, self._progress.digest = number, digest

    def pause(self) -> None:
        """Write into the progress which rows up to the cursor still have to be sent. No row may be under
        way.
        """
        self._progress.waiting = self.behind

    @property
    def behind(self) -> list[int]:
        """Numbers of the rows up to the cursor that still have to be sent; the cursor itself may be one."""
        # `_next` may be a waiting row that the table has given again
        rows = [*self.waiting, *([self._next] if self._next else [])]
        numbers = {one.number for one in rows if one.number <= self._progress.cursor}
        return sorted(numbers.union(self._progress.waiting))  # these it has not given again yet

    def _read_next(self) -> Upcoming | None:
        """The next row; None at the end. If the table was changed since the batch began: halt, but still
        land what is in flight.
        """
        try:
            following = next(self._rows, None)
        except SeedreamBatchError as error:
            self._progress.halt = self._progress.halt or halt_by(error)
            return None
        if following is None:
            return None
        row, digest = following
        price = self._prices.quote(row.num_images) if isinstance(row, Row) else 0
        upcoming = Upcoming(row=row, digest=digest, price=price)
        if row.number in self._progress.waiting:
            self._progress.waiting.remove(row.number)
            upcoming.must_pay = self._progress.is_held(clock.now_epoch())
        return upcoming
