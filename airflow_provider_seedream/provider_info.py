"""What Airflow reads about this provider. Loaded by every Airflow process, so it imports nothing."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    return {"package-name": "airflow-provider-seedream", "name": "Seedream"}
