"""The emulator as one object: two origins on 127.0.0.1, served from a background thread with its own event
loop.

Tests and the command line use this class alone; everything on it may be called from any thread.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from aiohttp import web

from airflow_provider_seedream.emulator.admin import Admin
from airflow_provider_seedream.emulator.api import Api
from airflow_provider_seedream.emulator.bookkeeping import bookkeeping
from airflow_provider_seedream.emulator.books import Books
from airflow_provider_seedream.emulator.certificate import Certificate
from airflow_provider_seedream.emulator.clock import Clock
from airflow_provider_seedream.emulator.faults import Fault, Faults
from airflow_provider_seedream.emulator.pictures import Pictures
from airflow_provider_seedream.emulator.settings import Settings
from airflow_provider_seedream.emulator.storage import Storage
from airflow_provider_seedream.emulator.world import World

HOST = "127.0.0.1"


class Emulator:
    """A stand-in for the Seedream API and its storage, for one test or one demo::

        with Emulator() as emulator:
            os.environ["AIRFLOW_CONN_SEEDREAM_DEFAULT"] = emulator.airflow_connection_json()
            ...  # run a DAG
            assert emulator.books.posts == 1  # paid once

    :param settings: the real API's behaviour by default; ``Settings.fast()`` for tests.
    :param port: of the API on 127.0.0.1; 0 takes a free one.
    :param storage_port: of the image links; 0 takes a free one.
    """

    def __init__(self, settings: Settings | None = None, *, port: int = 0, storage_port: int = 0) -> None:
        self._world = World(settings or Settings())
        self._ports = (port, storage_port)
        self._url = ""
        self._certificate: Certificate | None = None  # while it serves https
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="seedream-emulator", daemon=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Listen on both ports; returns when both accept connections.

        :raises OSError: a port is taken.
        :returns: the emulator itself, so that ``emulator = Emulator().start()`` works.
        """
        if self.settings.tls:
            self._certificate = Certificate()
        self._thread.start()
        # Also set after a failure, or a port that is taken would hang the caller.
        self._ready.wait()
        if self._failure is not None:
            self.stop()
            raise self._failure
        return self

    def stop(self) -> None:
        """Close both ports and end the thread. Safe to call twice.

        Requests that are under way are cut off after 0.2 s. The books can still be read.
        """
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._certificate is not None:
            self._certificate.remove()

    @property
    def url(self) -> str:
        """The base URL of the API, without a trailing slash."""
        return self._url

    @property
    def storage_url(self) -> str:
        """The base URL of the links to images and thumbnails."""
        return self._world.storage_url

    @property
    def ca_file(self) -> str | None:
        """The file that https clients must trust, while it runs; None where it speaks http."""
        return None if self._certificate is None else str(self._certificate.ca_file)

    @property
    def key(self) -> str:
        """The API key that it accepts."""
        return self._world.settings.key

    @property
    def settings(self) -> Settings:
        """The settings in force; ``configure`` changes them."""
        return self._world.settings

    @property
    def books(self) -> Books:
        """Requests, submissions, charges and violations so far, with the refunds that have fallen due."""
        self._world.balance_credits()  # refunds that have fallen due belong in the books
        return self._world.books

    @property
    def faults(self) -> Faults:
        """The faults in force; :meth:`inject` adds to them."""
        return self._world.faults

    @property
    def clock(self) -> Clock:
        """Its clock, which can be advanced."""
        return self._world.clock

    @property
    def balance_credits(self) -> int:
        """Credits in the wallet now, refunds included."""
        return self._world.balance_credits()

    def configure(self, **changes: Any) -> None:
        """Change some settings while it runs, for example ``configure(rate_limit_per_minute=3)``.

        :raises ValueError: a setting is unknown, has a wrong value, or is ``tls``.
        """
        self._world.configure(changes)

    def inject(self, fault: Fault | str, **details: Any) -> None:
        """Put a fault in force: ``inject("refuse", endpoint="status", status=503, times=3)``.

        :raises ValueError: the kind or the endpoint does not exist.
        :param fault: a :class:`Fault`, or the name of its kind.
        :param details: the fields of the fault, if its kind is given by name.
        """
        self._world.inject(Fault(fault, **details) if isinstance(fault, str) else fault)

    def reset(self) -> None:
        """Empty books, no faults, a full wallet, real time; the settings stay."""
        self._world.reset()

    def airflow_connection_json(self) -> str:
        """A value for ``AIRFLOW_CONN_SEEDREAM_DEFAULT``, with the CA file if it speaks https.

        Example::

            monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", emulator.airflow_connection_json())
        """
        trust = {"extra": {"verify": self.ca_file}} if self.ca_file else {}
        return json.dumps({"conn_type": "seedream", "host": self.url, "password": self.key, **trust})

    def connection_uri(self) -> str:
        """The same connection in Airflow's URI form, e.g. for ``airflow connections add --conn-uri``."""
        trust = f"?verify={quote(self.ca_file, safe='')}" if self.ca_file else ""
        return f"seedream://:{quote(self.key, safe='')}@{quote(self.url, safe='')}/{trust}"

    def _run(self) -> None:
        """The thread: serve until :meth:`stop`, or hand the failure to :meth:`start`."""
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # handed to the thread that called start()
            self._failure = failure
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        """Listen on both ports, say that they are ready, and clean up at the end."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        pictures = Pictures()
        tls = self._certificate.context() if self._certificate else None
        runners: list[web.AppRunner] = []
        try:
            # No limit of aiohttp's own: the settings say how large a body may be, and the answer has the
            # API's shape.
            api = web.Application(middlewares=[bookkeeping(self._world, "api")], client_max_size=0)
            api.add_routes([*Api(self._world).routes(), *Admin(self._world).routes()])
            storage = web.Application(middlewares=[bookkeeping(self._world, "storage")])
            storage.add_routes(Storage(self._world, pictures).routes())
            for app, port in zip((api, storage), self._ports, strict=True):
                runners.append(await _listen(app, port, tls))
            self._url, self._world.storage_url = (_origin(runner, tls) for runner in runners)
            self._ready.set()
            await self._stop.wait()
        finally:
            for runner in runners:
                await runner.cleanup()
            pictures.close()


async def _listen(app: web.Application, port: int, tls: ssl.SSLContext | None) -> web.AppRunner:
    """Begin to listen. A port that is taken leaves nothing open behind it."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, backlog=1024, ssl_context=tls).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


def _origin(runner: web.AppRunner, tls: ssl.SSLContext | None) -> str:
    """The address at which a server was bound, as the port 0 is chosen by the system."""
    host, port = runner.addresses[0][:2]
    return f"{'https' if tls else 'http'}://{host}:{port}"
