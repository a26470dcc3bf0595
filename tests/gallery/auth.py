"""An auth manager with rights per DAG, which Airflow's simple one has not: the user ``only-x`` may read the
DAG x alone.

``no-assets`` may read no asset.
"""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class PerDag(SimpleAuthManager):
    def is_authorized_dag(
        self, *, user: Any, details: Any = None, access_entity: Any = None, **kwargs: Any
    ) -> bool:
        if user.username.startswith("only-") and (details is None or user.username != f"only-{details.id}"):
            return False
        if user.username == "no-xcoms" and getattr(access_entity, "name", "") == "XCOM":
            return False
        return super().is_authorized_dag(user=user, details=details, access_entity=access_entity, **kwargs)

    def is_authorized_asset(self, *, user: Any, **kwargs: Any) -> bool:
        return user.username != "no-assets" and super().is_authorized_asset(user=user, **kwargs)
