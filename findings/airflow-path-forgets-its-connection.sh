#!/bin/bash
# A path that was pickled or copied has no connection.
#
# Expected: pickle.loads(pickle.dumps(path)) and copy.deepcopy(path) of an ObjectStoragePath with a connection are equal to it, as they are of
#   pathlib's paths. Arguments of @task.virtualenv and of a process pool are pickled, operators are copied with what they hold.
# Happens: the copy has conn_id None. It opens the object of that name with what is there without a connection (an instance's role, another
#   account, another endpoint), without an error where that exists. Airflow's own serialization (XCom) keeps the connection.
# Version: apache-airflow-task-sdk 1.3.2 (Airflow 3.3.2) and 1.4.0b2 (3.4.0b2), universal-pathlib 0.3.10; uv installs them (PyPI).
# Source: run here; __reduce__ in upath/extensions.py calls _from_upath on the class; ObjectStoragePath._from_upath in airflow/sdk/io/path.py takes
#   the connection from the instance only.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
for sdk in 1.3.2 1.4.0b2; do
  core=$([ $sdk = 1.3.2 ] && echo 3.3.2 || echo 3.4.0b2)
  uv/bin/uv venv -q "$sdk"
  uv/bin/uv pip install -q --python "$sdk/bin/python" "apache-airflow-task-sdk==$sdk" "apache-airflow-core==$core" universal-pathlib==0.3.10
  "$sdk/bin/python" - <<'EOF'
import copy
import pickle
from importlib.metadata import version

from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from airflow.sdk.serde import deserialize, serialize
from fsspec.implementations.memory import MemoryFileSystem


class Store(MemoryFileSystem):
    """Of one connection: its objects are its own."""

    cachable = False
    store, pseudo_dirs = {}, [""]


class Ambient(Store):
    """What is there without a connection: an instance's own role, say."""

    store, pseudo_dirs = {}, [""]


attach(protocol="memory", conn_id="of_the_team", fs=Store())
attach(protocol="memory", fs=Ambient())
path = ObjectStoragePath("memory://of_the_team@bucket/look.png")
with path.open("wb") as file:
    file.write(b"ours")
Ambient().pipe_file("/bucket/look.png", b"another's")
seen = {}
for way, other in {
    "pickle": pickle.loads(pickle.dumps(path)),
    "deepcopy": copy.deepcopy(path),
    "XCom": deserialize(serialize(path)),
}.items():
    with other.open("rb") as file:
        seen[way] = str(other), other.conn_id, file.read()
print(f"task-sdk {version('apache-airflow-task-sdk')}: {path}, conn_id {path.conn_id}")
print(*(f"  {way}: {name}, conn_id {conn_id}, reads {content}" for way, (name, conn_id, content) in seen.items()), sep="\n")
assert seen == {
    "pickle": ("memory://bucket/look.png", None, b"another's"),
    "deepcopy": ("memory://bucket/look.png", None, b"another's"),
    "XCom": (str(path), "of_the_team", b"ours"),
}
EOF
done
echo "AS DESCRIBED"
