"""The loop of a batch: submit rows as rate limit, ``max_in_flight`` and budget allow, land finished ones, say when to go on.

The loop sends one POST at a time, so a kill leaves at most one row with an unknown outcome. Polling and landing run in a few
threads beside it. The ledger, the progress file and the pages of results hold all state, so a kill loses no row.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Literal

from airflow_provider_seedream.batch.attending import Attendant, Attended
from airflow_provider_seedream.batch.halts import halt_by
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.progress import InFlight, Progress
from airflow_provider_seedream.batch.results import Results, RowResult
from airflow_provider_seedream.batch.row_outcomes import ended_row, is_final, landed_row
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.upcoming import RefusedRow
from airflow_provider_seedream.exceptions import (
    SeedreamAmbiguousSubmissionError,
    SeedreamAuthenticationError,
    SeedreamBatchError,
    SeedreamConnectionError,
    SeedreamError,
    SeedreamInsufficientCreditsError,
    SeedreamLedgerError,
    SeedreamRateLimitError,
)
from airflow_provider_seedream.generations import Generation
from airflow_provider_seedream.ledger.submit import Request, Submitted, Submitter
from airflow_provider_seedream.model import clock

PARALLEL_LANDINGS = 4  # threads; each holds up to three images in memory
LAST_LOOKS_SECONDS = 60.0  # for landing the generations in flight after ``execution_timeout``
SHORT_WAIT_SECONDS = 5.0  # a shorter wait sleeps here, as a deferral costs a new task process
UNREACHABLE_SECONDS = 30.0  # between two tries to reach an API that does not answer
MAX_UNREACHABLE_SECONDS = 1800.0  # after so long without an answer the batch sends no more rows
MAX_UNKNOWN_IN_A_ROW = 3  # an API that takes POSTs without answering may charge each, so the batch stops sending
_log = logging.getLogger(__name__)

# next: go to the next row. again: call `_advance` again for this row. later: wait, then try this row.
_Step = Literal["next", "again", "later"]


class Waves:
    """Works through the rows of a table until all have ended, or until it is time to defer.

    ::

        idle_seconds = waves.run()
        if idle_seconds is not None:  # rows are still in flight
            task.defer(...)  # with waves.pause(), which another process continues

    :param rows: the rows that have not begun yet, each with the digest of the table up to this row.
    :param request: makes the request of a row; for an edit it reads the source images.
    """

    def __init__(
        self,
        progress: Progress,
        rows: Iterator[tuple[Row | RefusedRow, str]],
        *,
        request: Callable[[Row], Request],
        submitter: Submitter,
        attendant: Attendant,
        results: Results,
        pace: Pace,
    ) -> None:
        self.progress = progress
        self._rows = rows
        self._request = request
        self._submitter = submitter
        self._attendant = attendant
        self.results = results
        self._pace = pace
        self._next = self._read_next()
        self._prepared: Request | None = None  # of the next row
        self._must_pay = False  # True once the ledger has said that the next row is not paid yet
        self._attending: dict[Future[Attended], int] = {}
        self._repeats = frozenset(progress.repeats)
        self._useful_epoch = clock.now_epoch()  # when a row was last submitted or ended
        pace.pacer.recall(progress.pace)
        submitter.prices.measured_per_image = progress.measured_per_image

    def run(self) -> float | None:
        """Submit, poll and land. Returns the seconds until the next work; None if every row has ended or was held back by a halt.

        :raises SeedreamAuthenticationError: the key does not work. :raises SeedreamLedgerError: the storage does not answer.
        """
        with ThreadPoolExecutor(max_workers=PARALLEL_LANDINGS, thread_name_prefix="seedream-batch") as pool:
            while self._collect():
                now = clock.now_epoch()
                self._attend_due(pool, now)
                if self._advance(now):
                    continue
                idle = max(0.0, self._idle_until(now) - now)
                if self._can_leave(idle, now):
                    return idle
                self._rest(idle)
        return None

    def land_ready(self) -> None:
        """``execution_timeout`` is over: poll each generation in flight once more, for at most a minute, and land finished ones."""
        until = clock.now_epoch() + LAST_LOOKS_SECONDS

        def attend(entry: InFlight) -> Attended:
            return self._attendant.land_ready(entry) if clock.now_epoch() < until else Attended(entry=entry)

        with ThreadPoolExecutor(max_workers=PARALLEL_LANDINGS, thread_name_prefix="seedream-batch") as pool:
            attended = [*pool.map(attend, self.progress.in_flight.values())]
        landed = sum(one.manifest is not None for one in attended)
        _log.info("execution_timeout is over: %d of the %d generations in flight were landed.", landed, len(attended))

    def pause(self) -> Progress:
        """Write the results so far and return the progress: with it another process continues this batch."""
        self.results.flush()
        self.progress.results = self.results.state()
        self.progress.pace = self._pace.pacer.memory()
        self.progress.measured_per_image = self._submitter.prices.measured_per_image
        return self.progress

    def next_post_epoch(self, now: float) -> float | None:
        """When the next row may be submitted; None if all rows are submitted, or if a landing must make room first."""
        if self._next is None or len(self.progress.in_flight) >= self._pace.max_in_flight:
            return None
        return max(self.progress.hold_epoch, self._pace.pacer.turn_epoch(now))

    def _can_leave(self, idle: float, now: float) -> bool:
        """True if the batch may defer: the next work is more than 5 s away, or the last 5 s were only polling.

        The triggerer polls as well, and without a worker slot. While a thread lands an image, the batch stays.
        """
        if self._attending or idle > SHORT_WAIT_SECONDS:
            return not self._attending
        post_epoch = self.next_post_epoch(now)
        posts_soon = post_epoch is not None and post_epoch - now <= SHORT_WAIT_SECONDS
        return not posts_soon and now - self._useful_epoch > SHORT_WAIT_SECONDS

    def _rest(self, seconds: float) -> None:
        if self._attending:
            wait(self._attending, timeout=min(seconds, 1.0), return_when=FIRST_COMPLETED)
        else:
            time.sleep(seconds)

    def _idle_until(self, now: float) -> float:
        """When the next poll or the next submission is due."""
        attended = set(self._attending.values())
        due = [entry.due_epoch for number, entry in self.progress.in_flight.items() if number not in attended]
        look = max(min(due), self._pace.look_epoch(now)) if due and len(attended) < PARALLEL_LANDINGS else math.inf
        post = self.next_post_epoch(now)
        return min(look, math.inf if post is None else post)

    def _advance(self, now: float) -> bool:
        """Bring the next row one step forward. False: the next row has to wait."""
        if self._next is None or len(self.progress.in_flight) >= self._pace.max_in_flight or now < self.progress.hold_epoch:
            return False
        row = self._next[0]
        step = self._refuse(row) if isinstance(row, RefusedRow) else self._take_up(row, now)
        if step == "next":
            self._pass()
        return step != "later"

    def _take_up(self, row: Row, now: float) -> _Step:
        """Submit or attach to one row. An error that concerns the whole batch waits or halts; any other error ends this row only.

        A dead key and an unreadable ledger end the task: every further row would fail the same way, or could be paid twice.
        """
        try:
            return self._begin(row, now)
        except (SeedreamAuthenticationError, SeedreamLedgerError):
            raise
        except SeedreamRateLimitError as error:
            _log.info("The API answered 429 (rate limit), which costs nothing; this row is sent again when the API permits it.")
            self._pace.pacer.throttled(clock.now_epoch(), retry_after_seconds=error.retry_after_seconds, granted_epoch=now)
        except SeedreamConnectionError as error:
            self._hold(error, now)
        except SeedreamInsufficientCreditsError as error:
            self.progress.halt = halt_by(error)
        except SeedreamError as error:
            return self._fail(row, error)
        return "again"

    def _begin(self, row: Row, now: float) -> _Step:
        """Submit the row if a POST is allowed now; else only look it up in the ledger, as an earlier try may have paid for it.

        After a halt (e.g. an empty wallet) rows that are already paid still land; unpaid ones count as unsent.
        """
        self._prepared = request = self._prepared or self._request(row)
        if self.progress.halt is None and self._pace.pacer.turn_epoch(now) <= now:
            return self._fly(row, self._submit(request, now))
        if not self._must_pay:
            if found := self._submitter.find(request):
                return self._fly(row, found)
            self._must_pay = True
        if self.progress.halt is None:
            return "later"
        self.progress.unsent += 1
        return "next"

    def _submit(self, request: Request, now: float) -> Submitted:
        """Submit, and count: a POST takes a turn of the rate limit, and unanswered POSTs in a row stop the batch."""
        posts = self._submitter.posts
        try:
            submitted = self._submitter.submit_row(request)
        except SeedreamAmbiguousSubmissionError:
            self.progress.unknown_in_a_row += self._submitter.posts > posts
            raise
        finally:
            if self._submitter.posts > posts:
                self._pace.pacer.take(now)
        if self._submitter.posts > posts:
            self.progress.unreachable_epoch, self.progress.unknown_in_a_row = None, 0
        return submitted

    def _hold(self, error: SeedreamConnectionError, now: float) -> None:
        """The POST was not sent. Try again in 30 s; after 30 minutes stop sending, so that the batch ends instead of waiting on."""
        self.progress.unreachable_epoch = self.progress.unreachable_epoch or now
        if now - self.progress.unreachable_epoch > MAX_UNREACHABLE_SECONDS:
            self.progress.halt = halt_by(error)
            return
        _log.info("The API cannot be reached, so this row was not sent; trying again in %.0f s.", UNREACHABLE_SECONDS)
        self.progress.hold_epoch = now + UNREACHABLE_SECONDS

    def _refuse(self, row: RefusedRow) -> _Step:
        self._note(RowResult(row=row.number, status="invalid", detail=row.error.message, columns=row.columns))
        return "next"

    def _fail(self, row: Row, error: SeedreamError) -> _Step:
        """End a row whose submission failed. Three unknown outcomes in a row halt the batch: each of them may have been paid."""
        if self.progress.unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW and self.progress.halt is None:
            many = f"The API did not answer {self.progress.unknown_in_a_row} POSTs in a row; each may be paid, so no more are sent."
            self.progress.halt = halt_by(SeedreamBatchError(f"{many} Last: {error.message}", paid="unknown"))
        price = 0 if row.number in self._repeats else self._submitter.prices.quote(row.num_images)
        self._note(ended_row(row.number, error, name=row.name, price=price, columns=row.columns()), error)
        return "next"

    def _fly(self, row: Row, found: Submitted) -> _Step:
        """Put a paid row in flight. One that an earlier try has paid may have landed too, so it is checked at once."""
        now, generation = clock.now_epoch(), found.generation
        entry = InFlight(
            number=row.number,
            columns=row.columns(),
            generation=generation,
            credits=self._price(row, found),
            may_have_landed=not found.is_new,
            due_epoch=now,
            deadline_epoch=now + self._pace.timeout_seconds,
        )
        if found.is_new:
            entry = replace(entry, due_epoch=self._attendant.first_poll_epoch(entry, now))
        self.progress.in_flight[row.number] = entry
        return "next"

    def _price(self, row: Row, found: Submitted) -> int:
        """The credits that this row has cost; 0 if another row or another task has paid for its generation."""
        is_paid_by_it = found.is_new or (found.is_mine and not self._is_repeat(row, found.generation))
        return max(found.generation.credits or 0, found.generation.billed_credits or 0) if is_paid_by_it else 0

    def _is_repeat(self, row: Row, generation: Generation) -> bool:
        """True if an earlier row pays for this generation. Two edits whose sources have equal bytes are noticed only in flight."""
        flying = (entry.generation.seedream_task_id for entry in self.progress.in_flight.values())
        return row.number in self._repeats or generation.seedream_task_id in flying

    def _pass(self) -> None:
        """Go on to the next row."""
        if self._next:
            self.progress.cursor, self.progress.digest = self._next[0].number, self._next[1]
        self._prepared, self._must_pay, self._useful_epoch = None, False, clock.now_epoch()
        self._next = self._read_next()

    def _read_next(self) -> tuple[Row | RefusedRow, str] | None:
        """The next row; None at the end. If the table was changed since the batch began: halt, but still land what is in flight."""
        try:
            return next(self._rows, None)
        except SeedreamBatchError as error:
            self.progress.halt = self.progress.halt or halt_by(error)
            return None

    def _note(self, result: RowResult, error: SeedreamError | None = None) -> None:
        self.results.add(result)
        self._useful_epoch = clock.now_epoch()
        if error:
            _log.warning("Row %d: %s", result.row, error)
            self.progress.unlanded += result.status == "failed" and result.paid == "yes"
            self.progress.retryable += not is_final(error)

    def _attend_due(self, pool: ThreadPoolExecutor, now: float) -> None:
        attended = set(self._attending.values())
        due = [entry for entry in self.progress.in_flight.values() if entry.due_epoch <= now and entry.number not in attended]
        for entry in sorted(due, key=lambda entry: entry.due_epoch):
            if len(self._attending) == PARALLEL_LANDINGS:
                return
            if entry.may_have_landed or self._pace.takes_look(entry, post_epoch=self.next_post_epoch(now), now=now):
                self._attending[pool.submit(self._attendant.attend, entry)] = entry.number

    def _collect(self) -> bool:
        """Take the results of threads that are done. False: every row has ended."""
        for future in [future for future in self._attending if future.done()]:
            number, attended = self._attending.pop(future), future.result()
            self.progress.in_flight[number] = attended.entry
            if attended.throttled:
                self._pace.throttled(attended.throttled)
            if result := _result(attended):
                del self.progress.in_flight[number]
                self._note(result, attended.error)
        return bool(self._next or self.progress.in_flight)


def _result(attended: Attended) -> RowResult | None:
    entry = attended.entry
    if attended.manifest:
        return landed_row(entry, attended.manifest)
    if attended.error:
        name = entry.generation.name
        billed = entry.generation.billed_credits
        return ended_row(entry.number, attended.error, name=name, price=entry.credits, billed=billed, columns=entry.columns)
    return None
