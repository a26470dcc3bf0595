"""Sends the rows of a table: decides which row begins next and when, and acts on the outcome of each.

Threads submit (see ``posting``). Every decision, every change of the progress and every turn of the rate limit is made here, in the
batch's own thread, so none of it needs a lock. Rows take their turns in the order of the table, and end in any order.
"""

import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from airflow_provider_seedream.batch.halts import halt_by, too_late
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.posting import Posting, Tried, Upcoming
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.results import RowResult
from airflow_provider_seedream.batch.room import Room
from airflow_provider_seedream.batch.row_outcomes import ended_row
from airflow_provider_seedream.batch.row_queue import RowQueue
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import RefusedRow
from airflow_provider_seedream.batch.width import MAX_UNKNOWN_IN_A_ROW, PostWidth
from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamAuthenticationError,
    SeedreamBatchError,
    SeedreamBudgetError,
    SeedreamCapError,
    SeedreamConnectionError,
    SeedreamError,
    SeedreamInsufficientCreditsError,
    SeedreamLedgerError,
    SeedreamRateLimitError,
)
from airflow_provider_seedream.ledger.admission import Admission
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.prices import Prices
from airflow_provider_seedream.ledger.submit import Submitted
from airflow_provider_seedream.model import clock

UNREACHABLE_SECONDS = 30.0  # between two tries to reach an API that does not answer
MAX_UNREACHABLE_SECONDS = 1800.0  # after so long without an answer the batch sends no more rows
_log = logging.getLogger(__name__)

Note = Callable[[RowResult, SeedreamError | None], None]
Fly = Callable[[Row, Submitted], None]


