"""Sends the rows of a table: decides which row begins next and when.

Threads submit (see ``posting``). Every decision, every change of the progress and every turn of the rate
limit is made here and in ``acting``, in the batch's own thread, so none of it needs a lock. Rows take their
turns in the order of the table, and end in any order.
"""

from collections.abc import Iterator
from concurrent.futures import Future

from airflow_provider_seedream.batch.acting import Acts, Fly, Note
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.posting import Posting, Tried, Upcoming
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.room import Room
from airflow_provider_seedream.batch.row_queue import RowQueue
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import RefusedRow
from airflow_provider_seedream.batch.width import PostWidth
from airflow_provider_seedream.ledger.admission import Admission
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.prices import Prices


class Sender:
    """Sends rows until the table ends or an error halts the batch.

    ::

        sender.begin(now)  # True: a row was begun, or was refused without a request
        wait(sender.under_way, return_when=FIRST_COMPLETED)
        sender.collect()

    A row is in one of four places: not read yet, waiting here (a 429, a budget or the rate limit holds it
    back), under way in a thread, or done: in flight, or ended. The cursor of the progress is the last row
    that is done.

    :param progress: of the try; counts what is done, and keeps what halts the batch.
    :param rows: the rows that have not begun yet, each with the digest of the table up to this row.
    :param posting: the threads.
    :param width: how many of them may be at work.
    :param pace: the rate limit and ``max_in_flight``.
    :param prices: tells what a row may cost, and when a price is to be measured.
    :param budget: refuses rows beyond it; near its limit rows go one after the other.
    :param admission: the same under the caps of the connection.
    :param waits_until: rows beyond a cap wait for room that comes before this, in epoch seconds; if it comes
        later, the batch is halted. None: they do not wait.
    :param looks_ahead: while rows wait for room, those behind them are looked up in the ledger: an earlier
        try may have paid them, and their images would not outlast a wait of a day.
    :param fly: takes a row whose generation is paid.
    :param note: takes a row that has ended without one.
    """

    def __init__(
        self,
        progress: Progress,
        rows: Iterator[tuple[Row | RefusedRow, str]],
        *,
        posting: Posting,
        prices: Prices,
        budget: Budget,
        admission: Admission,
        waits_until: float | None = None,
        looks_ahead: bool = False,
        pace: Pace,
        width: PostWidth,
        fly: Fly,
        note: Note,
    ) -> None:
        self.progress = progress
        self._posting = posting
        self._prices = prices
        self._pace = pace
        self._width = width
        self._note = note
        self._room = Room(
            progress,
            posting.under_way,
            prices=prices,
            budget=budget,
            admission=admission,
            pace=pace,
            width=width,
        )
        self._queue = RowQueue(progress, rows, prices=prices, looks_ahead=looks_ahead)
        self._acts = Acts(
            progress,
            self._queue,
            prices=prices,
            pace=pace,
            width=width,
            waits_until=waits_until,
            fly=fly,
            note=note,
        )

    @property
    def under_way(self) -> dict[Future[Tried], Upcoming]:
        """The submissions in the threads: the loop rests until the first of them ends."""
        return self._posting.under_way

    @property
    def has_rows(self) -> bool:
        """True if rows are left that have not ended their submission."""
        return bool(self._queue or self.under_way)

    def next_post_epoch(self, now: float) -> float | None:
        """When the next row may be sent; None if no row waits, or if a thread or a landing must make room
        first.

        :param now: in epoch seconds. The answer is ``now`` or earlier if the row may begin at once.
        """
        candidate = self._queue.first(now)
        if candidate and isinstance(candidate.row, RefusedRow):
            return now
        if candidate is None or not self._room.has_room(candidate, self._queue.waiting):
            return None
        if self.progress.is_held(now):
            return (
                now
                if self._queue.is_ahead(candidate)
                else max(self.progress.hold_epoch, self._pace.limiter.turn_epoch(now))
            )
        return self._pace.limiter.turn_epoch(now)

    def begin(self, now: float) -> bool:
        """Bring one row one step forward. False: the next row has to wait.

        Call it again until it is False: each call starts at most one submission.

        :param now: in epoch seconds; a turn of the rate limit is taken at this time.
        """
        candidate = self._queue.first(now)
        if candidate and isinstance(candidate.row, RefusedRow):  # it needs neither room nor a turn
            return self._refuse(candidate, candidate.row)
        if candidate is None or not self._room.has_room(candidate, self._queue.waiting):
            return False
        if self.progress.is_held(now):
            if not self._queue.is_ahead(candidate):
                return False
            if candidate.must_pay:  # looked up before the deferral
                self._queue.take(candidate)
                self._queue.put_back(candidate)
                return True
        return self._start(candidate, now)

    def collect(self) -> None:
        """Act on the tries that have ended.

        :raises SeedreamAuthenticationError: the key does not work.
        :raises SeedreamLedgerError: the storage does not answer. Each
            further row would fail the same way, or could be paid twice.
        """
        self._acts.on(self._posting.ended())

    @property
    def behind(self) -> list[int]:
        """Numbers of the rows up to the cursor that still have to be sent. No submission may be under way."""
        return self._queue.behind

    def pause(self) -> None:
        """Write into the progress which rows are behind the cursor and still have to be sent. No
        submission may be under way.
        """
        self._queue.pause()
        self.progress.post_seconds = self._width.seconds

    def _refuse(self, upcoming: Upcoming, row: RefusedRow) -> bool:
        """End a row that breaks a rule: no request is sent."""
        self._queue.take(upcoming)
        self._note(
            RowResult(row=row.number, status="invalid", detail=row.error.message, columns=row.columns), None
        )
        self._queue.done(row.number, upcoming.digest)
        return True

    def _start(self, upcoming: Upcoming, now: float) -> bool:
        """Submit the row if a POST is allowed now; else only look it up in the ledger, as an earlier try may
        have paid for it.

        After a halt (e.g. an empty wallet) or a stop (e.g. ``stop_when``) rows that are already paid still
        land.
        """
        if (
            self.progress.may_send
            and not self.progress.is_held(now)
            and self._pace.limiter.turn_epoch(now) <= now
        ):
            self._pace.limiter.take(now)
            upcoming.granted_epoch = now
        elif upcoming.must_pay:
            if not self.progress.may_send:
                self._leave_unsent(upcoming)
            return not self.progress.may_send
        upcoming.is_alone, upcoming.is_priced = self._room.must_be_alone(upcoming), self._prices.measures_next
        self._queue.take(upcoming)
        self._posting.start(upcoming)
        return True

    def _leave_unsent(self, upcoming: Upcoming) -> None:
        """The row is not paid and will not be sent in this try."""
        stop = self.progress.stop
        if stop is None:
            self.progress.unsent += 1
        else:
            row, why = upcoming.request_row, stop["detail"]
            self._note(
                RowResult(row=row.number, status="skipped", name=row.name, detail=why, columns=row.columns()),
                None,
            )
        self._queue.take(upcoming)
        self._queue.done(upcoming.number, upcoming.digest)
