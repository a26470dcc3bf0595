#!/bin/bash
# A folder that is copied to another account arrives as one file.
#
# Expected: ObjectStoragePath("s3://old@pictures/night").copy("s3://new@archive/2026", recursive=True) copies all files below the folder. Its
#   docstring: "Copy file(s) from this path to another location"; from one store to another "the key used for the destination will
#   be the same as the source", so archive gets 2026/night/fox.png and the others.
# Happens: each file is written to the destination itself, and over the one before: at the end there is one object, 2026, with the bytes of
#   the last file. No error. The destination is made as a folder first, which means nothing in an object store; so each file asks
#   whether it is a folder, is told no, and takes its name. This happens where the connections differ (two accounts, two kinds of
#   store) and nothing lies in the destination yet. move() does the same, and leaves the source. A retry says "Cannot copy directory
#   to a file". With one connection, or with a file below the destination, all files arrive.
# Version: apache-airflow-task-sdk 1.3.2 with core 3.3.2 (1.4.0b2 with 3.4.0b2 does the same), amazon 9.39.0, s3fs 2026.9.0; uv installs them (PyPI).
# Source: run here; copy and _cp_file in airflow/sdk/io/path.py (dst.mkdir, then dst.is_dir()). The store is moto's.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" "${!AWS_@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
uv/bin/uv venv -q venv
uv/bin/uv pip install -q --python venv/bin/python apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 \
  apache-airflow-providers-amazon==9.39.0 s3fs==2026.9.0 "moto[server]==5.2.5"
venv/bin/python - 2>/dev/null <<'EOF' | grep -v "\[info\|\[warning"
import json
import os
from importlib.metadata import version

import boto3
from airflow.sdk import ObjectStoragePath
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
endpoint = f"http://127.0.0.1:{server._server.server_port}"
account = {"conn_type": "aws", "login": "key", "password": "secret", "extra": {"endpoint_url": endpoint, "region_name": "us-east-1"}}
os.environ |= {"AIRFLOW_CONN_OLD": json.dumps(account), "AIRFLOW_CONN_NEW": json.dumps(account)}
s3 = boto3.client("s3", "us-east-1", endpoint_url=endpoint, aws_access_key_id="key", aws_secret_access_key="secret")
FILES = ["night/fox.png", "night/hare.png", "night/large/fox.png", "night/results.jsonl"]
buckets, refused = iter(range(99)), []


def copied(conn_id, way="copy", before=(), **options):
    """What lies in a new bucket when a folder has been copied there."""
    source, archive = f"pictures-{next(buckets)}", f"archive-{next(buckets)}"
    for bucket, keys in ((source, FILES), (archive, before)):
        s3.create_bucket(Bucket=bucket)
        for key in keys:
            s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    folder = ObjectStoragePath(f"s3://old@{source}/night")
    target = ObjectStoragePath(f"s3://{conn_id}@{archive}/2026")
    getattr(folder, way)(target, **options)
    if conn_id == "new" and not before:
        try:  # as a retry of the task does
            getattr(folder, way)(target, **options)
        except ValueError as error:
            refused.append(str(error))
    found = [item["Key"] for item in s3.list_objects_v2(Bucket=archive)["Contents"]]
    kept = [item["Key"] for item in s3.list_objects_v2(Bucket=source)["Contents"]]
    return {key: s3.get_object(Bucket=archive, Key=key)["Body"].read().decode() for key in found if key not in before}, kept == FILES


print("task-sdk", version("apache-airflow-task-sdk"), "s3fs", version("s3fs"))
seen = {
    "the same connection": copied("old", recursive=True),
    "another one": copied("new", recursive=True),
    "another one, move": copied("new", "move", recursive=True),
    "another one, a file is there": copied("new", recursive=True, before=["2026/readme.txt"]),
}
server.stop()
for how, (found, _) in seen.items():
    print(f"{how}: {found}")
print("retries:", refused)
assert refused == ["Cannot copy directory to a file."] * 2
one_file = {"2026": "night/results.jsonl"}
assert seen == {
    "the same connection": ({file.replace("night/", "2026/", 1): file for file in FILES}, True),
    "another one": (one_file, True),
    "another one, move": (one_file, True),
    "another one, a file is there": ({f"2026/{file}": file for file in FILES}, True),
}
EOF
echo "AS DESCRIBED"
