"""Status calls for triggers: one aiohttp session per event loop, shared by every trigger on it.

GETs only. Shares the settings and the classification of answers with the hook, and nothing else.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

from airflow_provider_seedream.exceptions import SeedreamError
from airflow_provider_seedream.generations import GenerationStatus, Wallet
from airflow_provider_seedream.hooks.answers import error_from_answer, failed_poll, read_json
from airflow_provider_seedream.hooks.bundles import reading
from airflow_provider_seedream.hooks.failures import no_answer
from airflow_provider_seedream.hooks.settings import CONNECT_TIMEOUT_SECONDS, USER_AGENT, SeedreamSettings
from airflow_provider_seedream.model import clock, contract
from airflow_provider_seedream.observability import metrics
from airflow_provider_seedream.polling.policy import FailedPoll

MAX_HEADER_BYTES = 65_536  # of one line, as http.client reads on the worker
TRIGGER_AGENT = f"{USER_AGENT} (trigger)"
MAX_CONNECTIONS = 300  # 1,000 triggers that poll every 5 s keep 200 busy when an answer takes a second


@dataclass(slots=True)
class _Shared:
    """The session of an event loop, and its clients, one for each connection."""

    session: aiohttp.ClientSession
    clients: dict[tuple[SeedreamSettings, str], "StatusClient"] = field(default_factory=dict)
    users: int = 0


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()


def shared_client(
    settings: SeedreamSettings, *, user_agent: str = TRIGGER_AGENT
) -> AbstractAsyncContextManager["StatusClient", None]:
    """The client of these settings on the running loop's session::

        async with shared_client(settings) as client:
            answer = await client.poll("b1c2d3")

    Waits with equal settings share it: finding a proxy in the environment alone costs as much CPU as a poll,
    and a wait takes about three polls. It is forgotten with the session, so a process that waits again reads
    the environment again.

    :param user_agent: tells the triggerer's calls from a worker's.
    :raises SeedreamInputError: the CA bundle cannot be read.
    """
    return _SharedClient(settings, user_agent)


class _SharedClient:
    """The context manager of :func:`shared_client`.

    A class, as a generator is some eight objects, and each wait holds one: Python's garbage collection walks
    all objects of 5,000 waits again and again, while none of them can poll.
    """

    __slots__ = ("_settings", "_shared", "_user_agent")

    def __init__(self, settings: SeedreamSettings, user_agent: str) -> None:
        self._settings = settings
        self._user_agent = user_agent

    async def __aenter__(self) -> "StatusClient":
        self._shared = shared = _joined()
        try:
            return await _client(shared, self._settings, self._user_agent)
        except BaseException:  # also if it is cancelled while the bundle is read
            await _left(shared)
            raise

    async def __aexit__(self, *error: object) -> None:
        await _left(self._shared)


async def _client(shared: _Shared, settings: SeedreamSettings, user_agent: str) -> "StatusClient":
    """The client of these settings; the first wait that asks for it makes it."""
    if (settings, user_agent) not in shared.clients:
        await asyncio.to_thread(trusted, settings.verify)
    # again: of those that waited for the thread, one makes it
    client = shared.clients.get((settings, user_agent))
    if client is None:
        client = shared.clients[settings, user_agent] = StatusClient(
            shared.session, settings, user_agent=user_agent
        )
    return client


@asynccontextmanager
async def shared_session() -> AsyncIterator[aiohttp.ClientSession]:
    """The running loop's session, opened by the first user and closed by the last.

    It carries no key: each client adds its own headers to each call.
    """
    shared = _joined()
    try:
        yield shared.session
    finally:
        await _left(shared)


def _joined() -> _Shared:
    """The session and the clients of the running loop, with one user more; opened for the first one.

    aiohttp binds a session to its loop, so a second loop of one process (a test, ``dag.test()``) gets one of
    its own.
    """
    loop = asyncio.get_running_loop()
    shared = _shared.get(loop)
    if shared is None:
        # No trust_env: it reads .netrc in a thread at every call. The proxy is passed by hand instead.
        shared = _shared[loop] = _Shared(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                auto_decompress=False,  # it knows fewer encodings than the hook: see _decoded
            )
        )
    shared.users += 1
    return shared


async def _left(shared: _Shared) -> None:
    """One user less; the last one closes the session."""
    shared.users -= 1
    if shared.users == 0:
        del _shared[asyncio.get_running_loop()]
        await shared.session.close()


class StatusClient:
    """Polls generations and the wallet through one connection.

    Example::

        async with shared_session() as session:
            # a GenerationStatus or a FailedPoll
            answer = await StatusClient(session, settings).poll("b1c2d3")

    :param session: of the running loop.
    :param settings: of the connection; their CA bundle must be read already, see :func:`trusted`.
    """

    def __init__(
        self, session: aiohttp.ClientSession, settings: SeedreamSettings, *, user_agent: str = TRIGGER_AGENT
    ) -> None:
        self._session = session
        self.settings = settings
        self._options: dict[str, Any] = {
            "headers": {**settings.headers, "User-Agent": user_agent},
            "proxy": settings.proxy,
            "ssl": trusted(settings.verify),
            "allow_redirects": False,
            "timeout": aiohttp.ClientTimeout(
                total=CONNECT_TIMEOUT_SECONDS + settings.request_timeout_seconds,
                sock_connect=CONNECT_TIMEOUT_SECONDS,
                sock_read=settings.request_timeout_seconds,  # silence, as in the hook
            ),
        }

    async def poll(self, seedream_task_id: str) -> GenerationStatus | FailedPoll:
        """One status call, sent once. An error is returned as a FailedPoll, not raised: a trigger must not
        fail for one.

        :param seedream_task_id: the API's id of the generation.
        """
        metrics.polled()
        try:
            return GenerationStatus.from_wire(
                await self._get_json(self.settings.status_url(seedream_task_id))
            )
        except SeedreamError as error:
            return failed_poll(error)

    async def poll_wallet(self) -> Wallet | FailedPoll:
        """One wallet call, sent once. An error is returned as a FailedPoll, not raised."""
        try:
            return Wallet.from_wire(await self._get_json(self.settings.url(contract.WALLET_PATH)))
        except SeedreamError as error:
            return failed_poll(error)

    async def _get_json(self, url: str) -> Any:
        """One GET, sent once: a poll that fails is repeated by the next poll.

        :raises SeedreamError: no answer, a refusal, or an answer that is no JSON.
        """
        try:
            async with self._session.get(url, **self._options) as answer:
                body = _decoded(await answer.read(), answer.headers)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise no_answer(self.settings.base_url, error) from None
        if not 200 <= answer.status < 300:
            metrics.answered(answer.status)
            key, now = self.settings.key, clock.now_epoch()
            raise error_from_answer(answer.status, answer.headers, body, key=key, now_epoch=now)
        return read_json(body, key=self.settings.key)


def _decoded(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The body without its Content-Encoding, by the library that does it for the hook.

    :raises ValueError: it cannot be decoded.
    """
    if not body or headers.get("Content-Encoding", "identity").lower() == "identity":
        return body
    from urllib3 import HTTPResponse
    from urllib3.exceptions import HTTPError

    encoded = HTTPResponse(
        io.BytesIO(body), headers={"Content-Encoding": headers["Content-Encoding"]}, preload_content=False
    )
    try:
        return encoded.read()
    except HTTPError as error:
        raise ValueError(f"its encoding is broken: {error}") from None


@cache
def trusted(verify: bool | str) -> Any:
    """The ``ssl`` argument for aiohttp. The first call for a bundle reads it (20 to 50 ms), so do not make it
    on the event loop.

    :param verify: as in requests: True, False, or the path of a CA bundle.
    :raises SeedreamInputError: the bundle cannot be read.
    """
    if isinstance(verify, bool):
        return verify
    import ssl

    with reading(verify) as (cafile, capath):
        return ssl.create_default_context(cafile=cafile, capath=capath)
