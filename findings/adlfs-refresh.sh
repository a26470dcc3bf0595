#!/bin/bash
# adlfs ignores ls(refresh=True), fsspec's documented way past its cache; its own keyword is another one.
#
# Expected: `fs.ls(path, refresh=True)` asks the store again, as s3fs and gcsfs do ("May use refresh=True|False to allow use of
#   self._ls_from_cache to check for a saved listing", AbstractFileSystem.ls).
# Happens: adlfs takes the keyword, drops it, and answers from its cache: a blob that another process wrote is missing, one that was
#   deleted is still listed, and exists() says True of it while cat_file() raises FileNotFoundError. Its own keyword is
#   invalidate_cache=True, which is a TypeError in s3fs. fs.invalidate_cache() before the call works with all of them.
# Version: adlfs 2026.8.0 with fsspec 2026.9.0 (PyPI), against azurite 3.37.0 (npm).
# Source: run here; `_ls` in adlfs/spec.py.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
server=
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check adlfs==2026.8.0 fsspec==2026.9.0 2>/dev/null
npm install --silent --no-audit --no-fund azurite@3.37.0 >/dev/null 2>&1
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
node_modules/.bin/azurite-blob --inMemoryPersistence --skipApiVersionCheck --disableTelemetry --silent \
  --blobHost 127.0.0.1 --blobPort "$port" >/dev/null 2>&1 &
server=$!
PORT=$port venv/bin/python - <<'EOF'
import os
import socket
import time
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
from adlfs import AzureBlobFileSystem

port = int(os.environ["PORT"])
for _ in range(300):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        break
    except OSError:
        time.sleep(0.1)
key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's own, public
url = f"http://127.0.0.1:{port}/devstoreaccount1"
account = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};BlobEndpoint={url};"


def process() -> AzureBlobFileSystem:
    return AzureBlobFileSystem(connection_string=account, skip_instance_cache=True)


mine, other = process(), process()
other.mkdir("box")
other.pipe_file("box/d/one", b"1")
print("adlfs", version("adlfs"))
print("one blob:            ", mine.ls("box/d", detail=False))
other.pipe_file("box/d/two", b"2")
other.rm_file("box/d/one")
refreshed = mine.ls("box/d", detail=False, refresh=True)
print("another one instead: ", other.ls("box/d", detail=False))
print("refresh=True:        ", refreshed)
exists = mine.exists("box/d/one")
try:
    mine.cat_file("box/d/one")
    read = "bytes"
except FileNotFoundError as error:
    read = type(error).__name__
print("the deleted one:      exists", exists, "- cat_file", read)
invalidated = mine.ls("box/d", detail=False, invalidate_cache=True)
print("invalidate_cache=True", invalidated)
assert (refreshed, exists, read, invalidated) == (["box/d/one"], True, "FileNotFoundError", ["box/d/two"])
print("AS DESCRIBED")
EOF
