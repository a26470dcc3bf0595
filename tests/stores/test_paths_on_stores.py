"""A task's process loads the library of its own store, and none of another provider's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import get_fs

from airflow_provider_seedream.storage.airflow_paths import airflow_path
from airflow_provider_seedream.storage.uris import connection_of
from tests.stores.servers import Place

LIBRARIES = {
    "s3": ("airflow.providers.amazon.aws.fs.s3", "boto3", "s3fs"),
    "gcs": ("airflow.providers.google.cloud.fs.gcs", "google.cloud.storage", "gcsfs"),
    "azure": ("airflow.providers.microsoft.azure.fs.adls", "azure.storage.blob", "adlfs"),
}
ASK = """
import json, sys
from airflow_provider_seedream.storage import Folder

assert Folder(sys.argv[1]).read("nothing.json") is None
print(json.dumps(sorted(sys.modules)))
"""


def test_a_process_loads_the_library_of_its_store_and_no_other(store: Place) -> None:
    command = [sys.executable, "-c", ASK, store.uri]
    asked = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
    loaded = set(json.loads(asked.stdout.splitlines()[-1]))
    for kind, libraries in LIBRARIES.items():
        assert loaded.isdisjoint(libraries) == (kind != store.kind), kind


def test_the_file_system_is_the_one_that_airflow_makes(store: Place) -> None:
    path = airflow_path(store.uri)
    assert ObjectStoragePath(store.uri).fs is path.fs
    theirs = get_fs(path.protocol, connection_of(store.uri))
    assert type(path.fs) is type(theirs)
    assert path.fs.storage_options.keys() == theirs.storage_options.keys()
