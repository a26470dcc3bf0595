"""Acts on the tries to submit a row that have ended: the row is in flight, has ended, or waits for another
try.

An error may concern all rows: then it holds or halts the batch. Runs in the batch's own thread, as
``sending``. Sends nothing.
"""

import logging
import random
from collections.abc import Callable, Iterable

from airflow_provider_seedream.batch.halts import halt_by, too_late
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.posting import Tried, Upcoming
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.row_outcomes import ended_row
from airflow_provider_seedream.batch.row_queue import RowQueue
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.batch.rows import Row
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
from airflow_provider_seedream.ledger.prices import Prices
from airflow_provider_seedream.ledger.submit import Submitted
from airflow_provider_seedream.model import clock

UNREACHABLE_SECONDS = 30.0  # between two tries to reach an API that does not answer
MAX_UNREACHABLE_SECONDS = 1800.0  # after so long without an answer the batch sends no more rows
_log = logging.getLogger(__name__)

Note = Callable[[RowResult, SeedreamError | None], None]
Fly = Callable[[Row, Submitted], None]


class Acts:
    """Acts on tries that have ended, for a :class:`~airflow_provider_seedream.batch.sending.Sender`::

        acts = Acts(
            progress, queue, prices=prices, pace=pace, width=width, waits_until=None, fly=fly, note=note
        )
        acts.on(posting.ended())

    :param progress: counts the rows that are done, and keeps the hold or the halt of the batch.
    :param queue: gets the rows back that wait for another try, and is told of those that are done.
    :param width: learns from each POST how many may be under way.
    :param pace: the rate limit, whose turns are settled here.
    :param prices: tells what a failed row may have cost.
    :param waits_until: rows beyond a cap wait for room that comes before this, in epoch seconds; if it comes
        later, the batch is halted. None: they do not wait.
    :param fly: takes a row whose generation is paid.
    :param note: takes a row that has ended without one.
    """

    def __init__(
        self,
        progress: Progress,
        queue: RowQueue,
        *,
        prices: Prices,
        pace: Pace,
        width: PostWidth,
        waits_until: float | None,
        fly: Fly,
        note: Note,
    ) -> None:
        self._progress = progress
        self._queue = queue
        self._prices = prices
        self._pace = pace
        self._width = width
        self._waits_until = waits_until
        self._fly = fly
        self._note = note

    def on(self, ended: Iterable[Tried]) -> None:
        """Act on the tries that have ended.

        :raises SeedreamAuthenticationError: the key does not work.
        :raises SeedreamLedgerError: the storage does not answer. Each
            further row would fail the same way, or could be paid twice.
        """
        dead: SeedreamError | None = None
        for tried in ended:
            self._settle_turn(tried)
            if isinstance(tried.error, SeedreamAuthenticationError | SeedreamLedgerError):
                dead = dead or tried.error  # raised after the others were acted on, as they may be paid
                self._queue.put_back(tried.upcoming)
            else:
                self._act(tried)
        if dead:
            raise dead

    def _settle_turn(self, tried: Tried) -> None:
        """Free the turn of a row that sent no POST, and count a late POST when it was sent. A 429 frees
        its turn itself.
        """
        granted_epoch = tried.upcoming.granted_epoch
        if granted_epoch is None:
            return
        if not tried.has_posted:
            self._pace.limiter.give_back(granted_epoch)
        elif tried.sent_epoch is not None and not isinstance(tried.error, SeedreamRateLimitError):
            self._pace.limiter.sent(granted_epoch, tried.sent_epoch)

    def _act(self, tried: Tried) -> None:
        """Act on the end of one try: the row has ended, or waits for another try. An error may concern the
        whole batch.
        """
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
            self._progress.halt = self._progress.halt or halt_by(error)
            self._queue.put_back(upcoming)
        elif isinstance(error, SeedreamBudgetError) and upcoming.was_beside:
            upcoming.is_alone = True  # the rows beside it may have been refused, and leave room for this one
            self._queue.put_back(upcoming)
        elif isinstance(error, SeedreamCapError) and self._waits_until is not None and error.room_at:
            self._wait_for_room(upcoming, error, self._waits_until)
        else:
            self._fail(tried, error)

    def _leave_for_later(self, upcoming: Upcoming) -> None:
        """The ledger has no record of the row, so it needs a POST. While rows are held, it waits without
        its sources.
        """
        upcoming.must_pay = True
        self._queue.put_back(upcoming)
        if self._progress.is_held(clock.now_epoch()):
            upcoming.request = None
            self._queue.done(upcoming.number, upcoming.digest)

    def _wait_for_room(self, upcoming: Upcoming, error: SeedreamCapError, until: float) -> None:
        """A cap leaves no room: send nothing until its period ends, and some seconds more, as others wait for
        it, too.

        If the room comes only after the end of ``execution_timeout``, the batch ends now.
        """
        self._queue.put_back(upcoming)
        room_epoch = clock.to_epoch(error.room_at) or 0.0
        if room_epoch + UNREACHABLE_SECONDS > until:
            self._progress.halt = self._progress.halt or halt_by(too_late(error, room_epoch))
        elif room_epoch > self._progress.hold_epoch:
            self._progress.hold_epoch = room_epoch + random.random() * UNREACHABLE_SECONDS
            _log.info("%s The rows that are left wait for room until %s.", error.message, error.room_at)

    def _accept(self, tried: Tried, found: Submitted) -> None:
        """The row is paid, by this try or an earlier one. Only a POST of this try shows that the API
        answers.
        """
        if tried.has_posted:
            seconds = None if tried.upcoming.is_priced else tried.seconds
            self._width.accepted(seconds, sent_epoch=tried.upcoming.granted_epoch or 0.0)
            if tried.upcoming.is_priced:
                self._width.guess(tried.seconds)
            self._progress.unreachable_epoch, self._progress.unknown_in_a_row = None, 0
        self._fly(tried.upcoming.request_row, found)
        self._queue.done(tried.upcoming.number, tried.upcoming.digest)

    def _slow_down(self, tried: Tried, error: SeedreamRateLimitError) -> None:
        """A 429. Of several at once only the first slows the batch down: the others had their turns before
        it.
        """
        _log.info(
            "The API answered 429 (rate limit), which costs nothing; this row is sent again when the API "
            "permits it."
        )
        granted_epoch, now = tried.upcoming.granted_epoch, clock.now_epoch()
        self._pace.limiter.throttled(
            now, retry_after_seconds=error.retry_after_seconds, granted_epoch=granted_epoch
        )
        self._width.refused(now)
        self._queue.put_back(tried.upcoming)

    def _hold(self, tried: Tried, error: SeedreamConnectionError) -> None:
        """The POST was not sent. Try again in 30 s; after 30 minutes stop sending, so that the batch ends
        instead of waiting on.
        """
        now = clock.now_epoch()
        self._width.refused(now)
        self._queue.put_back(tried.upcoming)
        self._progress.unreachable_epoch = self._progress.unreachable_epoch or now
        if now - self._progress.unreachable_epoch > MAX_UNREACHABLE_SECONDS:
            self._progress.halt = self._progress.halt or halt_by(error)
        elif now >= self._progress.hold_epoch:  # else another row has just logged this
            _log.info(
                "The API cannot be reached, so this row was not sent; trying again in %.0f s.",
                UNREACHABLE_SECONDS,
            )
            self._progress.hold_epoch = now + UNREACHABLE_SECONDS

    def _fail(self, tried: Tried, error: SeedreamError) -> None:
        """End a row whose submission failed. Three unknown outcomes in a row halt the batch: each of them
        may have been paid.
        """
        upcoming, row = tried.upcoming, tried.upcoming.request_row
        if isinstance(error, SeedreamAmbiguousSubmissionError):
            self._progress.unknown_in_a_row += tried.has_posted
        if self._progress.unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW and self._progress.halt is None:
            number = self._progress.unknown_in_a_row
            many = f"The API did not answer {number} POSTs in a row; each may be paid, so no more are sent."
            self._progress.halt = halt_by(SeedreamBatchError(f"{many} Last: {error.message}", paid="unknown"))
        is_shared = upcoming.number in self._progress.repeats
        if row.images and error.paid == "unknown":
            is_shared = not self._progress.bears_price(error.record)
        price = 0 if is_shared else self._prices.quote(row.num_images)
        self._note(ended_row(row.number, error, name=row.name, price=price, columns=row.columns()), error)
        self._queue.done(upcoming.number, upcoming.digest)
