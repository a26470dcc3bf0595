"""The loop of a batch: submit what the rate, the flight and the budget allow, attend to what is in flight, and say when to go on.

One POST at a time, so that a kill leaves at most one row unknown; looking and landing happen in a few threads beside it. Nothing is
remembered here that the ledger, the progress or the pages of results do not hold.
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

PARALLEL_LANDINGS = 4  # each holds up to three images in memory
LAST_LOOKS_SECONDS = 60.0  # for what is in flight when ``execution_timeout`` is over
SHORT_WAIT_SECONDS = 5.0  # not worth a deferral, which costs a task process
UNREACHABLE_SECONDS = 30.0  # between two tries to reach an API that does not answer,
MAX_UNREACHABLE_SECONDS = 1800.0  # for so long
MAX_UNKNOWN_IN_A_ROW = 3  # an API that takes POSTs without answering them may be charging for each
_log = logging.getLogger(__name__)

_Step = Literal["next", "again", "later"]  # with a row: it is done with, try it anew, nothing can be done now


class Waves:
    """Works a table off.

    :param rows: the rows not begun yet, each with the digest of the table up to it.
    :param request: makes the request of a row; reads the sources of an edit.
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
        self._must_pay = False  # whether the ledger was asked about it
        self._attending: dict[Future[Attended], int] = {}
        self._repeats = frozenset(progress.repeats)
        self._useful_epoch = clock.now_epoch()  # when a row was last submitted or ended
        pace.pacer.recall(progress.pace)
        submitter.prices.measured_per_image = progress.measured_per_image

    def run(self) -> float | None:
        """Work until there is nothing to do for a while: how many seconds. None: every row has ended, or was not sent after a halt.

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
        """Look once more at everything in flight, for a minute at the most, and land what is ready: the batch's time is over."""
        until = clock.now_epoch() + LAST_LOOKS_SECONDS

        def attend(entry: InFlight) -> Attended:
            return self._attendant.land_ready(entry) if clock.now_epoch() < until else Attended(entry=entry)

        with ThreadPoolExecutor(max_workers=PARALLEL_LANDINGS, thread_name_prefix="seedream-batch") as pool:
            attended = [*pool.map(attend, self.progress.in_flight.values())]
        landed = sum(one.manifest is not None for one in attended)
        _log.info("The time is over: %d of the %d generations in flight are landed.", landed, len(attended))

    def pause(self) -> Progress:
        """What another process needs to go on."""
        self.results.flush()
        self.progress.results = self.results.state()
        self.progress.pace = self._pace.pacer.memory()
        self.progress.measured_per_image = self._submitter.prices.measured_per_image
        return self.progress

    def next_post_epoch(self, now: float) -> float | None:
        """When a row may be submitted; None when none is left, or when only a landing makes room."""
        if self._next is None or len(self.progress.in_flight) >= self._pace.max_in_flight:
            return None
        return max(self.progress.hold_epoch, self._pace.pacer.turn_epoch(now))

    def _can_leave(self, idle: float, now: float) -> bool:
        """Whether there is nothing soon, or has been nothing but looks for a while, which the triggerer does as well."""
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
        """When something can be done next."""
        attended = set(self._attending.values())
        due = [entry.due_epoch for number, entry in self.progress.in_flight.items() if number not in attended]
        look = max(min(due), self._pace.look_epoch(now)) if due and len(attended) < PARALLEL_LANDINGS else math.inf
        post = self.next_post_epoch(now)
        return min(look, math.inf if post is None else post)

    def _advance(self, now: float) -> bool:
        """Do what can be done for the next row. False: nothing, now."""
        if self._next is None or len(self.progress.in_flight) >= self._pace.max_in_flight or now < self.progress.hold_epoch:
            return False
        row = self._next[0]
        step = self._refuse(row) if isinstance(row, RefusedRow) else self._take_up(row, now)
        if step == "next":
            self._pass()
        return step != "later"

    def _take_up(self, row: Row, now: float) -> _Step:
        try:
            return self._begin(row, now)
        except (SeedreamAuthenticationError, SeedreamLedgerError):
            raise
        except SeedreamRateLimitError as error:
            _log.info("The API limits the rate; going on when it allows.")
            self._pace.pacer.throttled(clock.now_epoch(), retry_after_seconds=error.retry_after_seconds, granted_epoch=now)
        except SeedreamConnectionError as error:
            self._hold(error, now)
        except SeedreamInsufficientCreditsError as error:
            self.progress.halt = halt_by(error)
        except SeedreamError as error:
            return self._fail(row, error)
        return "again"

    def _begin(self, row: Row, now: float) -> _Step:
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
        """Nothing was sent: try again a little later, for a while; then the batch gives up, and has nothing to wait for."""
        self.progress.unreachable_epoch = self.progress.unreachable_epoch or now
        if now - self.progress.unreachable_epoch > MAX_UNREACHABLE_SECONDS:
            self.progress.halt = halt_by(error)
            return
        _log.info("The API cannot be reached; trying again in %.0f s.", UNREACHABLE_SECONDS)
        self.progress.hold_epoch = now + UNREACHABLE_SECONDS

    def _refuse(self, row: RefusedRow) -> _Step:
        self._note(RowResult(row=row.number, status="invalid", detail=row.error.message, columns=row.columns))
        return "next"

    def _fail(self, row: Row, error: SeedreamError) -> _Step:
        """A row that was never in flight has ended."""
        if self.progress.unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW and self.progress.halt is None:
            many = f"The outcomes of {self.progress.unknown_in_a_row} POSTs in a row are unknown, so no more are sent."
            self.progress.halt = halt_by(SeedreamBatchError(f"{many} Last: {error.message}", paid="unknown"))
        price = 0 if row.number in self._repeats else self._submitter.prices.quote(row.num_images)
        self._note(ended_row(row.number, error, name=row.name, price=price, columns=row.columns()), error)
        return "next"

    def _fly(self, row: Row, found: Submitted) -> _Step:
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
            entry = replace(entry, due_epoch=self._attendant.first_look_epoch(entry, now))
        self.progress.in_flight[row.number] = entry
        return "next"

    def _price(self, row: Row, found: Submitted) -> int:
        """What a row has cost: nothing where another one has paid."""
        is_paid_by_it = found.is_new or (found.is_mine and not self._is_repeat(row, found.generation))
        return max(found.generation.credits or 0, found.generation.billed_credits or 0) if is_paid_by_it else 0

    def _is_repeat(self, row: Row, generation: Generation) -> bool:
        """Whether an earlier row pays for it. That sources of edits have equal bytes is only seen in flight."""
        flying = (entry.generation.seedream_task_id for entry in self.progress.in_flight.values())
        return row.number in self._repeats or generation.seedream_task_id in flying

    def _pass(self) -> None:
        """Go on to the next row."""
        if self._next:
            self.progress.cursor, self.progress.digest = self._next[0].number, self._next[1]
        self._prepared, self._must_pay, self._useful_epoch = None, False, clock.now_epoch()
        self._next = self._read_next()

    def _read_next(self) -> tuple[Row | RefusedRow, str] | None:
        """None at the end, and where the table is no longer the one that was begun: what is in flight is landed all the same."""
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
        """Take what the threads have done. False: every row has ended."""
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
