"""Requests as the API and its storage answer them: what urllib3 and http.client leave to the caller is done here.

- **An answer before the body is read.** A server may refuse an upload (401, 402, 413, 429) and close before it has read it. Over
  plain http urllib3 then reads the answer; over TLS the failed write comes as ``ssl.SSLEOFError``, and it gives up [urllib3 2.8].
- **Interim answers.** http.client skips 100 alone [CPython 3.11 to 3.14]; 102 and 103 would be taken for the answer itself.

No answer that can be read: the error stays what it was, and a POST's outcome stays unknown.
"""

import http.client
import ssl
import time
from functools import cache
from typing import Any, ClassVar

import requests
from urllib3 import HTTPConnectionPool
from urllib3.poolmanager import PoolManager

from airflow_provider_seedream.hooks.tls import SharedTrust

MAX_INTERIM_ANSWERS = 100  # a server that sends more of them than this has no answer


class _FinalResponse(http.client.HTTPResponse):
    """The answer itself: 1xx before it are skipped, but for 101, after which no HTTP follows (RFC 9110, 15.2)."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._socket = sock

    def begin(self) -> None:
        limit_seconds = self._socket.gettimeout()
        super().begin()
        if not self._is_interim():
            return
        began_seconds = time.monotonic()
        for _ in range(MAX_INTERIM_ANSWERS):
            self._limit_wait(limit_seconds, began_seconds)
            self.headers = self.msg = None  # type: ignore[assignment]  # as in a response that has not begun
            super().begin()
            if not self._is_interim():
                self._socket.settimeout(limit_seconds)  # the body has the usual time for each piece
                return
        raise http.client.HTTPException(f"more than {MAX_INTERIM_ANSWERS} interim answers")

    def _is_interim(self) -> bool:
        return 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS

    def _limit_wait(self, limit_seconds: float | None, began_seconds: float) -> None:
        """All interim answers together get the time of one: other tries take a POST for ended soon after that."""
        if limit_seconds is None:
            return
        left_seconds = limit_seconds - (time.monotonic() - began_seconds)
        if left_seconds <= 0:
            raise TimeoutError("interim answers only")
        self._socket.settimeout(left_seconds)


class _Salvaging:
    """A connection that reads the answer of a server that stopped reading: urllib3 does so after a BrokenPipeError."""

    response_class = _FinalResponse
    sock: Any

    def send(self, data: Any) -> None:
        try:
            super().send(data)  # type: ignore[misc]  # of the connection class it is mixed into
        except (ssl.SSLEOFError, TimeoutError) as error:
            if self.sock is None:  # it did not even connect
                raise
            raise BrokenPipeError(f"the server reads no further ({error})") from error


class Transport(SharedTrust):
    """The adapter of :func:`session_through`.

    :cvar mixins: classes that are mixed into the connection classes of urllib3, for every scheme and behind proxies.
    """

    mixins: ClassVar[tuple[type[Any], ...]] = (_Salvaging,)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self._equip(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return self._equip(super().proxy_manager_for(proxy, **options))

    def _equip(self, manager: PoolManager) -> PoolManager:
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: _equipped(pool, self.mixins) for scheme, pool in pools.items()}
        return manager


def session_through(adapter: type[Transport] = Transport) -> requests.Session:
    """A session whose every request goes through a :class:`Transport`."""
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
