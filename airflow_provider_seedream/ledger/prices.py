"""The price of an image: the connection's, or the price measured in the wallet, if that is larger.

The wallet is read before and after a POST, at most once a minute; once the expected price was measured, every
ten minutes. The difference is the price of this POST only if no other POST was under way, in this process or
in the same DAG run. If the wallet does not answer, the price stays as it is.
"""

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.ledger.books import books_at
from airflow_provider_seedream.ledger.records import Ledger, Record, record_file
from airflow_provider_seedream.ledger.spending import attempt_of
from airflow_provider_seedream.model import threads
from airflow_provider_seedream.model.clock import CLOCK, Clock, to_epoch
from airflow_provider_seedream.model.counting import counted

WALLET_READ_SECONDS = 60.0  # each read is a call beside the POST, and may count against the rate limit
SETTLED_SECONDS = 600.0  # between two measurements, once a measured price was the expected one
MAX_SECONDS = 60.0  # between the two reads: later, others may have spent, or been refunded
# records of the DAG run that are read to explain a difference; with more, it stays unexplained
MAX_OTHERS = 32
_MARGIN_SECONDS = 15.0  # between an intent and its charge, and between the clocks of workers
_log = logging.getLogger(__name__)


class Traffic:
    """The POSTs of this process: the number that have begun, and the number under way.

    The wallet's difference is the price of one POST only if no other POST ran between the two reads of the
    wallet::

        with traffic.post():
            traffic.is_quiet  # False
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.begun = 0
        self._under_way = 0

    @property
    def is_quiet(self) -> bool:
        """True if no POST of this process is under way."""
        return self._under_way == 0

    @contextmanager
    def post(self) -> Iterator[None]:
        """Context manager around one POST."""
        with self._lock:
            self.begun += 1
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1


_TRAFFIC = threads.renewed(Traffic)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """The balance before a POST. :param begun: the number of POSTs of this process that had begun by then."""

    balance: str
    begun: int
    at_epoch: float


class Prices:
    """Quotes and measures the prices of one task's requests::

        Prices(hook, ledger, CLOCK).quote(num_images=2)  # 20

    :param traffic: the POSTs that draw on the same wallet: those of this process.
    """

    def __init__(
        self, hook: SeedreamHook, ledger: Ledger, time: Clock = CLOCK, traffic: Traffic = _TRAFFIC
    ) -> None:
        self._hook = hook
        self._ledger = ledger
        self._time = time
        self._traffic = traffic
        self._read_epoch = 0.0
        self._read_for: str | None = None  # the claim whose record notes that balance
        self._sights: dict[str, _Sight] = {}
        self._mine: set[str] = set()  # claims whose POSTs these prices saw
        self._settled_epoch = -math.inf  # when a measured price was last the expected one
        self._has_warned = False
        self.measured_per_image: int | None = (
            None  # by the last measurement; the next one corrects it if something else was spending
        )

    def quote(self, num_images: int) -> int:
        """The expected price of a request, in credits.

        :raises SeedreamInputError: the connection is incomplete.
        """
        return num_images * max(self._hook.settings.credits_per_image, self.measured_per_image or 0)

    @property
    def measures_next(self) -> bool:
        """True if the wallet would be read before a POST now, and the POST be measured if no other is
        under way beside it.
        """
        now = self._time.now_epoch()
        return now - self._read_epoch >= WALLET_READ_SECONDS and now - self._settled_epoch >= SETTLED_SECONDS

    def balance_before(self, claim: str) -> str | None:
        """The balance before a POST, if it is time to read the wallet; None otherwise, as an older balance
        measures nothing.
        """
        now = self._time.now_epoch()
        if now - self._read_epoch < WALLET_READ_SECONDS:
            return None
        self._read_epoch, self._read_for = now, claim
        begun, was_quiet = self._traffic.begun, self._traffic.is_quiet  # before the wallet is read
        balance = self._hook.peek_balance()
        if balance is not None and was_quiet and now - self._settled_epoch >= SETTLED_SECONDS:
            self._sights[claim] = _Sight(balance=balance, begun=begun, at_epoch=now)
        return balance

    @contextmanager
    def posting(self, claim: str) -> Iterator[None]:
        """Context manager around a POST. A failed POST is not measured."""
        self._mine.add(claim)
        try:
            with self._traffic.post():
                yield
        except BaseException:
            self._sights.pop(claim, None)
            if claim == self._read_for:
                # its record may be deleted, as after a 429: so the next POST reads the wallet again
                self._read_epoch = 0.0
            raise

    def billed(self, record: Record) -> int | None:
        """The credits that the wallet has lost for a POST that was accepted just now; None if they are not
        known.

        They are not known if the wallet was not read before, if more than 60 s have passed, if another POST
        ran meanwhile, or if the balance did not fall. The measured price counts in later quotes if it is
        larger than the connection's.

        :param record: of the accepted POST.
        """
        sight = self._sights.pop(record.claim, None)
        if (
            sight is None
            or not self._was_alone(sight)
            or self._time.now_epoch() - sight.at_epoch > MAX_SECONDS
        ):
            return None
        lost = _lost(sight.balance, self._hook.peek_balance())
        if lost is None or not self._was_alone(sight):
            return None
        num_images = record.submission["num_images"]
        quoted = num_images * self._hook.settings.credits_per_image
        if lost != quoted and self._others_may_have_paid(record, sight, is_less=lost < quoted):
            return None
        if (
            self._time.now_epoch() - sight.at_epoch > MAX_SECONDS
        ):  # this process was stopped meanwhile: the notes of other tasks may be deleted by now
            return None
        self.measured_per_image = math.ceil(lost / num_images)
        if lost == quoted:
            self._settled_epoch = self._time.now_epoch()
        else:
            self._warn(record, quoted=quoted, billed=lost)
        return lost

    def _was_alone(self, sight: _Sight) -> bool:
        """True if this process began no other POST since the wallet was read."""
        return self._traffic.is_quiet and self._traffic.begun == sight.begun + 1

    def _warn(self, record: Record, *, quoted: int, billed: int) -> None:
        """Warn once per task that the price is not the expected one: a wrong credits_per_image makes every
        budget wrong.
        """
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "THE PRICE IS NOT THE EXPECTED ONE: seedream task %s should cost %s (%s at %d, the "
                "connection's credits_per_image), but the wallet lost %d. Budgets count the larger from "
                "here on. If the price has changed, set credits_per_image in connection %s; if something "
                "else spends from this wallet at the same time, that may be it.",
                record.seedream_task_id,
                counted(quoted, "credit"),
                counted(record.submission["num_images"], "image"),
                self._hook.settings.credits_per_image,
                billed,
                self._hook.seedream_conn_id,
            )

    def _others_may_have_paid(self, record: Record, sight: _Sight, *, is_less: bool) -> bool:
        """True if other task instances may have sent a request since the wallet was read: those of this DAG
        run, or all that share the books of caps. Called only if the loss is not the expected price.

        :param is_less: the wallet lost less than was quoted, which the refund of another request explains as
            well.
        """
        try:
            if not self._is_alone_in_books(record, sight):
                return True
            others = self._others(record, with_mine=is_less)
            return len(others) > MAX_OTHERS or any(
                self._overlaps(file, sight.at_epoch, is_less=is_less) for file in others
            )
        except SeedreamLedgerError as error:
            _log.info("%s The credits that the wallet lost cannot be explained.", error.message)
            return True

    def _is_alone_in_books(self, record: Record, sight: _Sight) -> bool:
        """False if the books of caps, where there are any, show another request at that time."""
        if not record.books or not record.booked_at:
            return True
        page = books_at(record.books).look(record.booked_at[:7])
        return page is None or page.is_alone(record.id, sight.at_epoch - _MARGIN_SECONDS)

    def _others(self, record: Record, *, with_mine: bool) -> list[str]:
        """The record files of the other requests of this DAG run, also those of another try of this task,
        which may be alive.

        :param with_mine: the other requests of this process as well. None of them was sent meanwhile, but one
            may be refunded.
        """
        listed = self._ledger.spent_in_run(record.made_by)
        if record.spending.name not in listed:
            raise SeedreamLedgerError(
                "The storage does not list the note of this POST, so it may hide others."
            )
        names = [name for name in listed if with_mine or name.rpartition(".")[2] not in self._mine]
        found = [attempt_of(name) for name in names]
        attempts = {attempt for attempt in found if attempt} - {(record.key, record.attempt)}
        return [record_file(*attempt) for attempt in sorted(attempts)]

    def _overlaps(self, file: str, since_epoch: float, *, is_less: bool) -> bool:
        """True if another record's POST may have been charged since the wallet was read, or refunded, if
        ``is_less``.
        """
        other = self._ledger.read(file)
        if other is None:  # noted, and about to be claimed
            return True
        if is_less and (other.outcome == "submitted" or other.refunded):
            # the wallet gets a refund before the record says so
            return True
        last = to_epoch(other.settles_at if other.outcome == "intent" else other.intent_at)
        return last is None or last >= since_epoch - _MARGIN_SECONDS


def _lost(before: str, after: str | None) -> int | None:
    """The whole credits that the wallet has lost; None if it was not read, or did not fall, as after a
    refund.
    """
    try:
        lost = Decimal(before) - Decimal(after or "")
    except InvalidOperation:
        return None
    return math.ceil(lost) if lost.is_finite() and lost > 0 else None
