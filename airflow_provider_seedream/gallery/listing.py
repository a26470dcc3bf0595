"""One page of the gallery: newest first, filtered, and honest about how far it searched.

The cost of a page is bounded: so many rows of the database, so many manifests read, however many generations
there are. Knows no HTTP requests and no HTML.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from airflow_provider_seedream.gallery import rows
from airflow_provider_seedream.gallery.cards import Card, Entry, MayRead, card_of, entry_of
from airflow_provider_seedream.gallery.cursor import Cursor, order_of
from airflow_provider_seedream.gallery.prompts import Known, PromptIndex, Reach, index_of, words_of
from airflow_provider_seedream.gallery.rows import Filter, Row
from airflow_provider_seedream.model.task_ref import TaskRef

CARDS = 24
_ROWS_AT_ONCE = 200
_MAX_ROWS = 2000
_MAX_MANIFESTS = 96  # a search reads that many of the newest; behind them it asks the prompts in memory
_MAX_CHECKED = 60  # matches from memory that are read again for one page
_MAX_RUN_ROWS = 1000  # of one DAG run, whose credits are added up
_READERS = 8


@dataclass(slots=True, kw_only=True)
class Turned:
    """A page of cards, and how far the search for it went::

        turned = turn_page(wanted, "watch", older_than=None, roots=gallery_roots(), may_read=reader.may_read)
        turned.cards, turned.searched, turned.older  # older: where the next page begins, None at the end

    :param cards: newest first.
    :param older: the point from which the next page goes on.
    :param searched: generations whose prompts were searched.
    :param unreadable: those among them whose files could not be read.
    :param back_to: the oldest point searched.
    :param is_reading: True if a thread is still reading older prompts.
    """

    cards: list[Card] = field(default_factory=list)
    older: Cursor | None = None
    searched: int = 0
    unreadable: int = 0
    back_to: Cursor | None = None
    is_reading: bool = False


def turn_page(
    wanted: Filter,
    text: str,
    *,
    older_than: Cursor | None,
    roots: tuple[str, ...],
    may_read: MayRead,
    size: int = CARDS,
) -> Turned:
    """The next page from a point.

    :param wanted: DAGs, run and task that the user filtered by.
    :param text: only generations with this in their prompt, without regard to case; empty for all.
    :param older_than: where the page before ended; None for the first page.
    :param roots: the folders that the gallery may read.
    :param may_read: whether the user may read a DAG's XComs.
    :param size: cards on the page, 24 by default.
    """
    turned, scan = Turned(), _Scan(wanted, older_than, may_read)
    entries = scan.entries()
    with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="seedream-gallery") as pool:
        # One card more than fits: it tells whether there is a next page.
        while chunk := list(islice(entries, size + 1)):
            for card in pool.map(lambda entry: card_of(entry, roots, may_read), chunk):
                if len(turned.cards) == size and _matches(card, text):
                    turned.older = turned.cards[-1].entry.row.cursor
                    return turned
                turned.searched += 1
                turned.unreadable += card.trouble is not None and card.record is None
                turned.back_to = card.entry.row.cursor
                if _matches(card, text):
                    turned.cards.append(card)
            if turned.searched >= _MAX_MANIFESTS:
                return _search_further(turned, wanted, text, roots, may_read, size) if text else _stop(turned)
    turned.older = scan.stopped_at
    return turned


def _stop(turned: Turned) -> Turned:
    """A page that ends here, with a way to go on."""
    turned.older = turned.back_to
    return turned


def _search_further(
    turned: Turned, wanted: Filter, text: str, roots: tuple[str, ...], may_read: MayRead, size: int
) -> Turned:
    """The rest of a page from the prompts in memory, as far back as these go. Each match is read again
    before it is shown.
    """
    index, reach = index_of(roots), Reach()
    # The first search starts the thread: a gallery without searches keeps no prompts in memory.
    index.refresh()
    searched, unreadable = turned.searched, turned.unreadable
    matches = index.search(wanted, words_of(text), older_than=turned.back_to, may_read=may_read, reach=reach)
    for checked, known in enumerate(matches, start=1):
        turned.searched, turned.unreadable = searched + reach.searched, unreadable + reach.unreadable
        card = _card_of_known(known, index, roots, may_read)
        if card and _matches(card, text):
            if len(turned.cards) == size:
                turned.older = turned.cards[-1].entry.row.cursor
                return turned
            turned.cards.append(card)
        turned.back_to = known.cursor
        if checked == _MAX_CHECKED:
            return _stop(turned)
    turned.searched, turned.unreadable = searched + reach.searched, unreadable + reach.unreadable
    # The older of the two points: up to there either the page or the index has searched without a gap.
    if reach.back_to and turned.back_to:
        turned.back_to = min(reach.back_to, turned.back_to, key=order_of)
    turned.is_reading = not reach.is_complete
    turned.older = None if reach.is_complete else turned.back_to
    return turned


def _card_of_known(
    known: Known, index: PromptIndex, roots: tuple[str, ...], may_read: MayRead
) -> Card | None:
    """The card of a match, from the database and storage as they are now; None if its task has another
    result since.
    """
    row = rows.find(known.place)
    entry = entry_of(row) if row and row.cursor == known.cursor else None
    if entry is None:
        index.forget(known)
        return None
    return card_of(entry, roots, may_read)


def beside(card_row: Row, *, newer: bool, may_read: MayRead) -> Entry | None:
    """The nearest landed generation of the same DAG, before or after, for the arrows of an image's page.

    :param newer: True for the next newer one, False for the next older one.
    :returns: None at the end, without permission, or if none is among the nearest 2,000 rows.
    """
    wanted, at = Filter(dag_ids=[card_row.place.dag_id]), card_row.cursor
    if not may_read(card_row.place.dag_id):
        return None
    for _ in range(_MAX_ROWS // _ROWS_AT_ONCE):
        found = rows.page(
            wanted, limit=_ROWS_AT_ONCE, newer_than=at if newer else None, older_than=None if newer else at
        )
        # the nearest first, either way
        entries = (entry_of(row) for row in found if row.place != card_row.place)
        if landed := next((entry for entry in entries if entry and entry.landed), None):
            return landed
        if len(found) < _ROWS_AT_ONCE:
            return None
        at = found[-1].cursor
    return None


def landing_of(entry: Entry) -> Row | None:
    """The task of the same DAG run that landed what this one submitted; None if there is none, or the entry
    is no submission.
    """
    if entry.submitted is None:
        return None
    wanted = entry.submitted.seedream_task_id
    found = (entry_of(row) for row in rows.holding(entry.row.place, wanted))
    return next(
        (one.row for one in found if one and one.landed and one.landed.seedream_task_id == wanted), None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The credits of a DAG run::

        Spent(credits=320, is_complete=True)

    :param credits: prices before refunds.
    :param is_complete: False if there may be more: a batch that failed does not say its credits, and only
        1,000 tasks are read.
    """

    credits: int
    is_complete: bool


