#!/bin/bash
# requests, urllib3 and urllib take `103 Early Hints` for the answer, and the answer itself is lost.
#
# Expected: "A client MUST be able to parse one or more 1xx responses received prior to a final response" (RFC 9110, 15.2).
# Happens: http.client skips 100 alone. requests and urllib3 return 103 (or 102 Processing) with an empty body; raise_for_status() is
#   content. urllib.request raises HTTPError 103. The 201 with the id of what was created and paid for is read by nobody.
#   httpx and aiohttp skip them. CDNs send 103 on their own: it comes when a proxy is switched on, not when code changes.
# Version: requests 2.34.2, urllib3 2.8.0, httpx 0.28.1, aiohttp 3.14.5 (PyPI).
# Source: run here; http.client.HTTPResponse.begin ("skip the header from the 100 response").
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5 2>/dev/null
venv/bin/python - <<'EOF'
import asyncio
import platform
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import requests
import urllib3


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response_only(103)
        self.send_header("Link", "</style.css>; rel=preload; as=style")
        self.end_headers()
        self.send_response(201)
        self.send_header("Content-Length", "11")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b'{"id": "7"}')

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"


async def with_aiohttp() -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.post(url, data=b"{}") as answer:
        return answer.status, await answer.read()


def with_urllib() -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, b"{}") as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def pair(answer: object, body: str) -> tuple[int, bytes]:
    return getattr(answer, "status_code", None) or answer.status, getattr(answer, body)


seen = {
    "requests": pair(requests.post(url, b"{}", proxies={"http": ""}), "content"),
    "urllib3": pair(urllib3.PoolManager().request("POST", url, body=b"{}"), "data"),
    "urllib": with_urllib(),
    "httpx": pair(httpx.post(url, content=b"{}", trust_env=False), "content"),
    "aiohttp": asyncio.run(with_aiohttp()),
}
server.shutdown()
print(f"Python {platform.python_version()}, requests {requests.__version__}, httpx {httpx.__version__}, aiohttp {aiohttp.__version__}")
for client, (status, body) in seen.items():
    print(f"{client:10}{status} {body!r}")
assert list(seen.values()) == [(103, b"")] * 3 + [(201, b'{"id": "7"}')] * 2
print("AS DESCRIBED")
EOF
