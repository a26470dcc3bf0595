"""A server that costs next to nothing, so that a benchmark sees the client: status calls, submissions, image
links, over https.

``python -m tests.benchmarks.server CERTIFICATE LATENCY_SECONDS`` runs it in a process of its own and prints
its port. It notes when each status call arrived; ``GET /arrivals`` says it and forgets it.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import struct
import sys
import time
import uuid
import zlib
from collections import defaultdict
from functools import cache

from aiohttp import web

_FINISHED = json.dumps(
    {
        "status": "FINISHED",
        "progress": 100,
        "failure_reason": None,
        "results": [{"asset": "https://127.0.0.1/a.png"}],
    }
).encode()
_PENDING = json.dumps(
    {"status": "IN_PROGRESS", "progress": 10, "failure_reason": None, "results": []}
).encode()


class NullServer:
    """Answers as the API and as its storage would, after ``latency_seconds`` where it is the API."""

    def __init__(self, latency_seconds: float) -> None:
        self._latency_seconds = latency_seconds
        self._arrivals: defaultdict[str, list[float]] = defaultdict(list)

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/v1/generation-request/{id}/status/", self.status),
            web.get("/missing/{id}", self.missing),
            web.post("/v1/images/seedream/v5/lite/edit/", self.submit),
            web.get("/images/{size_bytes}/{number}", self.image),
            web.get("/arrivals", self.arrivals),
        ]

    async def status(self, request: web.Request) -> web.Response:
        self._arrivals[request.match_info["id"]].append(time.time())
        await asyncio.sleep(self._latency_seconds)
        ready_at = ready_epoch(request.match_info["id"])
        body = _PENDING if ready_at is None or time.time() < ready_at else _FINISHED
        return web.Response(body=body, content_type="application/json")

    async def missing(self, request: web.Request) -> web.Response:
        self._arrivals[request.match_info["id"]].append(time.time())
        await asyncio.sleep(self._latency_seconds)
        return web.Response(status=404)

    async def submit(self, request: web.Request) -> web.Response:
        received = 0
        async for chunk in request.content.iter_any():
            received += len(chunk)
        return web.json_response(
            {"task_id": str(uuid.uuid4()), "created_at": None, "received_bytes": received}
        )

    async def image(self, request: web.Request) -> web.Response:
        return web.Response(body=png(int(request.match_info["size_bytes"])), content_type="image/png")

    async def arrivals(self, request: web.Request) -> web.Response:
        noted, self._arrivals = self._arrivals, defaultdict(list)
        return web.json_response(noted)


def job_id(number: int, ready_at: float | None = None) -> str:
    """An id in the form of the API's, which holds when the job is ready; without an instant it never is."""
    return str(uuid.UUID(int=(int((ready_at or 0) * 1000) << 64) + number))


def ready_epoch(job: str) -> float | None:
    return (uuid.UUID(job).int >> 64) / 1000 or None


@cache
def png(size_bytes: int) -> bytes:
    """A PNG of about this size: one pixel, and a private chunk of noise."""
    noise = _chunk(b"noIs", os.urandom(size_bytes - 80))
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + noise + _chunk(b"IDAT", zlib.compress(b"\0\0")) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


async def _serve(certificate: str, latency_seconds: float) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    app = web.Application(client_max_size=0)
    app.add_routes(NullServer(latency_seconds).routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls, backlog=2048).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2])))
