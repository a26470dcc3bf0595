#!/bin/bash
# A folder that cannot be listed is an empty folder, also for walk(on_error="raise").
#
# Expected: fs.walk(path, on_error="raise") raises when the store refuses a listing ("If 'raise', an underlying exception will be raised").
#   fs.find(path, maxdepth=2) raises as fs.find(path) does.
# Happens: on_error is not passed on to the folders below, so each of them that the store refuses (403, or 503 after the repetitions) is
#   one without files. Without on_error, as most callers write it, the first folder is too: walk() of a bucket that answers 403 is empty.
#   find(maxdepth=) is made of walk(), and returns a part of the files. isfile() is False where exists() raises PermissionError.
# Version: fsspec and s3fs 2026.9.0 (PyPI).
# Source: run here; `_walk` in fsspec/asyn.py (the call of itself has no on_error) and `walk` in fsspec/spec.py, the same; `_find` in both.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AWS_@}"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check fsspec==2026.9.0 s3fs==2026.9.0 2>/dev/null
venv/bin/python - <<'EOF'
import http.server
import threading
from importlib.metadata import version
from urllib.parse import parse_qs, urlsplit

import s3fs

LISTING = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><IsTruncated>false</IsTruncated>{}</ListBucketResult>'
FOLDER = "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>"
FILE = "<Contents><Key>{}</Key><LastModified>2026-11-28T00:00:00.000Z</LastModified><ETag>&quot;0&quot;</ETag><Size>1</Size></Contents>"
FOLDERS = {
    "nights/": FOLDER.format("nights/monday/") + FOLDER.format("nights/tuesday/"),
    "nights/monday/": FILE.format("nights/monday/results.jsonl"),
}  # tuesday may not be listed; the key's policy forbids it


class Store(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.answer(200 if prefix in FOLDERS else 403, LISTING.format(FOLDERS[prefix]) if prefix in FOLDERS else denied)

    def do_HEAD(self):
        self.answer(403, "")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
threading.Thread(target=server.serve_forever, daemon=True).start()
fs = s3fs.S3FileSystem(key="key", secret="secret", endpoint_url=f"http://127.0.0.1:{server.server_port}", use_listings_cache=False)


def said(call):
    try:
        return call()
    except PermissionError as error:
        return repr(error)


file = "bucket/nights/tuesday/results.jsonl"
answers = {
    'walk("nights", on_error="raise")': said(lambda: list(fs.walk("bucket/nights", on_error="raise"))),
    'walk("nights/tuesday")': said(lambda: list(fs.walk("bucket/nights/tuesday"))),
    'find("nights", maxdepth=2)': said(lambda: fs.find("bucket/nights", maxdepth=2)),
    'ls("nights/tuesday")': said(lambda: fs.ls("bucket/nights/tuesday")),
    "isfile()": said(lambda: fs.isfile(file)),
    "exists()": said(lambda: fs.exists(file)),
}
print(f"fsspec {version('fsspec')}, s3fs {version('s3fs')}")
for call, answer in answers.items():
    print(f"{call}: {answer}")
assert list(answers.values()) == [
    [("bucket/nights", ["monday", "tuesday"], []), ("bucket/nights/monday", [], ["results.jsonl"]), ("bucket/nights/tuesday", [], [])],
    [("bucket/nights/tuesday", [], [])],
    ["bucket/nights/monday/results.jsonl"],
    "PermissionError('Access Denied')",
    False,
    "PermissionError('Forbidden')",
]
EOF
echo "AS DESCRIBED"
