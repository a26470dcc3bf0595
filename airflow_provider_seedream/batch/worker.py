"""The loop of a batch: submit rows as rate limit, ``max_in_flight`` and budget allow, land finished ones, say
when to go on.

Submissions, polls and landings run in threads beside the loop. A kill leaves at most as many rows with an
unknown outcome as submissions were under way. The ledger, the progress file and the pages of results hold all
state, so a kill loses no row.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from airflow_provider_seedream.batch.attending import Attendant, Attended
from airflow_provider_seedream.batch.brakes import Brakes
from airflow_provider_seedream.batch.flights import LANDING_THREADS, Flights
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.posting import Posting
from airflow_provider_seedream.batch.progress import InFlight, Progress
from airflow_provider_seedream.batch.results import Results
from airflow_provider_seedream.batch.row_outcomes import count_end, ended_row, landed_row, price_of
from airflow_provider_seedream.batch.row_result import RowResult
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.sending import Sender
from airflow_provider_seedream.batch.upcoming import RefusedRow
from airflow_provider_seedream.batch.width import PostWidth
from airflow_provider_seedream.exceptions import SeedreamError
from airflow_provider_seedream.ledger.admission import Admission
from airflow_provider_seedream.ledger.budgets import Budget
from airflow_provider_seedream.ledger.submit import Request, Submitted, Submitter
from airflow_provider_seedream.model import clock, threads
from airflow_provider_seedream.model.counting import counted

LAST_POLLS_SECONDS = 60.0  # for landing the generations in flight after ``execution_timeout``
SHORT_WAIT_SECONDS = 5.0  # a shorter wait sleeps here, as a deferral costs a new task process
_log = logging.getLogger(__name__)


class Waves:
    """Works through the rows of a table until all have ended, or until it is time to defer.

    ::

        idle_seconds = waves.run()
        if idle_seconds is not None:  # rows are still in flight
            task.defer(...)  # with waves.pause(), which another process continues

    The loop runs in one thread. It alone changes the progress, adds results and takes turns of the rate
    limit; threads of two pools submit rows, and poll and land generations. So the state needs no lock, and an
    answer counts when the loop has taken it in.

    :param progress: of this try; changed as rows begin and end.
    :param rows: the rows that have not begun yet, each with the digest of the table up to this row.
    :param request: makes the request of a row; for an edit it reads the source images.
    :param submitter: pays each request at most once.
    :param budget: the one that the submitter spends from.
    :param admission: the one that admits its requests under caps.
    :param waits_until: rows beyond a cap wait for room that comes before this, in epoch seconds; None: they
        do not wait.
    :param looks_ahead: meanwhile the rows behind them are looked up in the ledger.
    :param width: how many submissions may be under way.
    :param pace: the rate limit and ``max_in_flight``.
    :param attendant: polls and lands.
    :param results: takes the rows that have ended.
    :param brakes: stop the sending when a bound is met.
    """

    def __init__(
        self,
        progress: Progress,
        rows: Iterator[tuple[Row | RefusedRow, str]],
        *,
        request: Callable[[Row], Request],
        submitter: Submitter,
        budget: Budget,
        admission: Admission,
        waits_until: float | None = None,
        looks_ahead: bool = False,
        width: PostWidth,
        attendant: Attendant,
        results: Results,
        pace: Pace,
        brakes: Brakes,
    ) -> None:
        self.progress = progress
        self._brakes = brakes
        self._prices = submitter.prices
        self._bell = threading.Event()  # a thread has ended
        self._posting = Posting(submitter, request, self._bell)
        self._flights = Flights(progress, attendant, pace, self._bell)
        self._attendant = attendant
        self.results = results
        self._pace = pace
        self._useful_epoch = clock.now_epoch()  # when a row was last submitted or ended
        pace.limiter.recall(progress.pace)
        self._prices.measured_per_image = progress.measured_per_image
        self._sender = Sender(
            progress,
            rows,
            posting=self._posting,
            prices=self._prices,
            budget=budget,
            admission=admission,
            waits_until=waits_until,
            looks_ahead=looks_ahead,
            pace=pace,
            width=width,
            fly=self._fly,
            note=self._note,
        )

    def run(self) -> float | None:
        """Submit, poll and land. Returns the seconds until the next work; None if every row has ended or was
        held back by a halt.

        When it returns, no thread is at work. When an error ends it, nothing more is sent, and the answers
        that are on their way have been waited for: at most as long as one POST may take.

        :raises SeedreamAuthenticationError: the key does not work.
        :raises SeedreamLedgerError: the storage does not answer.
        :raises AirflowTaskTimeout: Airflow's ``execution_timeout`` is over, at any point of the loop.
        """
        try:
            with self._flights, self._posting:
                return self._work()
        except BaseException:
            # execution_timeout above all: generations whose id has come by now are landed with the others
            with suppress(SeedreamError):
                self._sender.collect()
            self._brakes.keep()
            raise

    def _work(self) -> float | None:
        """The loop: take results in, start polls that are due, start the next row, rest until a thread
        ends or work is due.
        """
        while self._collect():
            now = clock.now_epoch()
            if self._sender.has_rows:
                self._brakes.look(now)
            self._flights.start_due(now, post_epoch=self.next_post_epoch(now))
            if self._sender.begin(now):
                continue
            post_epoch = self.next_post_epoch(now)
            due_epoch = min(self._flights.next_epoch(now), math.inf if post_epoch is None else post_epoch)
            idle = max(0.0, due_epoch - now)
            if self._can_leave(idle, now):
                return idle
            if self._is_busy:  # rest until a thread ends, at most a second, as other work may be due then
                self._bell.wait(min(idle, 1.0))
            else:
                clock.sleep(idle)
        return None

    def land_ready(self) -> None:
        """``execution_timeout`` is over: poll each generation in flight once more, for at most a minute, and
        land finished ones.

        The task fails all the same, but images that are ready now need not be downloaded by a retry within
        their 24 h. A landing that has begun is finished; a poll that has not begun after the minute is left
        out.
        """
        until = clock.now_epoch() + LAST_POLLS_SECONDS

        def attend(entry: InFlight) -> Attended:
            return self._attendant.land_ready(entry) if clock.now_epoch() < until else Attended(entry=entry)

        with threads.pool(LANDING_THREADS, "seedream-batch") as pool:
            attended = [*pool.map(attend, self.progress.in_flight.values())]
        landed = sum(one.manifest is not None for one in attended)
        _log.info(
            "execution_timeout is over. Landed: %d of %s in flight.",
            landed,
            counted(len(attended), "generation"),
        )

    def pause(self) -> Progress:
        """Write the results so far and return the progress: with it another process continues this batch."""
        self.results.flush()
        self.progress.results = self.results.state()
        self.progress.pace = self._pace.limiter.memory()
        self.progress.measured_per_image = self._prices.measured_per_image
        self._sender.pause()
        self._brakes.keep()
        return self.progress

    def next_post_epoch(self, now: float) -> float | None:
        """When the next row may be submitted; None if all rows are submitted, or if a landing must make room
        first.

        :param now: in epoch seconds.
        """
        return self._sender.next_post_epoch(now)

    @property
    def begun(self) -> int:
        """Rows that are in flight or have ended; those that wait for room, for a turn or for the API are
        not among them.
        """
        return self.progress.begun(len(self._sender.behind))

    def seconds_to_look(self, seconds: float) -> float:
        """When to look for a request to stop again: after these seconds; never, if no row is left to send."""
        return seconds if self._sender.has_rows and self.progress.may_send else math.inf

    def _can_leave(self, idle: float, now: float) -> bool:
        """True if the batch may defer: the next work is more than 5 s away, or the last 5 s were only
        polling.

        The triggerer polls as well, and without a worker slot. While a thread submits a row or lands an
        image, the batch stays.
        """
        if self._is_busy:
            return False
        if idle > SHORT_WAIT_SECONDS:
            return True
        post_epoch = self.next_post_epoch(now)
        posts_soon = post_epoch is not None and post_epoch - now <= SHORT_WAIT_SECONDS
        return not posts_soon and now - self._useful_epoch > SHORT_WAIT_SECONDS

    @property
    def _is_busy(self) -> bool:
        """True while a submission, a poll or a landing is under way."""
        return self._flights.is_busy or bool(self._sender.under_way)

    def _fly(self, row: Row, found: Submitted) -> None:
        """Put a paid row in flight. One that an earlier try has paid may have landed too, so it is checked
        at once.
        """
        now, generation = clock.now_epoch(), found.generation
        entry = InFlight(
            number=row.number,
            columns=row.columns(),
            generation=generation,
            credits=price_of(row, found, self.progress),
            may_have_landed=not found.is_new,
            due_epoch=now,
            deadline_epoch=now + self._pace.timeout_seconds,
        )
        if found.is_new:
            entry = replace(entry, due_epoch=self._attendant.first_poll_epoch(entry, now))
        self._flights.add(entry)
        self._useful_epoch = now

    def _note(self, result: RowResult, error: SeedreamError | None = None) -> None:
        """Note how a row has ended, and log it if no image landed.

        :param error: the reason; None for a row that landed, or that broke a rule before anything was sent.
        """
        self.results.add(result)
        self._useful_epoch = clock.now_epoch()
        self._brakes.ended(result, error)
        if error:
            count_end(self.progress, result, error)
            if result.status != "skipped_budget":
                _log.warning("Row %d: %s", result.row, error)
            elif self.progress.over_budget == 1:  # one line, as there may be thousands of them
                _log.warning("Row %d is over the budget. %s", result.row, error.message)
                _log.info("Further rows over the budget are counted, not logged. The results name them all.")

    def _collect(self) -> bool:
        """Take in the submissions, polls and landings that have ended. False: every row has ended.

        An error that a thread raises is one of the whole batch, and ends the loop: a dead key, or an
        incomplete connection.
        """
        self._bell.clear()  # first: a thread that ends from now on sets it again
        self._sender.collect()
        for refused in self._flights.throttled():
            self._pace.throttled(refused)
        for attended in self._flights.ended():
            if result := _result(attended):
                del self.progress.in_flight[attended.entry.number]
                self._note(result, attended.error)
            else:
                self._flights.add(attended.entry)
        return self._sender.has_rows or bool(self.progress.in_flight)


def _result(attended: Attended) -> RowResult | None:
    """The line of a row that has ended; None if its generation has to be polled again."""
    entry = attended.entry
    if attended.manifest:
        return landed_row(entry, attended.manifest)
    if attended.error:
        name = entry.generation.name
        billed = entry.generation.billed_credits
        return ended_row(
            entry.number, attended.error, name=name, price=entry.credits, billed=billed, columns=entry.columns
        )
    return None
