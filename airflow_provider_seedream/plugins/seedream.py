"""The gallery's plugin. Every Airflow process loads it, so it imports nothing of the page until the web
server asks for it.
"""

import logging
from functools import cached_property
from typing import Any, get_args

from airflow.providers.common.compat.sdk import AirflowPlugin, conf

from airflow_provider_seedream.model.task_ref import PREFIX

# Addresses without a leading slash follow Airflow's base path.
_MENU_ENTRY = {
    "name": "Seedream",
    "icon": f"{PREFIX}/static/icon.svg",
    "icon_dark_mode": f"{PREFIX}/static/icon-dark.svg",
}
_YES = ("true", "t", "1", "yes", "y", "on")
_NO = ("false", "f", "0", "no", "n", "off")
_log = logging.getLogger(__name__)
# The classes that Airflow names as the operator of a task of ours; the decorators make those of functions.
OPERATORS = (
    "SeedreamGenerateOperator",
    "SeedreamEditOperator",
    "SeedreamBatchOperator",
    "SeedreamGenerationSensor",
    "_GenerateDecoratedOperator",
    "_EditDecoratedOperator",
    "_BatchDecoratedOperator",
)
# Airflow 3.4 shows a tab only where this holds; earlier versions show it on every task. On the page of a DAG
# it would hide the tab.
_LIMITS: dict[str, dict[str, Any]] = {"task_instance": {"applies_to": {"operator": list(OPERATORS)}}}
_TABS = {
    "dag": "dag/{DAG_ID}",
    "dag_run": "dag/{DAG_ID}?run={RUN_ID}",
    "task_instance": "task/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}",
}
_TABS_OF_ASSETS = {"asset": "asset/{ASSET_ID}"}


def _wants_tabs() -> bool:
    """``[seedream] gallery_tabs``. Airflow's own reading raises for ``yes``, and would take the menu of
    every plugin away.
    """
    word = str(conf.get("seedream", "gallery_tabs", fallback="")).partition("#")[0].strip().lower()
    if word not in ("", *_YES, *_NO):
        _log.warning(
            "[seedream] gallery_tabs must be true or false; got %r, so the gallery shows no tabs.", word[:40]
        )
    return word in _YES


def _tabs() -> dict[str, str]:
    """The tabs that the installed Airflow knows. One destination that it does not know would cost the
    plugin its menu.
    """
    from airflow import plugins_manager

    # Airflow names its destinations there from 3.4 on, where it shows views on the page of an asset as well.
    known = get_args(getattr(plugins_manager, "BaseDestinationLiteral", None))
    return _TABS | {
        destination: href for destination, href in _TABS_OF_ASSETS.items() if destination in known
    }


class SeedreamPlugin(AirflowPlugin):
    """The page "Seedream" in Airflow's menu. Airflow finds it by its entry point; tabs (DAG, run, task,
    asset) are an option.

    Example::

        [seedream]
        gallery_tabs = true
    """

    name = "seedream"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The gallery's app. Only the web server asks for it, so other processes do not load FastAPI's
        routes.
        """
        from airflow_provider_seedream.gallery.app import create_gallery

        return [{"app": create_gallery(), "url_prefix": f"/{PREFIX}", "name": "Seedream"}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The entry in the menu, and the tabs if ``gallery_tabs`` is on."""
        views = [{**_MENU_ENTRY, "href": f"{PREFIX}/", "destination": "nav", "url_route": PREFIX}]
        if _wants_tabs():
            views += [
                {
                    **_MENU_ENTRY,
                    **_LIMITS.get(destination, {}),
                    "href": f"{PREFIX}/{href}",
                    "destination": destination,
                    "url_route": f"{PREFIX}-{destination}",
                }
                for destination, href in _tabs().items()
            ]
        return views
