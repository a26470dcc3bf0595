"""What every trigger of ours needs to ask the API: a client on the loop's shared session, with the key of a connection."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module

from airflow_provider_seedream.triggers.looks import Looks
from airflow_provider_seedream.triggers.queue import queue_for

_CLIENT = "airflow_provider_seedream.hooks.async_status"
_CONNECTION = "airflow.providers.common.compat.connection"


@asynccontextmanager
async def status_client(seedream_conn_id: str) -> AsyncIterator[Looks]:
    """A client for GETs, paced where they count against the limit; the key is looked up where it runs.

    :raises SeedreamInputError: when the connection is incomplete.
    """
    if _CLIENT not in sys.modules:
        await asyncio.to_thread(_import_client)
    from airflow.providers.common.compat.connection import get_async_connection

    from airflow_provider_seedream.hooks.async_status import StatusClient, shared_session
    from airflow_provider_seedream.hooks.settings import SeedreamSettings

    settings = SeedreamSettings.from_connection(await get_async_connection(seedream_conn_id))
    async with shared_session() as session:
        counts = settings.status_counts_toward_limit
        queue = queue_for(seedream_conn_id, settings.requests_per_minute) if counts else None
        yield Looks(StatusClient(session, settings), queue)


def _import_client() -> None:
    """Off the loop: the first import takes longer (~0.15 s of CPU) than Airflow lets a trigger block it without a warning."""
    import_module(_CLIENT)
    import_module(_CONNECTION)
