#!/bin/bash
# A task that returned the URI of a picture is cleared, and the picture is deleted.
#
# Expected: with XComObjectStorageBackend "any object smaller than the threshold in bytes will be stored in the database", as its docs say: a task
#   that returns a short text gives this text to the next one, and a retry or a clear removes the XCom.
# Happens: each text that is a URI below xcom_objectstorage_path is taken for the place of an XCom, whoever wrote the file. If the file is JSON,
#   the next task gets its content instead of the URI. At the start of each try Airflow deletes the XComs of the try before, and the
#   backend deletes the file: the picture that the task had only chosen, or the manifest that it had written. Nothing is logged. It
#   takes a path above the files, such as s3://my_conn@my-bucket with the pictures in this bucket; the docs do not say that nothing
#   else may lie there. A list of URIs does no harm, nor does a file elsewhere.
# Version: apache-airflow-providers-common-io 1.11.0 with Airflow 3.3.2 (3.4.0b2 does the same); uv installs them (PyPI).
# Source: run here; deserialize_value and purge in airflow/providers/common/io/xcom/backend.py; run in airflow/sdk/execution_time/task_runner.py
#   calls XCom.delete for each key of the try before. The docs: xcom_backend of the provider.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home AIRFLOW__CORE__XCOM_BACKEND=airflow.providers.common.io.xcom.backend.XComObjectStorageBackend
export AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH=file://$dir/bucket AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD=1000000
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
uv/bin/uv venv -q venv
uv/bin/uv pip install -q --python venv/bin/python apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 \
  apache-airflow-providers-common-io==1.11.0
venv/bin/python - 2>/dev/null <<'EOF' | grep -v "\[info\|\[warning"
from importlib.metadata import version
from pathlib import Path

from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import DeleteXCom, SetXCom, XComResult

FILES = {"fox.png": b"\x89PNG", "manifest.json": b'{"prompt": "a fox"}'}


class Database:
    """The server's side, of which a task needs the table of XComs only."""

    rows = {}

    def send(self, message):
        if isinstance(message, SetXCom):
            self.rows[message.key] = message.value
        elif isinstance(message, DeleteXCom):
            del self.rows[message.key]
        else:
            return XComResult(key=message.key, value=self.rows[message.key])


task_runner.SUPERVISOR_COMMS = Database()
from airflow.sdk.execution_time.xcom import XCom  # noqa: E402, the backend of the configuration

task = {"dag_id": "night", "run_id": "r", "task_id": "choose", "map_index": -1}


def cleared(folder, name, wrap=lambda uri: uri):
    """What the next task gets for the URI, and whether the file is there when the task is cleared."""
    path = Path(folder, name).resolve()
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(FILES[name])
    uri = f"file://{path}"
    XCom.set(key="return_value", value=wrap(uri), **task)
    assert Database.rows["return_value"] == wrap(uri)
    got = XCom.get_one(key="return_value", **task)
    XCom.delete(key="return_value", **task)  # as run() of the task runner does at the begin of the next try
    return "the same" if got == wrap(uri) else got, path.exists()


print("common.io", version("apache-airflow-providers-common-io"))
seen = {
    "a picture": cleared("bucket/pictures", "fox.png"),
    "a manifest": cleared("bucket/pictures", "manifest.json"),
    "a list of one picture": cleared("bucket/pictures", "fox.png", wrap=lambda uri: [uri]),
    "a picture in another bucket": cleared("another/pictures", "fox.png"),
}
for what, (got, there) in seen.items():
    print(f"{what}: the next task gets {got}; after the clear the file is {'there' if there else 'GONE'}")
assert list(seen.values()) == [("the same", False), ({"prompt": "a fox"}, False), ("the same", True), ("the same", True)]
EOF
echo "AS DESCRIBED"
