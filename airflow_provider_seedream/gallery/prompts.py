"""The prompts of landed generations, in memory, for searches that go further back than the manifests that one
page may read.

One index for each process, bounded, and filled from the newest generation on by a thread of its own; the
first search starts it. It knows no users, so each search says who may read what. It is never shown: a match
is read from the database and the storage again.
"""

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock, Thread

from airflow_provider_seedream.gallery import rows
from airflow_provider_seedream.gallery.cards import MayRead, entry_of
from airflow_provider_seedream.gallery.cursor import Cursor, order_of
from airflow_provider_seedream.gallery.reading import CannotShowError, StorageHangsError, read_manifest
from airflow_provider_seedream.gallery.rows import Filter, Row
from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.model import threads
from airflow_provider_seedream.model.task_ref import TaskRef

MOST_PROMPTS = 200_000
# of all prompts together: 100 to 400 MB; 200,000 prompts of 200 letters take 150 MB in all
MOST_CHARACTERS = 100_000_000
FRESH_SECONDS = 20.0  # so long after a pass no search begins another
OVERLAP = timedelta(minutes=1)  # an XCom is dated before it is committed
_ROWS_AT_ONCE = 500
_READERS = 8
_log = logging.getLogger(__name__)


def words_of(text: str) -> str:
    r"""Letters without case, and one blank between words: a prompt may have been copied from several lines.

    ::

        words_of("A Leather\n  watch")  # "a leather watch"
    """
    return " ".join(text.split()).casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    r"""A landed generation that the index has seen::

        # words: "a leather watch"
        Known(place=row.place, cursor=row.cursor, words=words_of("A leather\nwatch"))

    :param place: the task instance that landed it.
    :param cursor: its point in the listing; another one later means another result of that task.
    :param words: its prompt as `words_of` gives it; None if it could not be read.
    """

    place: TaskRef
    cursor: Cursor
    words: str | None

    @property
    def order(self) -> tuple[datetime, int, str, int, int]:
        """As the listing sorts it, so that a search can begin at a page's end."""
        return order_of(self.cursor)


@dataclass(slots=True, kw_only=True)
class Reach:
    """The progress of a search, counted while its matches are taken::

        reach = Reach()
        found = list(index.search(wanted, "watch", older_than=None, may_read=reader.may_read, reach=reach))
        reach.searched, reach.is_complete  # (1200, False): 1,200 prompts, and there are older ones

    :param searched: generations compared so far.
    :param unreadable: those among them without a known prompt.
    :param back_to: the point up to which every generation was searched; None if nothing was read yet.
    :param is_complete: True if nothing is older than that.
    """

    searched: int = 0
    unreadable: int = 0
    back_to: Cursor | None = None
    is_complete: bool = False


