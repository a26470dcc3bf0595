"""A secrets backend of Airflow that counts the questions."""

from __future__ import annotations

from airflow.secrets.environment_variables import EnvironmentVariablesBackend

from tests.unit.api import connection_json


class CountingBackend(EnvironmentVariablesBackend):  # type: ignore[misc]  # Airflow's class has no types
    asked = 0

    def get_conn_value(self, conn_id: str, *_: object, **__: object) -> str:
        CountingBackend.asked += 1
        return connection_json("http://127.0.0.1:1")
