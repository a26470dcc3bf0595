"""Budgets: a request whose price exceeds the rest of the budget is refused before it is sent.

A task first writes its spending (a note) and then adds up all notes. So two tasks that race both see both
notes: both may be refused, but they can never both be admitted. A note counts as spent even before its
request is sent. Several threads may use one budget, as a batch has several submissions under way. Never
imports HTTP or records.
"""

import math
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from airflow_provider_seedream.exceptions import SeedreamBudgetError, SeedreamLedgerError
from airflow_provider_seedream.ledger.journal import Journal
from airflow_provider_seedream.ledger.spending import Spending, Tally
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.task_ref import TaskRef

# between counts while racing tasks may withdraw; each is cut by up to half
PAUSES_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0)
# an older count is repeated before it refuses a row, as a refund may have made room since
RECOUNT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """One of the two limits of a task. :param spent: lists the spendings that count toward it, by file
    name.
    """

    field: str
    max_credits: int
    whose: str
    spent: Callable[[TaskRef], list[str]]

    def refusal(self, spending: Spending, spent_credits: int) -> SeedreamBudgetError | None:
        """The error for a spending that exceeds the limit; None if it fits."""
        if spent_credits + spending.credits <= self.max_credits:
            return None
        return SeedreamBudgetError(
            f"{self.field}={self.max_credits}: {counted(spent_credits, 'credit', 'are')} spent by "
            f"{self.whose}, and this request costs {spending.credits}. It was not sent."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """The spendings under a limit at the moment at which they were listed."""

    limit: _Limit
    tally: Tally
    at_epoch: float

    @property
    def is_recent(self) -> bool:
        """False if a refund may have made room since, so that the notes are listed again before a refusal."""
        return clock.now_epoch() - self.at_epoch < RECOUNT_SECONDS

    def refusal(self, spending: Spending) -> SeedreamBudgetError | None:
        return self.limit.refusal(spending, self.tally.without(spending))


class Budget:
    """The credits that the requests of one task may cost.

    ::

        budget = Budget(ledger, made_by, max_credits=100)
        spending = budget.admit(spending)  # raises SeedreamBudgetError if the price exceeds the rest
        with budget.holding(spending):
            claim_the_record()

    :param journal: the ledger of the destination. Credits spent in other destinations do not count.
    :param made_by: the task that spends.
    :param max_credits: for this task in this DAG run, all its mapped instances together; None for no limit.
    :param max_credits_per_run: for all tasks of this DAG run together; None for no limit.
    """

    def __init__(
        self,
        journal: Journal,
        made_by: TaskRef,
        *,
        max_credits: int | None = None,
        max_credits_per_run: int | None = None,
    ) -> None:
        task, run = "this task in this DAG run", "this DAG run in this destination"
        limits = [
            ("max_credits", max_credits, task, journal.spent_by_task),
            ("max_credits_per_run", max_credits_per_run, run, journal.spent_in_run),
        ]
        self._limits = [
            _Limit(field=field, max_credits=most, whose=whose, spent=spent)
            for field, most, whose, spent in limits
            if most is not None
        ]
        self._journal = journal
        self._made_by = made_by
        self._is_alone = max_credits is not None and max_credits_per_run is None and made_by.map_index == -1
        # other processes of this task read it and learn that this process spends too
        self._token = uuid.uuid4().hex
        # kept while this process is the only spender: then it need not list for every row
        self._count: _Count | None = None
        self._full: _Count | None = None  # the count that refused the last row
        # by claim: admitted by `_count`, and perhaps not written yet, so no list has them
        self._pending: dict[str, Spending] = {}
        # by limit: the credits that were spent when the notes were listed last
        self._spent: dict[str, int] = {}
        self._lock = threading.Lock()

    def admit(self, spending: Spending) -> Spending:
        """Write the note of a spending that fits. Returns the spending as it was written, perhaps with a new
        claim token.

        :raises SeedreamBudgetError: the price exceeds the rest of a budget; the note was withdrawn.
        :raises SeedreamLedgerError: the storage does not answer.
        """
        for limit in self._limits:
            if refusal := limit.refusal(spending, 0):
                raise refusal
        if self._is_alone:
            return self._admit_alone(spending)
        if (full := self._full) and full.is_recent and (refusal := full.refusal(spending)):
            raise refusal
        return self._admit_among_others(spending)

    def has_room(self, price: int) -> bool:
        """True if spendings of so many credits certainly fit, by the notes that were listed last.

        False near a limit, and before the first count. Then a batch sends its rows one after the other, so
        that the order of the rows decides which of them get the rest of the budget.
        """
        if count := self._count:
            self._spent[count.limit.field] = count.tally.credits
        return all(
            self._spent.get(limit.field, math.inf) + price <= limit.max_credits for limit in self._limits
        )

    def learn(self, spending: Spending) -> None:
        """Count a spending of another try of this task: two tries can be alive at the same time."""
        with self._lock:
            if self._count and spending.made_by.is_same_task(self._made_by):
                self._count.tally.add(spending)

    def forget(self, spending: Spending) -> None:
        """Stop counting a spending whose request was not paid."""
        with self._lock:
            for count in (self._count, self._full):
                if count:
                    count.tally.discard(spending)

    @contextmanager
    def holding(self, spending: Spending) -> Iterator[None]:
        """Context manager for the steps before the POST. If one fails, the request is not sent and its note
        is deleted.

        If the storage refuses the delete, the note stays and the budget counts too much: the safe side.
        """
        try:
            yield
        except BaseException:
            with suppress(SeedreamLedgerError):
                self._journal.withdraw_spending(spending)
            # list again rather than subtract: another try may have noted the same attempt
            self._count = self._full = None
            raise

    def _admit_alone(self, spending: Spending) -> Spending:
        """Admit with one write and one read per row, while no other process of this task spends.

        Each process writes its token before it counts all notes, and writes its note before it reads the
        token. If the token is still its own, no other process has counted since, so its own sum is complete.
        If it is not, the row is admitted the long way (:meth:`_admit_among_others`). Of two processes that
        spend at once, the one that reads last has seen the other's note.
        """
        count, is_noted = self._reserve(spending)
        try:
            with self.holding(spending):
                if not is_noted:
                    self._journal.note_spending(spending)
                is_alone = self._journal.spender(self._made_by) == self._token
        finally:
            with self._lock:
                del self._pending[spending.claim]
        with self._lock:
            # Another thread of this process may have counted anew in between, and written the token again:
            # then the token says nothing about the count that has admitted this spending.
            if is_alone and self._count is count:
                return spending
            self._count = self._full = None
        # as the long way needs a note that is younger than its token
        self._journal.withdraw_spending(spending)
        return self._admit_among_others(replace(spending, claim=uuid.uuid4().hex))

    def _reserve(self, spending: Spending) -> tuple[_Count, bool]:
        """The count that has room for a spending, and counts it from now on. The storage calls that follow
        overlap.

        :returns: also whether the note was written, as it is before the notes are counted.
        """
        with self._lock:
            count = self._count
            counts_anew = count is None or (count.refusal(spending) is not None and not count.is_recent)
            if count is None or counts_anew:
                count = self._count_all(spending)
            if refusal := count.refusal(spending):
                if counts_anew:
                    self._journal.withdraw_spending(spending)
                    count.tally.discard(spending)
                raise refusal
            count.tally.add(spending)
            self._pending[spending.claim] = spending
            return count, counts_anew

    def _count_all(self, spending: Spending) -> _Count:
        """Become the spender of this task, write the note, and list all notes. Call it with the lock held."""
        [limit] = self._limits
        self._journal.take_over(self._made_by, self._token)
        with self.holding(spending):
            self._journal.note_spending(spending)
            at_epoch, names = clock.now_epoch(), self._list(limit, spending)
        self._count = _Count(limit=limit, at_epoch=at_epoch, tally=Tally(names))
        for pending in self._pending.values():
            self._count.tally.add(pending)
        return self._count

    def _list(self, limit: _Limit, spending: Spending) -> set[str]:
        """All notes under a limit, right after this spending was noted.

        A listing may be some seconds old. If it shows this note, it shows all earlier ones as well.

        :raises SeedreamLedgerError: it does not show this note, so it may hide others, too.
        """
        names = set(limit.spent(self._made_by))
        if spending.name not in names:
            raise SeedreamLedgerError(
                "The storage does not list the note that was just written, so the spending is not known."
            )
        return names

    def _admit_among_others(self, spending: Spending) -> Spending:
        """Admit while other tasks may spend too: write the note, list all notes, and withdraw it if the sum
        is too large.

        Two tasks may refuse each other although one would fit. So each withdraws, pauses for a random time
        and tries again, until the other notes stay the same: then they are spent, not racing, and the refusal
        is final.
        """
        pauses, before = iter(PAUSES_SECONDS), None
        while True:
            if self._is_alone:
                with self._lock:
                    # a count of before cannot be trusted once the token is written again, see `_admit_alone`
                    self._count = None
                    self._journal.take_over(self._made_by, self._token)
            with self.holding(spending):
                self._journal.note_spending(spending)
                others, refusal = self._read_others(spending)
            if refusal is None:
                self._full = None
                return spending
            self._journal.withdraw_spending(spending)
            self.forget(spending)
            pause_seconds = next(pauses, None)
            if others == before or pause_seconds is None:  # the notes of the others stay, so they are spent
                raise refusal
            before = others
            clock.sleep(pause_seconds * random.uniform(0.5, 1))
            spending = replace(spending, claim=uuid.uuid4().hex)

    def _read_others(self, spending: Spending) -> tuple[set[str], SeedreamBudgetError | None]:
        """The notes of the others, and the refusal if they leave too little for this spending (else None).

        :raises SeedreamLedgerError: as :meth:`_list`.
        """
        others: set[str] = set()
        for limit in self._limits:
            now, names = clock.now_epoch(), self._list(limit, spending)
            others |= names - {spending.name}
            count = _Count(limit=limit, at_epoch=now, tally=Tally(names - {spending.name}))
            self._spent[limit.field] = count.tally.without(spending) + spending.credits
            if refusal := count.refusal(spending):
                self._full = count
                return others, refusal
        return others, None
