#!/bin/bash
# Over TLS, requests loses the answer of a server that refuses a large POST before it has read it.
#
# Expected: the same as over plain http, where requests returns the 402 (or 401, 413, 429): urllib3 catches BrokenPipeError while it sends
#   ("the server is legitimately able to close the connection after sending a valid response") and goes on to read the answer.
# Happens: over https the same write fails with ssl.SSLEOFError instead, which urllib3 does not catch: SSLError, no status, no body. Whether
#   the server has taken a paid request can no longer be told, although it said no. The larger the body, the surer. httpx reads the answer.
#   A connection class whose send() turns SSLEOFError into BrokenPipeError reads it too.
# Version: requests 2.34.2, urllib3 2.8.0, httpx 0.28.1, gunicorn 27.0.1 as the server, trustme 1.2.1 for its certificate (PyPI).
# Source: run here; urllib3.connectionpool.HTTPConnectionPool._make_request.
set -euo pipefail
dir=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 gunicorn==27.0.1 trustme==1.2.1 2>/dev/null
cat >app.py <<'EOF'
def app(environ, start_response):  # reads no body
    start_response("402 Payment Required", [("Content-Length", "4")])
    return [b"poor"]
EOF
venv/bin/python -c '
import trustme
ca = trustme.CA()
ca.cert_pem.write_to_path("ca.pem")
ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path("server.pem")'
for scheme in http https; do
  port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
  tls=()
  [ $scheme = http ] || tls=(--certfile server.pem --keyfile server.pem)
  venv/bin/gunicorn --bind "127.0.0.1:$port" --log-level critical "${tls[@]}" app:app &
  server=$!
  SCHEME=$scheme PORT=$port venv/bin/python - <<'EOF'
import collections
import os
import socket
import ssl
import time

import httpx
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

scheme, port = os.environ["SCHEME"], int(os.environ["PORT"])
for _ in range(200):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        break
    except OSError:
        time.sleep(0.1)


class Connection(HTTPSConnection):
    def send(self, data):
        try:
            super().send(data)
        except ssl.SSLEOFError as error:
            raise BrokenPipeError(str(error)) from error


class Pool(HTTPSConnectionPool):
    ConnectionCls = Connection


class Adapter(HTTPAdapter):
    def init_poolmanager(self, *args, **options):
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self.poolmanager.pool_classes_by_scheme | {"https": Pool}


session, url, body = requests.Session(), f"{scheme}://127.0.0.1:{port}/", bytes(14_000_000)
session.mount("https://", Adapter())
trusted = ssl.create_default_context(cafile="ca.pem")
seen = {}
for client, post in {
    "requests": lambda: requests.post(url, body, verify="ca.pem", timeout=30).status_code,
    "send() mended": lambda: session.post(url, body, verify="ca.pem", timeout=30).status_code,
    "httpx": lambda: httpx.post(url, content=body, verify=trusted, timeout=30, trust_env=False).status_code,
}.items():
    seen[client] = collections.Counter()
    for _ in range(8):
        try:
            seen[client][post()] += 1
        except (requests.RequestException, httpx.HTTPError) as error:
            seen[client][f"{type(error).__name__} {str(error)[-60:]}"] += 1
    print(f"{scheme:6}requests {requests.__version__}  {client:14}", dict(seen[client]))
assert seen["httpx"][402] == 8
if scheme == "http":
    assert seen["requests"][402] == 8
else:
    assert seen["requests"][402] <= 2 and "EOF occurred" in str(seen["requests"])
    assert seen["send() mended"][402] >= 6
EOF
  kill $server
  wait $server || true
done
echo "AS DESCRIBED"
