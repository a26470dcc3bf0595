"""The bytes of an image on their way out, whole or spoiled by a fault.

Knows bytes and sockets. It neither draws images nor checks links: ``storage`` has done both before.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator

from aiohttp import web

from airflow_provider_seedream.emulator.errors import HangupError
from airflow_provider_seedream.emulator.faults import Fault

_PIECE_BYTES = 64 * 1024
_DRIP_PIECES = 40
_NOT_AN_IMAGE = b"This is not an image, whatever its Content-Type says.\n" * 20


async def deliver(
    request: web.Request, fault: Fault | None, content: bytes, media_type: str
) -> web.StreamResponse:
    """Answer with an image, or with the bytes that the fault makes of it.

    :param fault: of stage ``image``; None for a whole image.
    :param content: the encoded image.
    :param media_type: of the ``Content-Type`` header; a fault may send other bytes under it.
    :raises HangupError: the fault ends the connection in the middle of the body.
    """
    half = content[: len(content) // 2]
    match fault.kind if fault else None:
        case "truncated":
            return await _announce_and_send(request, len(content), [half], media_type)
        case "wrong-length":
            return _whole(half, media_type)
        case "chunked-reset":
            await _chunked(request, [half], media_type)
            raise HangupError(reset=True)
        case "not-an-image":
            return _whole(_NOT_AN_IMAGE, media_type)
    return await _deliver_oddly(request, fault, content, media_type) if fault else _whole(content, media_type)


async def _deliver_oddly(
    request: web.Request, fault: Fault, content: bytes, media_type: str
) -> web.StreamResponse:
    """Answers that are whole by HTTP and odd by content: redirects, encodings, sizes, slowness."""
    match fault.kind:
        case "redirect":
            url = fault.url or str(fault.info.default)
            return web.Response(status=302, headers={"Location": url})
        case "gzip":
            # Also for a client that does not accept gzip: some servers compress all the same.
            return web.Response(
                body=gzip.compress(content), content_type=media_type, headers={"Content-Encoding": "gzip"}
            )
        case "trailing":
            return _whole(content + b"\x00" * int(fault.number("size_bytes")), media_type)
        case "huge":
            size_bytes = int(fault.number("size_bytes"))
            return await _announce_and_send(request, size_bytes, _padded(content, size_bytes), media_type)
        case "endless":
            return await _chunked(request, _padded(content, int(fault.number("size_bytes"))), media_type)
        case "drip":
            # Send an image in 40 pieces over so many seconds.
            response = web.StreamResponse(
                headers={"Content-Type": media_type, "Content-Length": str(len(content))}
            )
            await response.prepare(request)
            async for piece in _slowly(content, fault.number("seconds")):
                await response.write(piece)
            return response
    return _whole(content, media_type)  # other-type: the content itself was drawn as JPEG


def _whole(content: bytes, media_type: str) -> web.Response:
    """An answer with the right Content-Length for these bytes."""
    return web.Response(body=content, content_type=media_type)


async def _announce_and_send(
    request: web.Request, announced_bytes: int, pieces: list[bytes] | Iterator[bytes], media_type: str
) -> web.StreamResponse:
    """Send pieces under a Content-Length that need not be theirs, then close.

    :param announced_bytes: the value of the header; a client must notice that fewer bytes came.
    """
    response = web.StreamResponse(
        headers={"Content-Type": media_type, "Content-Length": str(announced_bytes)}
    )
    response.force_close()  # else a short body would leave the client waiting for the rest
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    return response


async def _chunked(
    request: web.Request, pieces: list[bytes] | Iterator[bytes], media_type: str
) -> web.StreamResponse:
    """Send pieces in chunks, without a Content-Length: the client learns the size only at the end."""
    response = web.StreamResponse(headers={"Content-Type": media_type})
    response.enable_chunked_encoding()
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    return response


async def _slowly(content: bytes, seconds: float) -> AsyncIterator[bytes]:
    """The pieces of an image, with a pause after each."""
    step = max(1, -(-len(content) // _DRIP_PIECES))
    for start in range(0, len(content), step):
        yield content[start : start + step]
        await asyncio.sleep(seconds / _DRIP_PIECES)


def _padded(content: bytes, size_bytes: int) -> Iterator[bytes]:
    """The image, then zeros up to the size, in pieces of 64 KB.

    Memory holds the image and one piece, so a test of a limit may ask for more bytes than the machine has.
    """
    head = content[:size_bytes]
    yield head
    left = size_bytes - len(head)
    zeros = bytes(_PIECE_BYTES)
    while left > 0:
        yield zeros[:left]
        left -= len(zeros[:left])
