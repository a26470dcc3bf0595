"""Admission under the caps of a connection: a request is written into the books before its claim, or refused.

At most two calls of the storage, however much was spent before. A kill right after the admission leaves an
entry that counts too much: the next try of the same request takes it over, and before a request is refused
such entries are settled from the ledger. Never sends anything to the API.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from airflow_provider_seedream.exceptions import SeedreamCapError, SeedreamInputError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.books import Books, books_at, give_back
from airflow_provider_seedream.ledger.cap_rules import Passed, Refusal, admit
from airflow_provider_seedream.ledger.pages import Entry, Page, month_of
from airflow_provider_seedream.ledger.record import Record
from airflow_provider_seedream.ledger.settled_books import settle
from airflow_provider_seedream.ledger.spending import Spending
from airflow_provider_seedream.model.caps import Cap, check_caps
from airflow_provider_seedream.model.clock import CLOCK, Clock, minute_of, to_iso
from airflow_provider_seedream.model.counting import counted, verb_for
from airflow_provider_seedream.observability import metrics

# an older refusal is not repeated but checked again, as a refund may have made room since
AGAIN_SECONDS = 60.0
MAX_OPEN = 1_000  # open attempts of a month; with more, the ones that have ended are settled from the ledger
_log = logging.getLogger(__name__)
Told = Callable[[Passed], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """An admitted try, and the moment just before its admission, by two clocks::

        Booking(
            books="s3://my_conn@bucket/books",
            id="3f...9a.1",
            claim="7c...01",
            at_epoch=1795816800.0,
            began_steady=81.2,
        )

    :param id: key and attempt of its record.
    """

    books: str
    id: str
    claim: str
    at_epoch: float
    began_steady: float

    @property
    def month(self) -> str:
        return month_of(self.at_epoch)

    def age_seconds(self, clock: Clock) -> float:
        """Seconds since the moment before the admission, by the clock that shows more."""
        return max(clock.steady_seconds() - self.began_steady, clock.now_epoch() - self.at_epoch)

    @property
    def at(self) -> str:
        """The time of the admission, for the record. Its month names the page that holds the entry."""
        return to_iso(self.at_epoch)


class Admission:
    """Admits the requests of one task under the caps of its connection; without caps it reads no storage.

    ::

        admission = Admission(hook, "s3://my_conn@bucket/campaign", labels=("team=shop",))
        with admission.admitted(spending) as booking:  # raises SeedreamCapError where a cap leaves no room
            claim_the_record()

    :param destination: the folder with the records of this task.
    :param labels: of the task, each as ``team=shop``.
    :param told: called once a day for each cap of which the share ``warn_at`` is spent; once for all tasks
        that share the books.
    """

    def __init__(
        self,
        hook: SeedreamHook,
        destination: str,
        *,
        labels: tuple[str, ...] = (),
        told: Told | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        self._hook = hook
        self._destination = destination
        self._labels = labels
        self._told = told
        self._clock = clock
        self._full: tuple[Refusal, float] | None = None
        self._settled_epoch = 0.0

    def check(self) -> None:
        """Check that the caps can hold for this task, see :func:`check_caps`. Reads no storage."""
        settings = self._hook.settings
        check_caps(self._caps, books=settings.books, labels=self._labels, conn_id=self._hook.seedream_conn_id)

    def admit(self, spending: Spending) -> Booking | None:
        """Write a request into the books. None: the connection has no caps.

        :raises SeedreamCapError: a cap leaves no room for its price.
        :raises SeedreamInputError: as :meth:`check`.
        :raises SeedreamLedgerError: the storage of the books does not answer, or cannot hold caps.
        """
        if not self._caps:
            return None
        self.check()
        books, now = self._books, self._clock.now_epoch()
        self._refuse_as_before(spending, now)
        entry = Entry(
            key=spending.key,
            attempt=spending.attempt,
            claims=(spending.claim,),
            credits=spending.credits,
            at=int(now),
            destination=self._destination,
            by=f"{spending.made_by.dag_id}/{spending.made_by.task_id}",
            labels=self._labels,
        )
        booking = Booking(
            books=books.uri,
            id=entry.id,
            claim=spending.claim,
            at_epoch=now,
            began_steady=self._clock.steady_seconds(),
        )
        with self._holding(booking):
            # the write may be done although its answer was lost, and `told` may be killed
            answer = books.change(booking.month, self._change(entry))
            if (
                isinstance(answer, Refusal)
                and not answer.is_for_ever
                and self._settle(books, booking.month, now)
            ):
                answer = books.change(booking.month, self._change(entry))
            if isinstance(answer, Refusal):
                self._full = (answer, now)
                raise refusal_error(answer, conn_id=self._hook.seedream_conn_id, at_epoch=now)
            self._full = None
            for passed in answer:
                self._warn(passed, spending)
            page = books.glance(booking.month)
            if page and len(page.open) > MAX_OPEN:
                self._settle(books, booking.month, now)
        return booking

    def _warn(self, passed: Passed, spending: Spending) -> None:
        """Say that a share of a cap is spent. The page keeps others who share the books from saying it
        again on this day.
        """
        cap, conn_id = passed.cap, self._hook.seedream_conn_id
        share = (
            f"{passed.spent_credits} of {counted(cap.credits, 'credit')} "
            f"{verb_for(passed.spent_credits, 'are')} spent this UTC"
        )
        _log.warning(
            "A CAP IS NEARLY REACHED: %s of connection %r: %s %s.", cap.name, conn_id, share, cap.period
        )
        metrics.cap_nearly_reached(spending.made_by)
        if self._told:
            self._told(passed)

    @contextmanager
    def admitted(self, spending: Spending) -> Iterator[Booking | None]:
        """Context manager: as :meth:`admit`, around the steps before the POST. If one fails, the entry is
        taken back.

        If the storage refuses that, the entry stays until it is settled, and the cap counts too much: the
        safe side.
        """
        booking = self.admit(spending)
        with self._holding(booking):
            yield booking

    @contextmanager
    def _holding(self, booking: Booking | None) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not isinstance(error, SeedreamCapError):
                self.withdraw(booking)
            raise

    def withdraw(self, booking: Booking | None) -> None:
        """Take back the entry of a request that this try did not send. Best effort."""
        if booking:
            give_back(booking.books, booking.month, lambda page: page.withdrawn(booking.id, booking.claim))

    def is_held(self, booking: Booking) -> bool:
        """False if the entry was settled as that of a dead process, so that this try must not POST. One GET.

        :raises SeedreamLedgerError: the storage does not answer.
        """
        page = books_at(booking.books).look(booking.month)
        return page is not None and page.holds(booking.id, booking.claim)

    def billed(self, record: Record) -> None:
        """Count the credits that the wallet has lost for a request, if they are more than its price.

        :raises SeedreamLedgerError: the storage does not answer.
        """
        if record.books and record.booked_at and record.cost_credits > record.credits:
            change = partial(Page.billed, id=record.id, credits=record.cost_credits)
            books_at(record.books).change(record.booked_at[:7], lambda page: (change(page), None))

    def has_room(self, price: int) -> bool:
        """True if the price certainly fits, by the page that was seen last. False near a cap, and before the
        first page.

        Then a batch sends its rows one after the other, so that their order decides which of them get the
        rest.
        """
        if not self._caps:
            return True
        now = self._clock.now_epoch()
        page = self._books.glance(month_of(now))
        day = to_iso(now)[:10]
        return page is not None and all(page.spent(cap, day) + price <= cap.credits for cap in self._mine)

    @property
    def _caps(self) -> tuple[Cap, ...]:
        return self._hook.settings.caps

    @property
    def _mine(self) -> list[Cap]:
        return [cap for cap in self._caps if cap.label is None or cap.label in self._labels]

    @property
    def _books(self) -> Books:
        """The books of the connection. :raises SeedreamInputError: ``books`` of the connection is not a
        storage URI.
        """
        try:
            return books_at(str(self._hook.settings.books))
        except SeedreamInputError as error:
            raise SeedreamInputError(f"Connection extra books: {error.message}") from None

    def _change(self, entry: Entry) -> Callable[[Page], tuple[Page, Refusal | list[Passed]]]:
        caps, warn_at = self._caps, self._hook.settings.warn_at
        return lambda page: admit(page, entry, caps, warn_at=warn_at)

    def _refuse_as_before(self, spending: Spending, now: float) -> None:
        """Repeat the last refusal without reading the storage: a batch may have thousands of rows beyond a
        cap.
        """
        if self._full is None:
            return
        refusal, at_epoch = self._full
        is_over = now - at_epoch >= AGAIN_SECONDS or now >= refusal.cap.ends_epoch(at_epoch)
        if not is_over and spending.credits >= refusal.price:
            raise refusal_error(refusal, conn_id=self._hook.seedream_conn_id, at_epoch=now)

    def _settle(self, books: Books, month: str, now: float) -> bool:
        """Settle open entries from the ledger, at most once a minute. True if that has changed the page."""
        if now - self._settled_epoch < AGAIN_SECONDS:
            return False
        self._settled_epoch = now
        return settle(books, month, self._clock)


def refusal_error(refusal: Refusal, *, conn_id: str, at_epoch: float) -> SeedreamCapError:
    """The error of a cap without room: it names the cap, the tasks that have spent most, and when there is
    room again.
    """
    cap, ends = refusal.cap, refusal.cap.ends_epoch(at_epoch)
    who = ", ".join(f"{name} {spent}" for name, spent in refusal.spenders)
    if who and cap.label:  # the books add up the spending of a task over all labels
        who = f"with any label or none: {who}"
    spent = f"{counted(refusal.spent_credits, 'credit', 'are')} spent this UTC {cap.period}" + (
        f" ({who})" if who else ""
    )
    error = SeedreamCapError(
        f"{cap.name} of connection {conn_id!r}: {spent}, and this request costs {refusal.price}. It was not "
        "sent."
    )
    error.cap, error.spenders = cap.name, dict(refusal.spenders)
    if refusal.is_for_ever:
        error.on_retry = (
            "The price is larger than the cap itself: raise the cap in the connection, or ask "
            "for fewer images."
        )
        return error
    error.room_at = to_iso(ends)
    error.on_retry = (
        f"There is room again at {minute_of(ends)}: clear the task after that, or raise the cap in the "
        'connection. on_budget="wait" lets a task wait for it.'
    )
    return error
