"""Airflow's paths as we open them: no library of a store is loaded that the path does not need.

In a process of its own, with one more provider installed, whose modules say that they were loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

LISTS_READERS = find_spec("airflow.sdk.plugins_manager") is not None
METADATA = "Metadata-Version: 2.1\nName: loud-provider\nVersion: 1.0\n"
ENTRY_POINTS = "[apache_airflow_provider]\nprovider_info = loud:info\n"
INFO = """
def info():
    return {
        "package-name": "loud-provider",
        "name": "Loud",
        "description": "A store whose modules are seen when they are loaded.",
        "filesystems": ["loud.fs"],
        "asset-uris": [{"schemes": ["memory"], "handler": "loud.assets.sanitize_uri"}],
    }
"""
FILE_SYSTEM = """
from fsspec.implementations.memory import MemoryFileSystem

schemes = ["memory"]


def get_fs(conn_id, storage_options=None):
    file_system = MemoryFileSystem()
    file_system.made_for = conn_id
    return file_system
"""
ASSETS = "def sanitize_uri(uri):\n    return uri\n"
STEPS = """
import json, sys
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from airflow_provider_seedream.observability import lineage
from airflow_provider_seedream.storage.airflow_paths import airflow_path, file_system
from airflow_provider_seedream.storage.folder import Folder

def loaded():
    return sorted({"loud.fs", "loud.assets"} & set(sys.modules))

seen, folder = {}, sys.argv[1]
Folder(folder).replace("a.txt", b"a")
Folder("file://" + folder).read("a.txt")
seen["a disk"] = loaded()
lineage.report(object(), writes=["s3://bucket/a.png"])
seen["lineage without a reader"] = loaded()
seen["on a disk"] = ObjectStoragePath("file://" + folder).joinpath("a.txt").read_text()
ours = file_system("file", None)
attach("file", "mine", fs=ours)
seen["attached stays"] = airflow_path("file://mine@" + folder).fs is ours
seen["another provider's"] = [airflow_path("memory://my_conn@bucket/x").fs.made_for, file_system("memory", None).made_for]
seen["in the end"] = loaded()
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the steps saw."""
    installed, images = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("images")
    distribution = installed / "loud_provider-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text(METADATA)
    (distribution / "entry_points.txt").write_text(ENTRY_POINTS)
    (installed / "loud").mkdir()
    for name, source in (("__init__", INFO), ("fs", FILE_SYSTEM), ("assets", ASSETS)):
        (installed / "loud" / f"{name}.py").write_text(source)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(installed), str(Path(__file__).parents[3])])
    }
    child = subprocess.run(
        [sys.executable, "-c", STEPS, str(images)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return dict(json.loads(child.stdout.splitlines()[-1]))


def test_a_folder_on_a_disk_loads_no_storage_library_of_a_provider(seen: dict[str, object]) -> None:
    assert seen["a disk"] == []
    assert seen["on a disk"] == "a"  # Airflow's own path finds the same file afterwards


@pytest.mark.skipif(not LISTS_READERS, reason="Airflow lists the readers of lineage from 3.2 on")
def test_lineage_that_nobody_reads_loads_no_module_of_a_provider(seen: dict[str, object]) -> None:
    assert seen["lineage without a reader"] == []


def test_a_file_system_that_a_user_has_attached_is_the_one_that_is_used(seen: dict[str, object]) -> None:
    assert seen["attached stays"] is True


def test_a_scheme_of_another_provider_is_opened_by_it(seen: dict[str, object]) -> None:
    assert seen["another provider's"] == ["my_conn", None]
    assert "loud.fs" in seen["in the end"]  # type: ignore[operator]
