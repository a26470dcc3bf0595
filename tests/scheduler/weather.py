"""Bad weather between Airflow and the servers: an API that cannot be reached for a while, a store that
answers 503 now and then.

Both are proxies on 127.0.0.1 in front of the real servers, each in a thread of its own; the test turns the
weather.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

T = TypeVar("T")
_NOT_FORWARDED = {"transfer-encoding", "connection", "keep-alive"}


class Loop:
    """An event loop in a thread, for servers that a test controls."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, act: Coroutine[Any, Any, T]) -> T:
        """Run it in the loop, and wait for its end."""
        return asyncio.run_coroutine_threadsafe(act, self._loop).result(30)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class Gate:
    """A line to the API. Shut: connections are refused, and those that were open break."""

    def __init__(self, loop: Loop, to_port: int) -> None:
        self._loop, self._to_port = loop, to_port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.open()

    def open(self) -> None:
        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=1024)

        self._server = self._loop.do(listen())
        self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        async def close() -> None:
            assert self._server is not None
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()

        self._loop.do(close())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        self._open.add(writer)
        with suppress(OSError):
            await asyncio.wait(
                [
                    asyncio.ensure_future(_pump(reader, to_writer)),
                    asyncio.ensure_future(_pump(to_reader, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        self._open.discard(writer)
        writer.close()
        to_writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()


class Storm:
    """A line to a store over HTTP. A share of the requests is answered 503; of those, every other one has
    reached the store first.

    :param share: 0 to 1; the test may change it at any time.
    """

    def __init__(self, loop: Loop, to_port: int, chance: random.Random) -> None:
        self._loop, self._to_port, self._chance = loop, to_port, chance
        self.share = 0.0
        self.refused = 0
        self.port = loop.do(self._serve())

    async def _serve(self) -> int:
        self._session = ClientSession(
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=60),
            skip_auto_headers=("User-Agent",),
        )
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    def end(self) -> None:
        async def close() -> None:
            await self._runner.cleanup()
            await self._session.close()

        self._loop.do(close())

    async def _answer(self, request: web.Request) -> web.Response:
        falls = self._chance.random() < self.share
        self.refused += falls
        if falls and self._chance.random() < 0.5:
            return _slow_down()
        with suppress(OSError):  # a killed client
            return await self._forwarded(request, falls)
        return _slow_down()

    async def _forwarded(self, request: web.Request, falls: bool) -> web.Response:
        url = URL(f"http://127.0.0.1:{self._to_port}{request.raw_path}", encoded=True)
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in _NOT_FORWARDED
        }
        async with self._session.request(
            request.method, url, headers=headers, data=await request.read() or None, allow_redirects=False
        ) as answer:
            body = await answer.read()
        if falls:  # the store has done it, and the client does not know
            return _slow_down()
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_FORWARDED}
        if request.method != "HEAD":
            kept.pop("Content-Length", None)
        return web.Response(
            status=answer.status, headers=kept, body=body if request.method != "HEAD" else None
        )


def _slow_down() -> web.Response:
    return web.Response(
        status=503, text="<Error><Code>SlowDown</Code></Error>", content_type="application/xml"
    )


@contextmanager
def weather(api_port: int, store_port: int, chance: random.Random) -> Iterator[tuple[Gate, Storm]]:
    """Both lines, in fine weather, until the block ends."""
    loop = Loop()
    gate, storm = Gate(loop, api_port), Storm(loop, store_port, chance)
    try:
        yield gate, storm
    finally:
        gate.shut()
        storm.end()
        loop.end()
