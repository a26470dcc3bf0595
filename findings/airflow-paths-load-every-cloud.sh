#!/bin/bash
# A path on the local disk imports the libraries of every cloud, and so does lineage that nobody collects.
#
# Expected: ObjectStoragePath("file:///...") needs no provider ("file" is built in), and a collector "that does nothing" (NoOpCollector, used where
#   no plugin reads lineage) needs none either. A process of a task lives for a second, so it should load what it uses.
# Happens: the first path of a process imports the storage module of each installed provider, whatever its own scheme is; the collector that does
#   nothing inherits a constructor that imports each provider's asset handlers. With the providers of Amazon, Google and Microsoft that are
#   hundreds of modules for a file in /tmp, in each try of each task.
# Version: apache-airflow-task-sdk 1.3.2 (Airflow 3.3.2) and 1.4.0b2 (3.4.0b2); providers amazon 9.39.0, google 22.1.0,
#   microsoft-azure 15.2.1; uv installs them (PyPI).
# Source: run here; _register_filesystems in airflow/sdk/io/fs.py loads all of `filesystem_module_names`; NoOpCollector in airflow/sdk/lineage.py has
#   no __init__ of its own.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
echo "a photo" >photo.txt
for sdk in 1.3.2 1.4.0b2; do
  core=$([ $sdk = 1.3.2 ] && echo 3.3.2 || echo 3.4.0b2)
  uv/bin/uv venv -q "$sdk"
  uv/bin/uv pip install -q --python "$sdk/bin/python" "apache-airflow-task-sdk==$sdk" "apache-airflow-core==$core" \
    apache-airflow-providers-amazon==9.39.0 apache-airflow-providers-google==22.1.0 apache-airflow-providers-microsoft-azure==15.2.1
  for act in path collector; do
    "$sdk/bin/python" - $act <<'EOF'
import os
import sys
from importlib.metadata import version

from airflow.sdk import ObjectStoragePath
from airflow.sdk.lineage import get_hook_lineage_collector

before = set(sys.modules)
if sys.argv[1] == "path":
    with ObjectStoragePath(f"file://{os.getcwd()}/photo.txt").open() as file:
        what = f"reading {file.read().strip()!r} from the disk"
    expected = ["azure.identity", "boto3", "google.auth"]
else:
    what = type(get_hook_lineage_collector()).__name__
    expected = ["boto3", "google.auth"]
    assert what == "NoOpCollector"
after = set(sys.modules) - before
clouds = sorted({"boto3", "google.auth", "azure.identity"} & after)
print(f"task-sdk {version('apache-airflow-task-sdk')}: {what} imports {len(after)} modules, among them {', '.join(clouds)}")
assert clouds == expected and len(after) > 500
EOF
  done
done
echo "AS DESCRIBED"
