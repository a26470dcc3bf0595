"""An Airflow for the tests: a scratch home with an empty database, and the DAGs of this project. Set
before Airflow is imported.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest

DAGS = Path(__file__).parent / "dags"
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-for-tests-")
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(DAGS)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
sys.path.insert(0, str(DAGS))

pytest_plugins = ["airflow_provider_seedream.emulator.pytest_plugin"]


@pytest.fixture(scope="session", autouse=True)
def airflow_database():
    """`dag.test()` writes its runs there; the database is an SQLite file in the scratch home."""
    from airflow.utils.db import initdb

    initdb()
