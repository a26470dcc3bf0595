#!/bin/bash
# Deleting `look[1].png` deletes `look1.png`.
#
# Expected: ObjectStoragePath("s3://.../look[1].png") names one object for every method: if it can be read, then unlink() deletes it,
#   and copy() copies it. Brackets are letters of an S3 key, and browsers name a second download so.
# Happens: open(), read_bytes(), exists() and stat() take the object of that name. unlink(), copy() and move() take the name for a
#   pattern, in which [1] stands for the letter 1, although an object of exactly that name exists: unlink() deletes look1.png and keeps
#   look[1].png; copy() copies the content of look1.png, and into a folder of the new name. There is no error. rm_file(), cat_file()
#   and the other methods ending in _file take names as they are.
# Version: apache-airflow-task-sdk 1.3.2 (Airflow 3.3.2), universal-pathlib 0.3.10, fsspec and s3fs 2026.9.0, moto 5.2.5 as the store (PyPI).
# Source: run here; `_expand_path` in fsspec/asyn.py (has_magic before exists), which _rm, _copy and _cat call; the same in fsspec/spec.py.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
uv/bin/uv venv -q venv
uv/bin/uv pip install -q --python venv/bin/python apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 universal-pathlib==0.3.10 \
  fsspec==2026.9.0 s3fs==2026.9.0 'moto[server,s3]==5.2.5'
venv/bin/python - 2>/dev/null <<'EOF' | grep -v werkzeug
from importlib.metadata import version

import s3fs
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
fs = s3fs.S3FileSystem(key="key", secret="secret", endpoint_url=f"http://127.0.0.1:{port}", use_listings_cache=False)
fs.mkdir("bucket")
attach(protocol="s3", conn_id="store", fs=fs)
path = ObjectStoragePath("s3://store@bucket/look[1].png")
fs.pipe_file("bucket/look[1].png", b"mine")
fs.pipe_file("bucket/look1.png", b"another")

read = path.read_bytes()
path.copy("s3://store@bucket/copies/x.png")
copied = {name: fs.cat_file(name) for name in fs.find("bucket/copies")}
path.unlink()
left = fs.ls("bucket", detail=False)
print(f"fsspec {version('fsspec')}, s3fs {version('s3fs')}, universal-pathlib {version('universal-pathlib')}")
print(f"read_bytes(): {read}   copy(): {copied}   left after unlink(): {left}")
assert read == b"mine"
assert copied == {"bucket/copies/x.png/look1.png": b"another"}
assert left == ["bucket/copies", "bucket/look[1].png"]
EOF
echo "AS DESCRIBED"
