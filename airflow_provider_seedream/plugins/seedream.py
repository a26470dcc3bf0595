"""The gallery's plugin. Every Airflow process loads it, so it imports nothing of the page until the web server asks for it."""

from functools import cached_property
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin, conf

from airflow_provider_seedream.model.task_ref import PREFIX

# Addresses without a leading slash follow Airflow's base path.
_LOOK = {"name": "Seedream", "icon": f"{PREFIX}/static/icon.svg", "icon_dark_mode": f"{PREFIX}/static/icon-dark.svg"}
_TABS = {
    "dag": "dag/{DAG_ID}",
    "dag_run": "dag/{DAG_ID}?run={RUN_ID}",
    "task_instance": "task/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}",
}


class SeedreamPlugin(AirflowPlugin):
    """The page "Seedream" in Airflow's menu; as tabs of DAGs, runs and tasks too, if ``[seedream] gallery_tabs`` says so."""

    name = "seedream"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        from airflow_provider_seedream.gallery.app import create_gallery

        return [{"app": create_gallery(), "url_prefix": f"/{PREFIX}", "name": "Seedream"}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        views = [{**_LOOK, "href": f"{PREFIX}/", "destination": "nav", "url_route": PREFIX}]
        if conf.getboolean("seedream", "gallery_tabs", fallback=False):
            views += [
                {**_LOOK, "href": f"{PREFIX}/{href}", "destination": destination, "url_route": f"{PREFIX}-{destination}"}
                for destination, href in _TABS.items()
            ]
        return views