def spent_in_run(place: TaskRef) -> Spent | None:
    """The prices of all requests of a DAG run, from its XComs, before refunds. A billed price, where known,
    replaces the quoted one.

    :param place: any task instance of the run.
    :returns: None if no task of ours in this run has a result.
    """
    found = rows.page(Filter(dag_ids=[place.dag_id], run=place.run_id), limit=_MAX_RUN_ROWS)
    entries = [entry_of(row) for row in found if row.place.run_id == place.run_id]
    prices: dict[str, int] = {}  # a submission and its landing are one request
    for entry in filter(None, entries):
        if entry.batch:
            prices[str(entry.row.place)] = entry.batch.credits or 0
        elif one := entry.landed or entry.submitted:
            prices[one.seedream_task_id] = (
                one.credits if one.billed_credits is None else one.billed_credits
            ) or 0
    unsaid = any(entry.batch and entry.batch.credits is None for entry in entries if entry)
    return (
        Spent(credits=sum(prices.values()), is_complete=not unsaid and len(found) < _MAX_RUN_ROWS)
        if prices
        else None
    )


class _Scan:
    """Reads rows in bounded steps of 200, 2,000 at most. ``stopped_at`` says where it gave up, None when it
    has seen all.
    """

    def __init__(self, wanted: Filter, older_than: Cursor | None, may_read: MayRead) -> None:
        self._wanted = wanted
        self._may_read = may_read
        self._landed: set[str] = set()
        self.stopped_at = older_than

    def entries(self) -> Iterator[Entry]:
        """The entries from the newest on, each step read from the database only when it is needed."""
        for _ in range(_MAX_ROWS // _ROWS_AT_ONCE):
            batch = rows.page(self._wanted, limit=_ROWS_AT_ONCE, older_than=self.stopped_at)
            yield from self._visible(batch)
            self.stopped_at = batch[-1].cursor if len(batch) == _ROWS_AT_ONCE else None
            if self.stopped_at is None:
                return

    def _visible(self, batch: list[Row]) -> Iterator[Entry]:
        """Each generation once: a submission that was landed is seen where it landed."""
        allowed = (entry_of(row) for row in batch if self._may_read(row.place.dag_id))
        entries = [entry for entry in allowed if entry]
        self._landed |= {entry.landed.seedream_task_id for entry in entries if entry.landed}
        # Only of submissions: their landing may lie on a newer page, or outside the filter.
        open_ones = [entry for entry in entries if self._is_open(entry)]
        if open_ones:
            runs = {entry.row.cursor.dag_run_id for entry in open_ones}
            self._landed |= rows.landed_ids(
                runs, {entry.submitted.seedream_task_id for entry in open_ones if entry.submitted}
            )
        yield from (entry for entry in entries if not entry.submitted or self._is_open(entry))

    def _is_open(self, entry: Entry) -> bool:
        return entry.submitted is not None and entry.submitted.seedream_task_id not in self._landed


def _matches(card: Card, text: str) -> bool:
    return words_of(text) in words_of(card.prompt)
