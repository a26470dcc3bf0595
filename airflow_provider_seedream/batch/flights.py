"""The generations in flight: which is due, and the polls and landings that are under way.

Polls wait on an event loop in a thread of its own, through the client of the triggerer: hundreds may wait for
their answers at once, on connections that stay open. Landings run in a bounded number of threads.
"""

import asyncio
import heapq
import math
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_seedream.batch.attending import Attendant, Attended
from airflow_provider_seedream.batch.pace import Pace
from airflow_provider_seedream.batch.progress import InFlight, Progress
from airflow_provider_seedream.generations import GenerationStatus
from airflow_provider_seedream.hooks.settings import USER_AGENT
from airflow_provider_seedream.model import threads
from airflow_provider_seedream.polling.policy import FailedPoll

if TYPE_CHECKING:
    from airflow_provider_seedream.hooks.async_status import StatusClient

# for landings that take 2 s each at 600 a minute; memory is bounded by bytes, not by threads
LANDING_THREADS = 24
# unanswered where polls count toward the rate limit: a 429 of one of them holds the others back
MAX_COUNTED_POLLS = 8
# polls, and the landings that wait for a thread: 200 answers of 1 s are 12,000 polls a minute
MAX_UNDER_WAY = 200


class Flights:
    """Attends to each generation when it is due::

        with Flights(progress, attendant, pace, bell) as flights:
            flights.start_due(now, post_epoch=None)
            bell.wait()
            for attended in flights.ended():
                ...

    The methods are for one thread, the batch's own; it alone changes the progress.

    :param progress: holds the generations in flight.
    :param attendant: decides by an answer, and lands.
    :param pace: says when a poll may go.
    :param bell: is set when a poll or a landing has ended.
    """

    def __init__(self, progress: Progress, attendant: Attendant, pace: Pace, bell: threading.Event) -> None:
        self._progress = progress
        self._attendant = attendant
        self._pace = pace
        self._bell = bell
        self._most_polls = MAX_COUNTED_POLLS if pace.counts_polls else MAX_UNDER_WAY
        # a heap of due epochs and rows; an entry that has changed since has another epoch
        self._due: list[tuple[float, int]] = []
        self._under_way: set[int] = set()
        self._unanswered: set[int] = set()  # of them; their threads and the loop take them out
        self._refused: deque[FailedPoll] = deque()
        self._ended: deque[Future[Attended]] = deque()
        for entry in progress.in_flight.values():
            self._plan(entry)

    def __enter__(self) -> Self:
        self._pool = threads.pool(LANDING_THREADS, "seedream-batch")
        self._stack = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        return self

    def __exit__(self, *error: object) -> None:
        """Drop polls that wait for an answer, and let landings that have begun come to their end.

        A timeout of the task may have struck at any line, also while the loop was being opened.
        """
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._loop is None:
            return
        if self._thread and self._thread.is_alive():
            _run(self._loop, self._close)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    @property
    def is_busy(self) -> bool:
        """True while a poll or a landing is under way."""
        return bool(self._under_way)

    def add(self, entry: InFlight) -> None:
        """Put a generation in flight, or update its next due time."""
        self._progress.in_flight[entry.number] = entry
        self._plan(entry)

    def next_epoch(self, now: float) -> float:
        """When the next poll is due, in epoch seconds; infinite if a poll or a landing has to end first."""
        while self._due and not self._is_next(*self._due[0]):
            heapq.heappop(self._due)
        if not self._due or not self._has_room:
            return math.inf
        return max(self._due[0][0], self._pace.poll_epoch(now))

    def start_due(self, now: float, *, post_epoch: float | None) -> None:
        """Poll the generations that are due, the longest due first, as far as the rate limit allows.

        :param post_epoch: when the next row may be sent; None if no row waits for the rate limit.
        """
        put_back = []
        while self._due and self._due[0][0] <= now and self._has_room:
            due_epoch, number = heapq.heappop(self._due)
            if not self._is_next(due_epoch, number):
                continue
            entry = self._progress.in_flight[number]
            if entry.may_have_landed or self._pace.takes_poll(entry, post_epoch=post_epoch, now=now):
                self._start(entry)
            else:
                put_back.append((due_epoch, number))
        for due in put_back:
            heapq.heappush(self._due, due)

    def throttled(self) -> Iterator[FailedPoll]:
        """The polls that were answered with a 429 since the last call, also if their handling waits behind
        landings.
        """
        while self._refused:
            yield self._refused.popleft()

    def ended(self) -> Iterator[Attended]:
        """The results of the polls and landings that have ended since the last call.

        :raises SeedreamAuthenticationError: the key does not work. :raises SeedreamInputError: the connection
            is incomplete.
        """
        while self._ended:
            attended = self._ended.popleft().result()
            self._under_way.discard(attended.entry.number)
            yield attended

    @property
    def _has_room(self) -> bool:
        """True if one more poll may go. Landings need no turn of the rate limit, so slow ones hold no
        counted poll back.
        """
        return len(self._under_way) < MAX_UNDER_WAY and len(self._unanswered) < self._most_polls

    def _plan(self, entry: InFlight) -> None:
        heapq.heappush(self._due, (entry.due_epoch, entry.number))

    def _is_next(self, due_epoch: float, number: int) -> bool:
        """True if this row is in flight, due at this time, and not attended to."""
        entry = self._progress.in_flight.get(number)
        return entry is not None and entry.due_epoch == due_epoch and number not in self._under_way

    def _start(self, entry: InFlight) -> None:
        """Poll on the loop. In a thread: an entry whose images may lie in storage, and polls through a
        SOCKS proxy.
        """
        self._under_way.add(entry.number)
        if entry.may_have_landed:
            future = self._pool.submit(self._attendant.attend, entry)
        else:
            self._unanswered.add(entry.number)
            if self._attendant.hook.is_reached_by_aiohttp:
                loop = self._opened()
                future = asyncio.run_coroutine_threadsafe(self._attend(entry), loop)
            else:
                future = self._pool.submit(self._attend_in_thread, entry)
        future.add_done_callback(self._end)

    def _end(self, future: Future[Attended]) -> None:
        """Runs in the thread that has ended the work."""
        if not future.cancelled():
            self._ended.append(future)
            self._bell.set()

    async def _attend(self, entry: InFlight) -> Attended:
        """One poll on the loop; its answer is acted on in a thread, as a landing blocks."""
        answer = await self._client.poll(entry.generation.seedream_task_id)
        self._answered(entry, answer)
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._attendant.attend, entry, answer
        )

    def _attend_in_thread(self, entry: InFlight) -> Attended:
        answer = self._attendant.hook.poll(entry.generation.seedream_task_id)
        self._answered(entry, answer)
        return self._attendant.attend(entry, answer)

    def _answered(self, entry: InFlight, answer: GenerationStatus | FailedPoll) -> None:
        """Runs on the loop, or in the thread that has polled. Where polls count, the next may wait for
        this answer.
        """
        if isinstance(answer, FailedPoll) and answer.trouble == "throttled":
            self._refused.append(answer)
        self._unanswered.discard(entry.number)
        if self._pace.counts_polls:
            self._bell.set()

    def _opened(self) -> asyncio.AbstractEventLoop:
        """The loop, started for the first poll: a process that only submits needs neither it nor its HTTP
        library.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="seedream-polls", daemon=True)
            self._thread.start()
            _run(self._loop, self._open)
        return self._loop

    async def _open(self) -> None:
        from airflow_provider_seedream.hooks.async_status import shared_client

        client = shared_client(self._attendant.hook.settings, user_agent=USER_AGENT)
        self._client: StatusClient = await self._stack.enter_async_context(client)

    async def _close(self) -> None:
        polls = asyncio.all_tasks() - {asyncio.current_task()}
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        await self._stack.aclose()
        await asyncio.get_running_loop().shutdown_default_executor()


def _run(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine on the loop, and wait for its end."""
    asyncio.run_coroutine_threadsafe(work(), loop).result()
