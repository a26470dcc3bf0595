#!/bin/bash
# Two objects of a bucket are one URI for Airflow's Asset.
#
# Expected: `#` is a letter of an S3 key (boto3, s3fs and Airflow's own ObjectStoragePath read and write such objects), so
#   s3://bucket/look#1.png and s3://bucket/look#2.png are two assets with two URIs.
# Happens: Asset takes the URI apart as a web address and drops everything from `#`: both have the URI s3://bucket/look, which names neither.
#   In lineage all of them are one dataset. A query is kept, but its parts are sorted: `a?z=1&a=2` becomes `a?a=2&z=1`, another object.
#   `%23` instead of `#` keeps them apart, but then is no address that ObjectStoragePath can open.
# Version: apache-airflow-task-sdk 1.3.2 (Airflow 3.3.2) and 1.4.0b2 (Airflow 3.4.0b2); uv installs them (PyPI).
# Source: run here; _sanitize_uri in airflow/sdk/definitions/asset/__init__.py ("Ignore any fragments").
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export AIRFLOW_HOME=$dir/home
unset PYTHONDONTWRITEBYTECODE
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
for sdk in 1.3.2 1.4.0b2; do
  core=$([ $sdk = 1.3.2 ] && echo 3.3.2 || echo 3.4.0b2)
  uv/bin/uv venv -q "$sdk"
  uv/bin/uv pip install -q --python "$sdk/bin/python" "apache-airflow-task-sdk==$sdk" "apache-airflow-core==$core"
  "$sdk/bin/python" - <<'EOF'
from importlib.metadata import version

from airflow.sdk import Asset, ObjectStoragePath

opened = str(ObjectStoragePath("file:///tmp/look#1.png"))
first, second = Asset("s3://bucket/look#1.png"), Asset("s3://bucket/look#2.png")
query = Asset("s3://bucket/a?z=1&a=2").uri
print(f"task-sdk {version('apache-airflow-task-sdk')}: {first.uri}  {second.uri}  {query}  ObjectStoragePath: {opened}")
assert first.uri == second.uri == "s3://bucket/look"
assert query == "s3://bucket/a?a=2&z=1"
assert opened.endswith("/look#1.png")
EOF
done
echo "AS DESCRIBED"