class Sender:
    """Sends rows until the table ends or an error halts the batch.

    ::

        sender.begin(now)  # True: a row was begun, or was refused without a request
        wait(sender.under_way, return_when=FIRST_COMPLETED)
        sender.collect()

    A row is in one of four places: not read yet, waiting here (a 429, a budget or the rate limit holds it back), under way in a
    thread, or done: in flight, or ended. The cursor of the progress is the last row that is done.

    :param progress: of the try; counts what is done, and keeps what halts the batch.
    :param rows: the rows that have not begun yet, each with the digest of the table up to this row.
    :param posting: the threads.
    :param width: how many of them may be at work.
    :param pace: the rate limit and ``max_in_flight``.
    :param prices: tells what a row may cost, and when a price is to be measured.
    :param budget: refuses rows beyond it; near its limit rows go one after the other.
    :param admission: the same under the caps of the connection.
    :param waits_until: rows beyond a cap wait for room that comes before this, in epoch seconds; if it comes later, the batch is
        halted. None: they do not wait.
    :param looks_ahead: while rows wait for room, those behind them are searched in the ledger: an earlier try may have paid them,
        and their images would not outlast a wait of a day.
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
        self._fly = fly
        self._note = note
        self._waits_until = waits_until
        self._room = Room(progress, posting.under_way, prices=prices, budget=budget, admission=admission, pace=pace, width=width)
        self._queue = RowQueue(progress, rows, prices=prices, looks_ahead=looks_ahead)

    @property
    def under_way(self) -> dict[Future[Tried], Upcoming]:
        """The submissions in the threads: the loop rests until the first of them ends."""
        return self._posting.under_way

    @property
    def has_rows(self) -> bool:
        """True if rows are left that have not ended their submission."""
        return bool(self._queue or self.under_way)

    def next_post_epoch(self, now: float) -> float | None:
        """When the next row may be sent; None if no row waits, or if a thread or a landing must make room first.

        :param now: in epoch seconds. The answer is ``now`` or earlier if the row may begin at once.
        """
        candidate = self._queue.first(now)
        if candidate and isinstance(candidate.row, RefusedRow):
            return now
        if candidate is None or not self._room.has_room(candidate, self._queue.waiting):
            return None
        if self.progress.is_held(now):
            return now if self._queue.is_ahead(candidate) else max(self.progress.hold_epoch, self._pace.limiter.turn_epoch(now))
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
            if candidate.must_pay:  # searched before the deferral
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
        dead: SeedreamError | None = None
        for tried in self._posting.ended():
            self._settle_turn(tried)
            if isinstance(tried.error, SeedreamAuthenticationError | SeedreamLedgerError):
                dead = dead or tried.error  # when the others have been acted on: they may be paid
                self._queue.put_back(tried.upcoming)
            else:
                self._act(tried)
        if dead:
            raise dead

    def _settle_turn(self, tried: Tried) -> None:
        """Free the turn of a row that sent no POST, and count that of one that sent it late. A 429 gives its turn back itself."""
        granted_epoch = tried.upcoming.granted_epoch
        if granted_epoch is None:
            return
        if not tried.has_posted:
            self._pace.limiter.give_back(granted_epoch)
        elif tried.sent_epoch is not None and not isinstance(tried.error, SeedreamRateLimitError):
            self._pace.limiter.sent(granted_epoch, tried.sent_epoch)

    @property
    def behind(self) -> list[int]:
        """Numbers of the rows up to the cursor that still have to be sent. No submission may be under way."""
        return self._queue.behind

    def pause(self) -> None:
        """Write into the progress which rows are behind the cursor and still have to be sent. No submission may be under way."""
        self._queue.pause()
        self.progress.post_seconds = self._width.seconds

    def _refuse(self, upcoming: Upcoming, row: RefusedRow) -> bool:
        """End a row that breaks a rule: no request is sent."""
        self._queue.take(upcoming)
        self._note(RowResult(row=row.number, status="invalid", detail=row.error.message, columns=row.columns), None)
        self._queue.done(row.number, upcoming.digest)
        return True

    def _start(self, upcoming: Upcoming, now: float) -> bool:
        """Submit the row if a POST is allowed now; else only search the ledger for it, as an earlier try may have paid for it.

        After a halt (e.g. an empty wallet) or a stop (e.g. ``stop_when``) rows that are already paid still land.
        """
        if self.progress.may_send and not self.progress.is_held(now) and self._pace.limiter.turn_epoch(now) <= now:
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
        if (stop := self.progress.stop) is None:
            self.progress.unsent += 1
        else:
            row, why = upcoming.request_row, stop["detail"]
            self._note(RowResult(row=row.number, status="skipped", name=row.name, detail=why, columns=row.columns()), None)
        self._queue.take(upcoming)
        self._queue.done(upcoming.number, upcoming.digest)

    def _act(self, tried: Tried) -> None:
        """Act on the end of one try: the row has ended, or waits for another try. An error may concern the whole batch."""
        upcoming, error = tried.upcoming, tried.error
        if tried.found:
            self._accept(tried, tried.found)
        elif error is None:
            self._leave_for_later(upcoming)
        elif isinstance(error, SeedreamRateLimitError):
            self._slow_down(tried, error)
        elif isinstance(error, SeedreamConnectionError):
            self._hold(tried, error)
        elif isinstance(error, SeedreamInsufficientCreditsError):
            self.progress.halt = self.progress.halt or halt_by(error)
            self._queue.put_back(upcoming)
        elif isinstance(error, SeedreamBudgetError) and upcoming.was_beside:
            upcoming.is_alone = True  # the rows beside it may have been refused, and leave room for this one
            self._queue.put_back(upcoming)
        elif isinstance(error, SeedreamCapError) and self._waits_until is not None and error.room_at:
            self._wait_for_room(upcoming, error, self._waits_until)
        else:
            self._fail(tried, error)

    def _leave_for_later(self, upcoming: Upcoming) -> None:
        """The ledger does not know the row: it takes a POST. While rows are held, it waits without its sources, and is passed."""
        upcoming.must_pay = True
        self._queue.put_back(upcoming)
        if self.progress.is_held(clock.now_epoch()):
            upcoming.request = None
            self._queue.done(upcoming.number, upcoming.digest)

    def _wait_for_room(self, upcoming: Upcoming, error: SeedreamCapError, until: float) -> None:
        """A cap leaves no room: send nothing until its period ends, and some seconds more, as others wait for it, too.

        Room that comes after the end of ``execution_timeout`` would be waited for in vain: then the batch ends now.
        """
        self._queue.put_back(upcoming)
        room_epoch = clock.to_epoch(error.room_at) or 0.0
        if room_epoch + UNREACHABLE_SECONDS > until:
            self.progress.halt = self.progress.halt or halt_by(too_late(error, room_epoch))
        elif room_epoch > self.progress.hold_epoch:
            self.progress.hold_epoch = room_epoch + random.random() * UNREACHABLE_SECONDS
            _log.info("%s Rows that are not sent wait for it until %s.", error.message, error.room_at)

    def _accept(self, tried: Tried, found: Submitted) -> None:
        """The row is paid, by this try or an earlier one. Only a POST of this moment says that the API answers."""
        if tried.has_posted:
            seconds = None if tried.upcoming.is_priced else tried.seconds
            self._width.accepted(seconds, sent_epoch=tried.upcoming.granted_epoch or 0.0)
            if tried.upcoming.is_priced:
                self._width.guess(tried.seconds)
            self.progress.unreachable_epoch, self.progress.unknown_in_a_row = None, 0
        self._fly(tried.upcoming.request_row, found)
        self._queue.done(tried.upcoming.number, tried.upcoming.digest)

    def _slow_down(self, tried: Tried, error: SeedreamRateLimitError) -> None:
        """A 429. Of several at once only the first slows the batch down: the others had their turns before it."""
        _log.info("The API answered 429 (rate limit), which costs nothing; this row is sent again when the API permits it.")
        granted_epoch, now = tried.upcoming.granted_epoch, clock.now_epoch()
        self._pace.limiter.throttled(now, retry_after_seconds=error.retry_after_seconds, granted_epoch=granted_epoch)
        self._width.refused(now)
        self._queue.put_back(tried.upcoming)

    def _hold(self, tried: Tried, error: SeedreamConnectionError) -> None:
        """The POST was not sent. Try again in 30 s; after 30 minutes stop sending, so that the batch ends instead of waiting on."""
        now = clock.now_epoch()
        self._width.refused(now)
        self._queue.put_back(tried.upcoming)
        self.progress.unreachable_epoch = self.progress.unreachable_epoch or now
        if now - self.progress.unreachable_epoch > MAX_UNREACHABLE_SECONDS:
            self.progress.halt = self.progress.halt or halt_by(error)
        elif now >= self.progress.hold_epoch:  # else another row has just said so
            _log.info("The API cannot be reached, so this row was not sent; trying again in %.0f s.", UNREACHABLE_SECONDS)
            self.progress.hold_epoch = now + UNREACHABLE_SECONDS

    def _fail(self, tried: Tried, error: SeedreamError) -> None:
        """End a row whose submission failed. Three unknown outcomes in a row halt the batch: each of them may have been paid."""
        upcoming, row = tried.upcoming, tried.upcoming.request_row
        if isinstance(error, SeedreamAmbiguousSubmissionError):
            self.progress.unknown_in_a_row += tried.has_posted
        if self.progress.unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW and self.progress.halt is None:
            many = f"The API did not answer {self.progress.unknown_in_a_row} POSTs in a row; each may be paid, so no more are sent."
            self.progress.halt = halt_by(SeedreamBatchError(f"{many} Last: {error.message}", paid="unknown"))
        is_shared = upcoming.number in self.progress.repeats
        if row.images and error.paid == "unknown":
            is_shared = not self.progress.bears_price(error.record)
        price = 0 if is_shared else self._prices.quote(row.num_images)
        self._note(ended_row(row.number, error, name=row.name, price=price, columns=row.columns()), error)
        self._queue.done(upcoming.number, upcoming.digest)
