"""The transport of requests to the API and its storage: it does the parts that urllib3 and http.client leave
to the caller.

- **An answer before the body is read.** A server may refuse an upload (401, 402, 413, 429) and close before
  it has read it. Over plain http urllib3 then reads the answer; over TLS the failed write comes as
  ``ssl.SSLEOFError``, and it gives up [urllib3 2.8].
- **An answer that drips.** A socket's timeout begins anew with each byte; here it is the time of the whole
  head.
- **Interim answers.** http.client skips 100 alone [CPython 3.11 to 3.14]; 102 and 103 would be taken for the
  answer itself.

No answer that can be read: the error stays what it was, and a POST's outcome stays unknown.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, partial
from typing import Any, ClassVar

import requests
from urllib3 import HTTPConnectionPool
from urllib3.poolmanager import PoolManager

from airflow_provider_seedream.hooks.alarms import ALARMS
from airflow_provider_seedream.hooks.tls import SharedTrust

MAX_INTERIM_ANSWERS = 100  # a server that sends more of them than this has no answer


@contextmanager
def cut_after(seconds: float, shut: Callable[[], Any]) -> Iterator[None]:
    """Context manager: end a read in the block when all of it takes too long, even if bytes keep arriving.

    :param seconds: for the whole block.
    :param shut: shuts the socket for reading; the thread that reads from it finds it ended.
    :raises TimeoutError: it took longer.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(AttributeError, RuntimeError, OSError):  # it has just come to its end
            shut()

    alarm = ALARMS.set(seconds, end)
    try:
        yield
    except Exception:  # of any class when the socket goes away in the middle of a read
        if not late.is_set():
            raise
    finally:
        ALARMS.cancel(alarm)
    if late.is_set():
        raise TimeoutError(f"it took longer than {seconds:.1f} s")


class _FinalResponse(http.client.HTTPResponse):
    """The answer itself: 1xx before it are skipped, but for 101, after which no HTTP follows (RFC 9110,
    15.2).

    Its head and all interim answers together get the time of one read: other tries take a POST for ended soon
    after that.
    """

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._socket = sock

    def begin(self) -> None:
        """Read the head of the answer, within the time that one read may take. Interim answers (103 Early
        Hints) are skipped.

        :raises http.client.HTTPException: more than 100 of them, so there is no answer.
        """
        limit_seconds = self._socket.gettimeout()
        # called by another thread: a close would not wake the read
        end_read = partial(self._socket.shutdown, socket.SHUT_RD)
        with nullcontext() if limit_seconds is None else cut_after(limit_seconds, end_read):
            super().begin()
            for _ in range(MAX_INTERIM_ANSWERS):
                if not 100 <= self.status < 200 or self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                    # no answer follows a 101
                    return
                # as in a response that has not begun
                self.headers = self.msg = None  # type: ignore[assignment]
                super().begin()
            raise http.client.HTTPException(f"more than {MAX_INTERIM_ANSWERS} interim answers")


class _Salvaging:
    """A connection that reads the answer of a server that stopped reading: urllib3 does so after a
    BrokenPipeError.
    """

    response_class = _FinalResponse
    sock: Any

    def send(self, data: Any) -> None:
        """Send a piece of the body. If the server has stopped reading, its answer is read all the same.

        Over TLS a server that closes early is an SSL error or a timeout, which urllib3 would raise instead of
        reading the refusal. A refusal proves that nothing was bought, so it must not be lost.
        """
        try:
            super().send(data)  # type: ignore[misc]  # of the connection class it is mixed into
        except (ssl.SSLEOFError, TimeoutError) as error:
            if self.sock is None:  # it did not even connect
                raise
            raise BrokenPipeError(f"the server reads no further ({error})") from error


class Transport(SharedTrust):
    """The adapter of :func:`session_through`::

        session_through(Transport).get("https://api.3daistudio.com/account/user/wallet/")

    :cvar mixins: classes that are mixed into the connection classes of urllib3, for every scheme and behind
        proxies.
    """

    mixins: ClassVar[tuple[type[Any], ...]] = (_Salvaging,)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Give connections without a proxy our mixins."""
        super().init_poolmanager(*args, **options)
        self._equip(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Give connections through a proxy our mixins."""
        return self._equip(super().proxy_manager_for(proxy, **options))

    def _equip(self, manager: PoolManager) -> PoolManager:
        """Replace the pool classes of one manager. urllib3 keeps them by scheme, so nothing global is
        changed.
        """
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {
            scheme: _equipped(pool, self.mixins) for scheme, pool in pools.items()
        }
        return manager


def session_through(adapter: type[Transport] = Transport) -> requests.Session:
    """A session whose every request goes through a :class:`Transport`. It follows requests' defaults
    otherwise.

    :param adapter: :class:`Transport`, or a class of it.
    """
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter())
    return session


@cache
def _equipped(pool: type[HTTPConnectionPool], mixins: tuple[type[Any], ...]) -> type[HTTPConnectionPool]:
    """The pool class, with connections of ours; itself when it is one of ours already."""
    if issubclass(pool.ConnectionCls, mixins):
        return pool
    connection = type(pool.ConnectionCls.__name__, (*mixins, pool.ConnectionCls), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})
