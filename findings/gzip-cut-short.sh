#!/bin/bash
# Half a gzip answer is a whole answer.
#
# Expected: gzip ends with a checksum and the length of its content, so a client that decodes `Content-Encoding: gzip` notices that the
#   connection ended in the middle. Python's own gzip module does: EOFError.
# Happens: where the answer ends with its connection (no Content-Length, which RFC 9112 allows and servers that compress on the fly do),
#   requests, httpx, aiohttp and fsspec's https file system return what came until then, status 200, no error. Of 20,000 JSON lines 10,007
#   are there; in a CSV nothing would look odd.
# Version: requests 2.34.2 with urllib3 2.8.0, httpx 0.28.1, aiohttp 3.14.5, fsspec 2026.9.0 (PyPI).
# Source: run here; GzipDecoder.flush in urllib3/response.py and GZipDecoder.flush in httpx/_decoders.py do not ask the decompressor
#   whether it has seen the end (`eof`); DeflateBuffer.feed_eof in aiohttp/http_parser.py asks for "deflate", and not for "gzip".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5 fsspec==2026.9.0 2>/dev/null
venv/bin/python - <<'EOF'
import asyncio
import gzip
import json
import socket
import threading
from importlib.metadata import version

import aiohttp
import fsspec
import httpx
import requests

whole = "".join(json.dumps({"row": row, "sha": f"{row * 2654435761:032x}"}) + "\n" for row in range(20_000)).encode()
packed = gzip.compress(whole, mtime=0)
listener = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listener.getsockname()[1]}/lines.jsonl"


def serve():
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
        connection.sendall(head + packed[: len(packed) // 2])
        connection.close()


async def with_aiohttp():
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.read()


def with_fsspec():
    with fsspec.open(url) as file:
        return 200, file.read()


threading.Thread(target=serve, daemon=True).start()
by_requests, by_httpx = requests.get(url), httpx.get(url)
answers = {
    "requests": (by_requests.status_code, by_requests.content),
    "httpx": (by_httpx.status_code, by_httpx.content),
    "aiohttp": asyncio.run(with_aiohttp()),
    "fsspec": with_fsspec(),
}
for library, (status, content) in answers.items():
    print(f"{library} {version(library)}: {status}, {content.count(bytes([10])):,} of {whole.count(bytes([10])):,} lines, no error")
    assert status == 200
    assert 0 < len(content) < len(whole)
    assert whole.startswith(content)
try:
    gzip.decompress(packed[: len(packed) // 2])
except EOFError as error:
    print("gzip.decompress:", repr(error))
else:
    raise SystemExit("gzip.decompress took half of it, too")
EOF
echo "AS DESCRIBED"