class PromptIndex:
    """The prompts of one process's gallery, for all users. Its methods may be called from several threads.

    Example::

        index = PromptIndex(gallery_roots())
        index.refresh()  # returns at once; a thread reads on
        reach = Reach()
        places = [
            known.place
            for known in index.search(wanted, "watch", older_than=None, may_read=reader.may_read, reach=reach)
        ]

    :param roots: the folders that the gallery may read.
    :param most: generations kept; the oldest tenth is dropped beyond it.
    :param clock: seconds that only grow; passed in by tests.
    """

    def __init__(
        self, roots: tuple[str, ...], *, most: int = MOST_PROMPTS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.roots = roots
        self._most = most
        self._clock = clock
        self._lock = Lock()
        self._known: dict[tuple[object, ...], Known] = {}  # by the primary key of its task instance
        self._sorted: list[Known] | None = None
        self._characters = 0
        # the newest row of the last pass that came to its end: all older ones are known
        self._head: Cursor | None = None
        self._front: Cursor | None = None  # how far a pass has come that is under way, or that had to stop
        self._floor: Cursor | None = None  # older ones were dropped, as the index was full
        self._thread: Thread | None = None
        self._ended_at = float("-inf")

    def refresh(self) -> None:
        """Begin to read what has landed since, and what an earlier pass did not reach, unless that was
        done just now.
        """
        with self._lock:
            if (self._thread and self._thread.is_alive()) or self._clock() - self._ended_at < FRESH_SECONDS:
                return
            self._thread = Thread(target=self._pass, name="seedream-gallery-prompts", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until the reading has ended, or for so many seconds. For tests: a page never waits."""
        if thread := self._thread:
            thread.join(seconds)

    def search(
        self, wanted: Filter, text: str, *, older_than: Cursor | None, may_read: MayRead, reach: Reach
    ) -> Iterator[Known]:
        """The generations with a text in their prompts, newest first.

        :param wanted: DAGs, run and task.
        :param text: as `words_of` gives it.
        :param older_than: where to begin; None for the newest.
        :param may_read: asked once for each DAG: the index holds prompts of all users.
        :param reach: is filled while the matches are taken.
        """
        everything, reach.back_to, reach.is_complete = self._snapshot()
        end = (
            bisect_left(everything, order_of(older_than), key=lambda known: known.order)
            if older_than
            else len(everything)
        )
        allowed = {dag_id for dag_id in wanted.dag_ids if may_read(dag_id)}
        for at in range(end - 1, -1, -1):
            known = everything[at]
            place = known.place
            if (
                place.dag_id not in allowed
                or wanted.run not in place.run_id
                or wanted.task not in place.task_id
            ):
                continue
            reach.searched += 1
            reach.unreadable += known.words is None
            if known.words is not None and text in known.words:
                yield known

    def forget(self, known: Known) -> None:
        """Drop a generation that is not in the database any more, or not at that time."""
        with self._lock:
            if self._known.get(_key(known.cursor)) == known:
                del self._known[_key(known.cursor)]
                self._characters -= len(known.words or "")
                self._sorted = None

    def _snapshot(self) -> tuple[list[Known], Cursor | None, bool]:
        """The generations in order, the oldest point that is known without gaps, and whether nothing is
        older.
        """
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(self._known.values(), key=lambda known: known.order)
            if self._head is None or self._front:
                return self._sorted, self._front, False
            oldest = self._sorted[0].cursor if self._sorted else None
            return self._sorted, self._floor or oldest, self._floor is None

    def _pass(self) -> None:
        """One pass in the index's own thread; an error ends it, and a later search begins another."""
        try:
            self._read_all()
        except Exception:
            _log.exception("The gallery could not read on for its search.")
        finally:
            self._ended_at = self._clock()

    def _read_all(self) -> None:
        """From the newest row back to those that an earlier pass has read; half of the time, as others
        need the process too.
        """
        dag_ids, newest, at = rows.dag_ids(), None, None
        with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="seedream-gallery-prompts") as pool:
            while True:
                start = self._clock()
                found = rows.page(Filter(dag_ids=dag_ids), limit=_ROWS_AT_ONCE, older_than=at)
                self._put(pool.map(self._read, [row for row in found if self._is_new(row)]))
                if found:
                    newest, at = newest or found[0].cursor, found[-1].cursor
                is_end = len(found) < _ROWS_AT_ONCE or (at is not None and self._is_known_from(at))
                self._note(newest, at, is_end=is_end, is_first=len(found) > 0 and found[0].cursor == newest)
                if is_end:
                    return
                time.sleep(self._clock() - start)

    def _is_known_from(self, at: Cursor) -> bool:
        """True if an earlier pass, or a full index, makes it needless to read on from a point."""
        is_joined = self._head is not None and at.at < self._head.at - OVERLAP
        return is_joined or (self._floor is not None and order_of(at) <= order_of(self._floor))

    def _note(self, newest: Cursor | None, at: Cursor | None, *, is_end: bool, is_first: bool) -> None:
        """Remember how far a pass has come."""
        with self._lock:
            if is_end:
                self._head, self._front = newest, None
            elif self._head is None or not is_first:  # the newest ones are read by each search itself
                self._front = at

    def _is_new(self, row: Row) -> bool:
        """True for a row that is not known, has another time since, or could not be read."""
        known = self._known.get(_key(row.cursor))
        return known is None or known.cursor != row.cursor or known.words is None

    def _read(self, row: Row) -> Known | None:
        """A row with its prompt; None if it is about something else. :raises StorageHangsError: then the
        pass ends here.
        """
        entry = entry_of(row)
        match entry and entry.about:
            case LandedGeneration() as landed:
                return Known(place=row.place, cursor=row.cursor, words=self._words(landed))
        return None

    def _words(self, landed: LandedGeneration) -> str | None:
        """The prompt of a manifest; None if it cannot be read. A store that hangs ends the pass instead."""
        try:
            manifest = read_manifest(landed.manifest, self.roots, seedream_task_id=landed.seedream_task_id)
        except StorageHangsError:
            raise
        except CannotShowError:
            return None
        prompt = (manifest.submission or {}).get("prompt")
        return words_of(prompt) if isinstance(prompt, str) else ""

    def _put(self, found: Iterable[Known | None]) -> None:
        """Add what was read, and make room if the index is full."""
        for known in found:
            if known is None:
                continue
            with self._lock:
                before = self._known.get(_key(known.cursor))
                self._known[_key(known.cursor)] = known
                self._characters += len(known.words or "") - len((before and before.words) or "")
                self._sorted = None
        if len(self._known) > self._most or self._characters > MOST_CHARACTERS:
            # Make room: a tenth of the index goes, and searches end where the rest begins.
            everything = self._snapshot()[0]
            dropped = everything[: max(len(everything) - self._most, 0) + len(everything) // 10 + 1]
            for known in dropped:
                self.forget(known)
            with self._lock:
                self._floor = dropped[-1].cursor


def _key(cursor: Cursor) -> tuple[object, ...]:
    return order_of(cursor)[1:]


_index: list[PromptIndex] = []
_index_lock = threads.lock()


def index_of(roots: tuple[str, ...]) -> PromptIndex:
    """This process's index; a new one if an administrator has changed the roots.

    :param roots: the folders that the gallery may read now. The old index may know prompts of folders that
        are no longer shown.
    """
    with _index_lock:
        if not _index or _index[0].roots != roots:
            _index[:] = [PromptIndex(roots)]
        return _index[0]
