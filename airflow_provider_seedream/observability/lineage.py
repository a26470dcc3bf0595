"""Lineage: what a task read and wrote, told to Airflow's hook lineage. URIs only: no connection, no link of the API.

A landing names its sources too, from the manifest: which image became which is said where both ends are known. What Airflow does
not take fails no task, as the images lie there already.
"""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_seedream.observability.asset_uris import asset_uri

_MAX_CHARACTERS = 1500  # of an Airflow asset's URI
_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from airflow_provider_seedream.generations import LandedGeneration
    from airflow_provider_seedream.manifest import Manifest


def report(hook: Any, *, reads: Iterable[str] = (), writes: Iterable[str] = ()) -> None:
    """Tell what was read and written. :param hook: who did it, in Airflow's terms."""
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

    collector = get_hook_lineage_collector()
    for add, uris in ((collector.add_input_asset, reads), (collector.add_output_asset, writes)):
        for uri in nameable(uris):
            try:
                add(context=hook, uri=uri)
            except ValueError as error:  # e.g. beyond ASCII, where Airflow's database is MySQL
                _log.warning("No lineage for %s: %s", uri, error)


def report_landed(hook: Any, result: "LandedGeneration", manifest: "Manifest") -> None:
    """Tell what was made of what."""
    report(hook, reads=source_uris(manifest), writes=(*(image.uri for image in result.images), result.manifest))


def source_uris(manifest: "Manifest") -> list[str]:
    """Where the input images of an edit came from."""
    return [source["uri"] for source in (manifest.submission or {}).get("sources", ())]


def nameable(uris: Iterable[str]) -> list[str]:
    """As assets; data URIs have no name, and what is too long for an asset is nobody's lineage."""
    named = [asset_uri(uri) for uri in uris if not uri.lower().startswith("data:")]
    return [uri for uri in named if len(uri) <= _MAX_CHARACTERS]
