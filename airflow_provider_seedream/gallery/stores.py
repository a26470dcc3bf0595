"""Storage as the gallery reads it: file systems of its own and a deadline for each read. A store that hangs
holds up only itself.

Each connection gets its own few threads. They are daemon threads, as a read that never returns may not keep
the web server alive. Knows nothing of manifests, pages or rights.
"""

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock, Thread
from typing import Any, TypeVar

from airflow_provider_seedream.model import threads
from airflow_provider_seedream.storage.airflow_paths import file_system
from airflow_provider_seedream.storage.folder import Folder

READ_SECONDS = 5.0  # one read of one file; an image of 64 MiB needs 13 MiB/s
DOWN_SECONDS = 15.0  # so long a store that did not answer is not asked again
CONNECTION_SECONDS = 30.0  # so often a connection is read again: it may have been changed or rotated
READS_AT_ONCE = 16
# botocore's; its own are 60 s, five times
_QUICK = {"connect_timeout": 3, "read_timeout": 5, "retries": {"max_attempts": 1}}
_OPTIONS: dict[str, dict[str, Any]] = {"s3": _QUICK, "s3a": _QUICK, "s3n": _QUICK}

T = TypeVar("T")


class StoreHangsError(Exception):
    """The store did not answer in time, or did not a moment ago: it is left alone for 15 s.

    ::

        raise StoreHangsError

    Without that pause each page would hold as many threads as it has pictures, for 5 s each.
    """


class Reads:
    """The reads of one store: each in a thread of its own, with a deadline::

        Reads().ask(lambda: folder.read("hero.json"))  # its bytes, its error, or StoreHangsError after 5 s

    :param read_seconds: how long a read may take, and how long it may wait for a thread.
    :param down_seconds: how long the store is left alone after a read that took longer.
    :param at_once: reads at the same time; further ones wait.
    :param clock: seconds that only grow; passed in by tests.
    """

    def __init__(
        self,
        *,
        read_seconds: float = READ_SECONDS,
        down_seconds: float = DOWN_SECONDS,
        at_once: int = READS_AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_seconds = read_seconds
        self._down_seconds = down_seconds
        self._threads = BoundedSemaphore(at_once)
        self._clock = clock
        self._down_until = 0.0

    def ask(self, act: Callable[[], T]) -> T:
        """Run a read with a deadline, and return its result or raise its error.

        :param act: the read; it may run on after the deadline, so it must change nothing.
        :raises StoreHangsError: when it took too long. Its thread goes on until the store's client gives up.
        """
        if self._clock() < self._down_until:
            raise StoreHangsError
        if not self._threads.acquire(timeout=self._read_seconds):
            raise self._hangs()
        answer: Future[T] = Future()
        Thread(target=self._run, args=(act, answer), name="seedream-gallery-read", daemon=True).start()
        try:
            return answer.result(timeout=self._read_seconds)
        except TimeoutError:
            if answer.done():  # the store's own
                raise
            raise self._hangs() from None

    def _run(self, act: Callable[[], T], answer: "Future[T]") -> None:
        try:
            answer.set_result(act())
        except BaseException as error:  # it belongs to the thread that asked
            answer.set_exception(error)
        finally:
            self._threads.release()

    def _hangs(self) -> StoreHangsError:
        self._down_until = self._clock() + self._down_seconds
        return StoreHangsError()


@dataclass(slots=True)
class _Known:
    """A file system, the connection that it was made from, and when that was read."""

    fs: Any
    connection: str
    read_seconds: float


class Store:
    """The reads of one connection. A changed or rotated connection is noticed: at once after an error, else
    within 30 s.

    ::

        store_of("s3://my_conn@bucket/watches").ask(
            "s3://my_conn@bucket/watches", lambda folder: folder.read("hero.json")
        )

    :param protocol: of its URIs: ``s3``, ``gs``, ``file``, ...
    :param conn_id: the Airflow connection; None for the store's own defaults.
    :param clock: seconds that only grow; passed in by tests.
    """

    def __init__(
        self, protocol: str, conn_id: str | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.reads = Reads()
        self._clock = clock
        self._protocol = protocol
        self._conn_id = conn_id
        self._known: _Known | None = None
        self._lock = Lock()

    def ask(self, uri: str, act: Callable[[Folder], T]) -> T:
        """Read from the folder of a URI.

        :param act: is called with the folder, in a thread of the store.
        :raises StoreHangsError: when the store does not answer in time.
        """
        return self.reads.ask(lambda: self._act(uri, act))

    def _act(self, uri: str, act: Callable[[Folder], T]) -> T:
        """Act on a folder, and forget the connection if that fails."""
        folder = Folder(uri, fs=self._fs())
        try:
            return act(folder)
        except Exception:
            self._known = None  # the next read of a file reads the connection: a rotated key fails first
            raise

    def _fs(self) -> Any:
        """The connection's file system; opened anew where the connection has changed."""
        with self._lock:
            known, now = self._known, self._clock()
            if known and now - known.read_seconds < CONNECTION_SECONDS:
                return known.fs
            connection = _fingerprint(self._conn_id)
            # A new client has no open connections, so it is made only where Airflow's connection has changed.
            fs = known.fs if known and known.connection == connection else self._open()
            self._known = _Known(fs=fs, connection=connection, read_seconds=now)
            return fs

    def _open(self) -> Any:
        if self._protocol in ("file", "local") and self._conn_id is None:
            return None  # the folder's own
        return file_system(self._protocol, self._conn_id, _OPTIONS.get(self._protocol))


_stores: dict[tuple[str, str | None], Store] = {}
_stores_lock = threads.lock()


def store_of(uri: str) -> Store:
    """The store that a URI is read from; one for each protocol and connection, kept for the life of the
    process.

    :param uri: of a folder or a file; its path plays no part.
    """
    protocol, has_protocol, rest = uri.partition("://")
    conn_id, has_conn_id, _ = rest.partition("/")[0].rpartition("@")
    key = (protocol if has_protocol else "file", conn_id if has_conn_id and conn_id else None)
    with _stores_lock:
        return _stores.setdefault(key, Store(*key))


def _fingerprint(conn_id: str | None) -> str:
    """A hash that changes if the connection changes; it holds no secret."""
    if conn_id is None:
        return ""
    from airflow.sdk.bases.hook import BaseHook

    return hashlib.sha256(BaseHook.get_connection(conn_id).get_uri().encode()).hexdigest()
