"""Asset events for the DAGs that are scheduled on the outlets of a landing task. Airflow sends them when the
task succeeds.

An ``Asset`` gets a summary of the manifest, an ``AssetAlias`` one event for each landed image or one for the
generation. An error here does not fail the task, as its images are already stored.
"""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, AssetAlias, Context
from airflow.sdk.definitions.asset import AssetRef

from airflow_provider_seedream.observability.asset_uris import asset_uri

if TYPE_CHECKING:
    from airflow_provider_seedream.generations import LandedGeneration
    from airflow_provider_seedream.manifest import Manifest

_log = logging.getLogger(__name__)


def announce(
    context: Context,
    outlets: Iterable[Any],
    result: "LandedGeneration",
    manifest: "Manifest",
    *,
    one_for: str = "image",
) -> None:
    """Add the landed images to the events of these outlets.

    :param context: the task's context, whose ``outlet_events`` Airflow sends when the task succeeds.
    :param outlets: the task's own; anything but assets and aliases is ignored.
    :param result: the landed images.
    :param manifest: tells kind and number of images asked for.
    :param one_for: ``image`` or ``generation``: how many events an alias gets. From Airflow 3.4 on each event
        starts a run of each DAG that is scheduled on the alias alone.
    """
    summary = {
        "seedream_task_id": result.seedream_task_id,
        "manifest": result.manifest,
        "kind": manifest.kind,
        "credits": result.credits,
        "images_landed": len(result.images),
        "images_requested": manifest.images_requested,
    }
    for outlet in outlets:
        if isinstance(outlet, Asset | AssetRef):
            _update(context, outlet, summary)
        elif isinstance(outlet, AssetAlias) and one_for == "generation":
            images = [image.uri for image in result.images]
            _add(context["outlet_events"][outlet], result.manifest, {**summary, "images": images})
        elif isinstance(outlet, AssetAlias):
            # An alias may stand for many assets, so each image becomes one of its own; a plain asset gets one
            # event from a task.
            for image in result.images:
                extra = {
                    "sha256": image.sha256,
                    "size_bytes": image.size_bytes,
                    "media_type": image.media_type,
                    "seedream_task_id": result.seedream_task_id,
                    "manifest": result.manifest,
                }
                _add(context["outlet_events"][outlet], image.uri, extra)


def announce_table(context: Context, outlets: Iterable[Any], summary: dict[str, Any]) -> None:
    """Add the results of a batch to the events of these outlets: one event for its table, as it may hold
    thousands of images.

    :param summary: what the batch returns, with ``results``, ``rows``, ``count``, ``credits`` and ``images``.
    """
    extra = {field: summary[field] for field in ("results", "rows", "count", "credits", "images")}
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            _add(context["outlet_events"][outlet], summary["results"], extra)
        elif isinstance(outlet, Asset | AssetRef):
            _update(context, outlet, extra)


def _update(context: Context, outlet: Any, extra: dict[str, Any]) -> None:
    """Add fields to the event of an asset. One that cannot be found costs a log line, not the task."""
    try:
        context["outlet_events"][outlet].extra.update(extra)
    except Exception as error:  # an Asset.ref that no DAG defines: Airflow asks its API for it
        _log.warning("No asset event for %s: %s: %s", outlet, type(error).__name__, error)


def _add(events: Any, uri: str, extra: dict[str, Any]) -> None:
    """Add an event to an alias: Airflow makes the asset of that URI if there is none yet."""
    try:
        events.add(Asset(uri=asset_uri(uri)), extra=extra)
    except ValueError as error:  # e.g. longer than the 1,500 characters an asset may have
        _log.warning("No asset event for %s: %s", uri, error)
