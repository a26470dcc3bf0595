#!/bin/bash
# Four Python clients send one signed link as four different texts.
#
# Expected: a pre-signed link is opaque: its signature covers the text, so a client sends the text it was given. All of it is valid (RFC 3986).
# Happens: requests decodes %7E and %41 and writes %2f as %2F; aiohttp besides decodes %2f and %3A in the query; urllib3 alone only
#   changes the case; httpx sends it as it stands. A server that signs the exact text answers 403, on every retry with a fresh link too.
#   aiohttp: yarl.URL(link, encoded=True). requests: no option; the prepared request's url can be set, urllib3 below still writes %2F.
# Version: requests 2.34.2, urllib3 2.8.0, aiohttp 3.14.5, httpx 0.28.1 (PyPI).
# Source: run here; requests.utils.requote_uri, urllib3.util.url._encode_invalid_chars, yarl's quoting.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check requests==2.34.2 urllib3==2.8.0 aiohttp==3.14.5 httpx==0.28.1 2>/dev/null
venv/bin/python - <<'EOF'
import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import requests
import urllib3
import yarl

heard: list[str] = []


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        heard.append(self.requestline.split()[1])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
text = "/%7Efox/%41%2fb.png?name=a%2fb&date=10%3A30&sig=%7E%41"
link = f"http://127.0.0.1:{server.server_port}{text}"


async def with_aiohttp(url: object) -> None:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        await answer.read()


clients = {
    "httpx": lambda: httpx.get(link, trust_env=False),
    "urllib3": lambda: urllib3.PoolManager().request("GET", link),
    "requests": lambda: requests.get(link, proxies={"http": ""}),
    "aiohttp": lambda: asyncio.run(with_aiohttp(link)),
    "aiohttp, encoded=True": lambda: asyncio.run(with_aiohttp(yarl.URL(link, encoded=True))),
}
print(f"requests {requests.__version__}, urllib3 {urllib3.__version__}, aiohttp {aiohttp.__version__}, httpx {httpx.__version__}")
print(f"{'the link':23}{text}")
for client, get in clients.items():
    get()
    print(f"{client:23}{heard[-1]}")
server.shutdown()
assert heard == [
    text,
    "/%7Efox/%41%2Fb.png?name=a%2Fb&date=10%3A30&sig=%7E%41",
    "/~fox/A%2Fb.png?name=a%2Fb&date=10%3A30&sig=~A",
    "/~fox/A%2Fb.png?name=a/b&date=10:30&sig=~A",
    text,
]
print("AS DESCRIBED")
EOF
