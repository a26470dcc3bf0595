"""``/__admin/`` on the API origin: the books, faults, clock and settings of an emulator in another process.

The only paths the real API lacks. They take no key and do not appear in the books.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from airflow_provider_seedream.emulator.clock import iso
from airflow_provider_seedream.emulator.faults import Fault
from airflow_provider_seedream.emulator.world import World


class Admin:
    """The handlers below ``/__admin/``::

        $ curl -X POST http://127.0.0.1:8123/__admin/clock/advance -d '{"seconds": 86400}'

    A wrong body is answered with 400 and a line of text that says why.

    :param world: the account that the calls read and change.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.AbstractRouteDef]:
        """All paths, in the order in which ``GET /__admin/`` lists them."""
        return [
            web.get("/__admin/", self.index),
            web.get("/__admin/books", self.books),
            web.get("/__admin/counters", self.counters),
            web.get("/__admin/faults", self.faults),
            web.post("/__admin/faults", self.inject),
            web.delete("/__admin/faults", self.clear_faults),
            web.get("/__admin/clock", self.clock),
            web.post("/__admin/clock/advance", self.advance),
            web.get("/__admin/settings", self.settings),
            web.patch("/__admin/settings", self.configure),
            web.post("/__admin/reset", self.reset),
        ]

    async def index(self, request: web.Request) -> web.Response:
        """``GET /__admin/``: the list of these calls."""
        routes = [route for route in self.routes() if isinstance(route, web.RouteDef)]
        return web.json_response([f"{route.method} {route.path}" for route in routes])

    async def books(self, request: web.Request) -> web.Response:
        """``GET /__admin/books``: everything in the books, as :meth:`Books.to_dict` has it."""
        self._world.balance_credits()  # refunds that have fallen due belong in the books
        return web.json_response(self._world.books.to_dict())

    async def counters(self, request: web.Request) -> web.Response:
        """``GET /__admin/counters``: the numbers of the books, and the balance."""
        balance = self._world.balance_credits()
        return web.json_response({**self._world.books.counters(), "balance_credits": balance})

    async def faults(self, request: web.Request) -> web.Response:
        """``GET /__admin/faults``: the faults that may still strike."""
        return web.json_response([fault.to_dict() for fault in self._world.faults.active])

    async def inject(self, request: web.Request) -> web.Response:
        """``POST /__admin/faults``: a fault or a list of them; answers the faults in force.

        :raises HTTPBadRequest: a kind or a field is unknown. Then no fault of the list comes into force.
        """
        body = await _json(request)
        try:
            # All are read before the first is injected, so a list is taken as a whole or not at all.
            faults = [Fault.from_dict(value) for value in (body if isinstance(body, list) else [body])]
        except (TypeError, ValueError) as wrong:
            raise _bad_request(wrong) from wrong
        self._world.inject(*faults)
        return await self.faults(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        """``DELETE /__admin/faults``: ends all faults."""
        self._world.faults.clear()
        return await self.faults(request)

    async def clock(self, request: web.Request) -> web.Response:
        """``GET /__admin/clock``: the time, in epoch seconds and as text, and how far it is ahead of the
        real time.
        """
        now = self._world.clock.now()
        return web.json_response(
            {"now": now, "iso": iso(now), "ahead_seconds": self._world.clock.ahead_seconds}
        )

    async def advance(self, request: web.Request) -> web.Response:
        """``POST /__admin/clock/advance``: moves the clock forward by ``{"seconds": ...}``; answers the new
        time.

        :raises HTTPBadRequest: ``seconds`` is missing, is not a number, or is negative.
        """
        try:
            self._world.clock.advance(float((await _json(request))["seconds"]))
        except (KeyError, TypeError, ValueError) as wrong:
            raise _bad_request(wrong) from wrong
        return await self.clock(request)

    async def settings(self, request: web.Request) -> web.Response:
        """``GET /__admin/settings``: every setting in force."""
        return web.json_response(self._world.settings.to_dict())

    async def configure(self, request: web.Request) -> web.Response:
        """``PATCH /__admin/settings``: changes the settings in the body; answers them all.

        :raises HTTPBadRequest: a name or a type is wrong. Then no setting is changed.
        """
        try:
            self._world.configure(dict(await _json(request)))
        except (TypeError, ValueError) as wrong:
            raise _bad_request(wrong) from wrong
        return await self.settings(request)

    async def reset(self, request: web.Request) -> web.Response:
        """``POST /__admin/reset``: a new account with the settings as they are; answers its counters."""
        self._world.reset()
        return await self.counters(request)


async def _json(request: web.Request) -> Any:
    """The body of a request.

    :raises HTTPBadRequest: it is not JSON.
    """
    try:
        return await request.json()
    except ValueError as wrong:
        raise _bad_request(wrong) from wrong


def _bad_request(wrong: Exception) -> web.HTTPBadRequest:
    """The 400 of an error: its class and its text on one line."""
    return web.HTTPBadRequest(text=f"{type(wrong).__name__}: {wrong}\n")
