#!/bin/bash
# httpx and aiohttp hand out compressed bytes for `Content-Encoding: x-gzip`, with no error.
#
# Expected: "A recipient SHOULD consider "x-gzip" to be equivalent to "gzip"" (RFC 9110, 8.4.1.3). Object stores give back the
#   Content-Encoding that was set at upload, whatever the client accepts, so an unusual spelling reaches every reader.
# Happens: requests and urllib3 decode it (urllib3#3174). httpx and aiohttp return the gzip stream as the body: the length is right,
#   the status is 200, json() fails far from the cause, an image is "no image". aiohttp does the same with `gzip, gzip` (aio-libs/aiohttp#13364).
# Version: requests 2.34.2 (urllib3 2.8.0), aiohttp 3.14.5, httpx 0.28.1 (PyPI).
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check requests==2.34.2 urllib3==2.8.0 aiohttp==3.14.5 httpx==0.28.1 2>/dev/null
venv/bin/python - <<'EOF'
import asyncio
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import requests

BODY = b'{"status": "FINISHED"}'


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = gzip.compress(BODY)
        self.send_response(200)
        self.send_header("Content-Encoding", self.path.strip("/"))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()


async def with_aiohttp(url: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.read()


clients = {
    "requests": lambda url: requests.get(url, proxies={"http": ""}).content,
    "httpx": lambda url: httpx.get(url, trust_env=False).content,
    "aiohttp": lambda url: asyncio.run(with_aiohttp(url)),
}
print(f"requests {requests.__version__}, httpx {httpx.__version__}, aiohttp {aiohttp.__version__}")
seen = {}
for coding in ("gzip", "x-gzip"):
    for client, get in clients.items():
        body = get(f"http://127.0.0.1:{server.server_port}/{coding}")
        seen[coding, client] = "decoded" if body == BODY else "gzip bytes" if body[:2] == b"\x1f\x8b" else "?"
        print(f"{coding:8}{client:10}{seen[coding, client]:12}{body[:24]!r}")
server.shutdown()
assert list(seen.values()) == ["decoded"] * 4 + ["gzip bytes"] * 2
print("AS DESCRIBED")
EOF
