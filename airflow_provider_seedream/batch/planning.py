"""How a plan is made: a walk over the rows of a table and the ledger, which is listed once; a record is read
only for a row that has one. Sends no request, writes no file and needs no key: it never imports a hook.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, Protocol

from airflow_provider_seedream.batch.plan import Plan, PlanLimits, Status
from airflow_provider_seedream.batch.rows import Row
from airflow_provider_seedream.batch.table_summary import NAMED_ERRORS, TableSummary
from airflow_provider_seedream.batch.upcoming import Duplicate, RefusedRow
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.ledger.record import RECORDS, Record, record_file
from airflow_provider_seedream.ledger.records import NAMES, Ledger
from airflow_provider_seedream.ledger.request import Request
from airflow_provider_seedream.ledger.room import CapRoom
from airflow_provider_seedream.ledger.spending import Spending, Tally
from airflow_provider_seedream.model import clock
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.polling.policy import expires_epoch, has_expired

PARALLEL_READS = 8
ROWS_AT_A_TIME = 256
IN_FLIGHT_SECONDS = 600.0  # 6 images at 40 s each [doc] are ready after 240 s; a queue may take as long again


class _Judged(NamedTuple):
    """A row that a run would refuse, or that repeats another: the ledger was not asked."""

    status: Status
    note: str | None = None


class _Found(NamedTuple):
    """A valid row, its request, and the latest record of that request."""

    row: Row
    request: Request
    record: Record | None


class Rows(Protocol):
    """A table, or a part of one: ``[row for row, duplicate in rows.compared() if not
    duplicate.is_repeat]``.
    """

    def compared(self) -> Iterator[tuple[Row | RefusedRow, Duplicate]]: ...


def plan_table(
    table: Rows,
    *,
    request_of: Callable[[Row], Request],
    ledger: Ledger,
    made_by: TaskRef,
    limits: PlanLimits,
    now_epoch: float,
    summary: TableSummary | None = None,
    room: CapRoom | None = None,
) -> Plan:
    """Compare every row with the ledger. Memory holds the file names of the ledger and some 200 bytes for
    each row.

    :param request_of: the request that the task would make of a row; it reads the sources of an edit.
    :param made_by: the task that would pay: its earlier spendings count toward ``max_credits``, those of its
        DAG run toward ``max_credits_per_run``.
    :param now_epoch: the time of the plan: it decides what is in flight, and what the API has deleted.
    :param summary: counts the table in the same pass. :param room: under the caps of the connection; None for
        no caps.
    :raises SeedreamInputError: the table cannot be read.
    :raises SeedreamLedgerError: the ledger cannot be listed, or a record cannot be read: it may tell of a
        payment.
    """
    holdings = _Holdings(ledger, request_of)
    planner = _Planner(ledger, limits, made_by, now_epoch, room)
    rows = summary.counting(table.compared()) if summary else table.compared()
    with ThreadPoolExecutor(max_workers=PARALLEL_READS, thread_name_prefix="seedream-plan") as pool:
        while some := list(islice(rows, ROWS_AT_A_TIME)):
            for found in pool.map(lambda one: holdings.find(*one), some):
                planner.add(found)
    return planner.finished(records=holdings.requests)


class _Holdings:
    """The names of a destination's records and name reservations, as listed once.

    One listing of a folder costs less than a request for each row: most rows of a new table have no record.
    """

    def __init__(self, ledger: Ledger, request_of: Callable[[Row], Request]) -> None:
        self._ledger = ledger
        self._request_of = request_of
        self._records = set(ledger.names_in(RECORDS))
        self._names = set(ledger.names_in(NAMES))

    @property
    def requests(self) -> int:
        """How many requests have a record."""
        return len({name.partition(".")[0] for name in self._records if name.endswith(".json")})

    def find(self, row: Row | RefusedRow, duplicate: Duplicate) -> _Judged | _Found:
        """The record of a row. Runs in several threads at once, as it waits for storage.

        A row that a run would refuse, or that repeats another, is judged here without reading a record.
        """
        if isinstance(row, RefusedRow):
            return _Judged("invalid", row.error.message)
        if duplicate.error:
            return _Judged("invalid", duplicate.error)
        if duplicate.is_repeat:
            return _Judged("repeat")
        try:
            request = self._request_of(row)
        except SeedreamInputError as error:
            return _Judged("invalid", f"{row.where}: {error.message}")
        request, record = self._recorded(request)
        # a refund releases the name: another request may have it by now
        is_to_pay = record is None or record.is_open_for_next
        if is_to_pay and request.stem and self._is_anothers(request.stem, request.key):
            note = f"{row.where}: name {request.stem!r} belongs to another request in {request.destination}."
            return _Judged("name_taken", note)
        return _Found(row, request, record)

    def _recorded(self, request: Request) -> tuple[Request, Record | None]:
        """The request under the key that has a record, as the submitter searches for it, and its latest
        record.

        0.2.0 gave some requests another key. It named no installation in it, so a record under an old key
        counts only if this Airflow has made it.
        """
        for old in request.as_of_0_2():
            record = self._latest(old.key)
            if record and record.made_by.is_same_airflow(old.made_by):
                return old, record
        return request, self._latest(request.key)

    def _latest(self, key: str) -> Record | None:
        """The record of the last attempt; None if the request was never begun. Attempts count from 1
        without gaps.
        """
        last = 0
        while record_file(key, last + 1).rpartition("/")[2] in self._records:
            last += 1
        for attempt in range(last, 0, -1):
            if record := self._ledger.read(record_file(key, attempt)):
                return record
        return None  # without a record, or with freed ones only

    def _is_anothers(self, stem: str, key: str) -> bool:
        """True if another request has reserved this file stem. A kill before the claim may leave this
        request's own reservation.
        """
        return f"{stem}.json" in self._names and self._ledger.is_name_of_another(stem, key)


class _Planner:
    """Adds up the rows in their order, as a run would pay them."""

    def __init__(
        self, ledger: Ledger, limits: PlanLimits, made_by: TaskRef, now_epoch: float, room: CapRoom | None
    ) -> None:
        self._ledger = ledger
        self._room = room if room and room.caps else None
        self._limits = limits
        self._made_by = made_by
        self._now_epoch = now_epoch
        self._plan = Plan()
        self._deleted_epochs: list[float] = []
        self._keys: set[str] = set()
        self._recorded = 0
        budgets = (
            (limits.max_credits, ledger.spent_by_task),
            (limits.max_credits_per_run, ledger.spent_in_run),
        )
        self._budgets = [(most, Tally(spent(made_by))) for most, spent in budgets if most is not None]

    def add(self, found: _Judged | _Found) -> None:
        """Count one row, and keep its note if it is among the first 10."""
        status, note = found if isinstance(found, _Judged) else self._judge(found)
        self._plan.rows += 1
        self._plan.count[status] += 1
        if note and len(self._plan.notes) < NAMED_ERRORS:
            self._plan.notes.append(note)

    def finished(self, *, records: int) -> Plan:
        """The plan, when all rows were added.

        :param records: requests with a record in this ledger.
        """
        plan = self._plan
        plan.minutes = round(plan.requests / self._limits.requests_per_minute, 1)
        plan.land_before = clock.to_iso(min(self._deleted_epochs)) if self._deleted_epochs else None
        plan.other_requests = records - self._recorded
        plan.within_caps = self._room.to_dict() if self._room else None
        return plan

    def _judge(self, found: _Found) -> _Judged:
        """The status of a valid row by its latest record; adds up what a run would pay."""
        record, key = found.record, found.request.key
        if key in self._keys:  # an edit whose sources have other URIs and the same bytes
            return _Judged("repeat")
        if record or found.row.images:
            self._keys.add(key)
        self._recorded += record is not None
        if record is None or record.is_open_for_next:
            return self._pay(found)
        if record.outcome not in ("intent", "unknown"):
            return _Judged("landed" if record.outcome in ("landed", "partial") else self._paid_status(record))
        if self._limits.pays_unknown:
            return self._pay(found)
        self._plan.credits_at_risk += record.cost_credits
        where, uri = found.row.where, self._ledger.uri(record)
        return _Judged(
            "unknown",
            f"{where}: unknown outcome, up to {counted(record.cost_credits, 'credit')}; record {uri}.",
        )

    def _paid_status(self, record: Record) -> Status:
        """The status of a paid row whose images have not landed."""
        created_epoch = clock.to_epoch(record.created_at)
        if record.outcome != "submitted" or has_expired(created_epoch, now_epoch=self._now_epoch):
            return "lost"
        if created_epoch and self._now_epoch - created_epoch < IN_FLIGHT_SECONDS:
            return "in_flight"
        if deleted_epoch := expires_epoch(created_epoch):
            self._deleted_epochs.append(deleted_epoch)
        return "not_landed"

    def _pay(self, found: _Found) -> _Judged:
        """A row that a run would send, if the budget has room for it."""
        plan, row, before = self._plan, found.row, found.record
        price = row.num_images * self._limits.credits_per_image
        attempt = before.attempt + 1 if before else 1
        spending = Spending(
            made_by=self._made_by, key=found.request.key, attempt=attempt, credits=price, claim=""
        )
        if any(spent.without(spending) + price > most for most, spent in self._budgets):
            return _Judged("over_budget")
        for _, spent in self._budgets:
            spent.add(spending)
        if self._room:
            self._room.admits(f"{spending.key}.{attempt}", price)
        plan.requests += 1
        plan.images += row.num_images
        plan.credits += price
        return _Judged("pay_again" if before else "pay")
