"""The API client of the triggers: on the session that the event loop shares, with the key of a connection."""

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib import import_module
from threading import Event
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_seedream.rate_limit.queue import queue_for
from airflow_provider_seedream.triggers.paced_client import PacedClient

if TYPE_CHECKING:
    from airflow_provider_seedream.hooks.settings import SeedreamSettings

_CLIENT = "airflow_provider_seedream.hooks.async_status"
_CONNECTION = "airflow.providers.common.compat.connection"
LOOKUP_SECONDS = 1.0  # a lookup of a connection serves the triggers that ask within a second after it
# not sys.modules: it lists modules that are still being imported, for which an import would block the loop
_imported = Event()

_Lookup = asyncio.Task["SeedreamSettings"]
_asked: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Lookup]] = WeakKeyDictionary()


async def load_client() -> None:
    """Import the client's modules in a thread (about 0.15 s of CPU, once per process), so that the event loop
    goes on.

    A trigger calls it before it begins to wait, so that no poll is late because of an import.
    """
    if not _imported.is_set():
        await asyncio.to_thread(_import_client)


def paced_client(seedream_conn_id: str) -> AbstractAsyncContextManager[PacedClient, None]:
    """A client for GETs, paced where they count against the limit::

        async with paced_client("seedream_default") as client:
            answer = await client.poll("b1c2d3")

    The connection is read here, in the triggerer, so that no row of Airflow's database holds a key.

    :raises SeedreamInputError: when the connection is incomplete.
    """
    return _PacedClientOfWait(seedream_conn_id)


class _PacedClientOfWait:
    """The context manager of :func:`paced_client`. A class, as each wait holds one, and a generator would
    hold more objects.
    """

    __slots__ = ("_opened", "_seedream_conn_id")

    def __init__(self, seedream_conn_id: str) -> None:
        self._seedream_conn_id = seedream_conn_id

    async def __aenter__(self) -> PacedClient:
        await load_client()
        from airflow_provider_seedream.hooks.async_status import shared_client

        settings = await _settings(self._seedream_conn_id)
        counts = settings.status_counts_toward_limit
        queue = queue_for(self._seedream_conn_id, settings.requests_per_minute) if counts else None
        self._opened = shared_client(settings)
        return PacedClient(await self._opened.__aenter__(), queue)

    async def __aexit__(self, *error: object) -> None:
        await self._opened.__aexit__(None, None, None)


async def _settings(seedream_conn_id: str) -> "SeedreamSettings":
    """The settings of a connection. A lookup serves all triggers that ask while it is under way, or within a
    second after it.

    Airflow starts a thousand triggers at once, and 5,000 that wait ask 130 times a second: a lookup costs as
    much as several polls. A rotated key is seen up to a second later; each wait keeps the key with which it
    began to poll.
    """
    asked = _asked.setdefault(asyncio.get_running_loop(), {})
    if (lookup := asked.get(seedream_conn_id)) is None:
        lookup = asked[seedream_conn_id] = asyncio.create_task(_looked_up(seedream_conn_id))
        lookup.add_done_callback(partial(_forget, asked, seedream_conn_id))
    return await asyncio.shield(lookup)  # a cancelled trigger must not cancel the lookup of the others


def _forget(asked: dict[str, _Lookup], seedream_conn_id: str, lookup: _Lookup) -> None:
    """Forget a failure at once, so that the next trigger that asks sees a connection that was mended; an
    answer after a second.
    """
    if lookup.cancelled() or lookup.exception():
        del asked[seedream_conn_id]
    else:
        asyncio.get_running_loop().call_later(LOOKUP_SECONDS, asked.pop, seedream_conn_id)


async def _looked_up(seedream_conn_id: str) -> "SeedreamSettings":
    from airflow_provider_seedream.hooks.settings import SeedreamSettings

    return SeedreamSettings.from_connection(await _connection(seedream_conn_id))


async def _connection(seedream_conn_id: str) -> Any:
    """The connection, also in ``dag.test()``: its stand-in for the supervisor cannot be asked asynchronously
    (3.1 to 3.3.2), and Airflow then says that a connection in its database "isn't defined".

    :raises AirflowNotFoundException: there is none.
    """
    from airflow.providers.common.compat.connection import get_async_connection
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
    from asgiref.sync import sync_to_async

    try:
        return await get_async_connection(seedream_conn_id)
    except AirflowNotFoundException:
        return await sync_to_async(BaseHook.get_connection)(seedream_conn_id)


def _import_client() -> None:
    import_module(_CLIENT)
    import_module(_CONNECTION)
    _imported.set()
