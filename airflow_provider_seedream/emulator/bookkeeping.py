"""The middleware around every handler: the request goes into the books, a refusal becomes a body, a hang-up a
dead socket.

A client that goes away in the middle is expected here and leaves no traceback. Knows no rule of the API.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from airflow_provider_seedream.emulator.books import Area, Origin, RequestRecord
from airflow_provider_seedream.emulator.errors import HangupError, RefusalError, error_body, retry_after_value
from airflow_provider_seedream.emulator.links import object_name
from airflow_provider_seedream.emulator.world import World

ADMIN_PREFIX = "/__admin/"


def bookkeeping(world: World, origin: Origin) -> Middleware:
    """The middleware of one origin: notes each request on arrival and its status afterwards.

    Requests to ``/__admin/`` pass without a note. A request is noted before it is handled, so one whose
    answer never came is in the books, too, with the status None.

    :param world: its books take the notes, its settings shape the refusals.
    :param origin: of the server: ``api`` or ``storage``; they read paths in different ways.
    """

    @web.middleware
    async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
        if origin == "api" and request.path.startswith(ADMIN_PREFIX):
            return await handler(request)
        key = world.settings.key
        authorization = request.headers.get("Authorization", "")
        number = world.books.received(
            RequestRecord(
                at=world.clock.now(),
                origin=origin,
                area=area_of(origin, request.path),
                method=request.method,
                path=request.path,
                authorized=authorization == f"Bearer {key}",
                header_names=tuple(sorted({name.lower() for name in request.headers})),
                user_agent=request.headers.get("User-Agent", ""),
                body_bytes=request.content_length or 0,
                key_seen=key in request.query_string
                or any(key in value for value in request.headers.values()),
            )
        )
        status: int | None = None
        try:
            response = await _answered(world, origin, request, handler)
            status = response.status
            return response
        except (HangupError, ConnectionError) as gone:
            hang_up(request, reset=isinstance(gone, HangupError) and gone.reset)
            return web.Response()  # goes nowhere: the connection is closed
        finally:
            world.books.answered(number, status)

    return keep


async def _answered(
    world: World, origin: Origin, request: web.Request, handler: Handler
) -> web.StreamResponse:
    """The handler's answer, with refusals and unknown routes turned into error bodies."""
    try:
        return await handler(request)
    except RefusalError as refusal:
        return refused(world, refusal)
    except web.HTTPException as unrouted:
        # Note the violation behind a 404 or 405: a wrong method, a missing slash at the end, or an unknown
        # path.
        where = f"{request.method} {request.path}"
        if unrouted.status == 405:
            world.violated("method_not_allowed", where)
        elif not request.path.endswith("/") and area_of("api", request.path + "/") != "other":
            world.violated("no_trailing_slash", where)
        else:
            world.violated("unknown_path", where)
        code = "not_found" if unrouted.status == 404 else "method_not_allowed"
        # A page, as web servers in front of an API answer paths that it does not have.
        return refused(
            world,
            RefusalError(unrouted.status, code, unrouted.reason, shape="html" if origin == "api" else None),
        )


def refused(world: World, refusal: RefusalError) -> web.Response:
    """The answer to a refused request, in the shape that the refusal or the settings choose.

    :param world: its settings say the usual shape of errors and of ``Retry-After``.
    :param refusal: its own shape and form, where it has them, replace those of the settings.
    """
    settings = world.settings
    body = error_body(refusal.shape or settings.error_shape, refusal.code, refusal.message, refusal.field)
    headers = {"Content-Type": body.content_type}
    if refusal.retry_after_seconds is not None:
        form = refusal.retry_after_form or settings.retry_after
        # By the real clock: the client reads a date by its own clock, which a test does not advance.
        value = retry_after_value(form, refusal.retry_after_seconds, time.time())
        headers.update({"Retry-After": value} if value is not None else {})
    return web.Response(status=refusal.status, body=body.content, headers=headers)


async def answer_and_close(request: web.Request, response: web.Response) -> web.Response:
    """Answer without reading the rest of the body and close at once, as servers do that judge by the headers.

    The client is still sending by then. Over TLS it gets no close_notify, as with servers that close the bare
    socket.

    :returns: the response that was sent already, as the middleware expects one.
    """
    response.force_close()
    await response.prepare(request)
    await response.write_eof()
    # The answer must have left the buffer, or closing would drop it.
    while request.transport is not None and request.transport.get_write_buffer_size():
        await asyncio.sleep(0)
    hang_up(request, reset=False)
    return response


def hang_up(request: web.Request, *, reset: bool) -> None:
    """End the connection now, without a byte more.

    :param reset: True for RST instead of FIN: the client sees a reset, not an orderly end.
    """
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if reset and connection is not None:
        # A linger time of 0 makes the kernel send RST when the socket is closed.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def area_of(origin: Origin, path: str) -> Area:
    """The part of the API that a path belongs to, by its shape alone; ``other`` if it belongs to none.

    Handlers are not asked: a path with a wrong method, or a deleted generation, belongs to its area as well.

    :param path: without the query.
    """
    if origin == "storage":
        name = object_name(path)
        if name is None:
            return "other"
        return "thumbnail" if name.thumbnail else "download"
    if path.startswith("/v1/generation-request/") and path.endswith("/status/"):
        return "status"
    known: dict[str, Area] = {
        "/v1/images/seedream/v5/lite/generate/": "generate",
        "/v1/images/seedream/v5/lite/edit/": "edit",
        "/account/user/wallet/": "wallet",
    }
    return known.get(path, "other")
