"""Lineage: reports the files that a task read and wrote to Airflow's hook lineage. URIs only: no connection
id, no link of the API.

A landing reports its sources too, from the manifest, as both ends are known there. An error of Airflow's
lineage does not fail the task, as its images are already stored.
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
    """Report the files read and written to the collector of Airflow's hook lineage.

    :param hook: the operator or hook that did it, in Airflow's terms.
    :param reads: storage URIs; data URIs are ignored.
    :param writes: storage URIs.
    """
    if not _is_collected():
        return
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

    collector = get_hook_lineage_collector()
    for add, uris in ((collector.add_input_asset, reads), (collector.add_output_asset, writes)):
        for uri in nameable(uris):
            try:
                add(context=hook, uri=uri)
            except ValueError as error:  # e.g. beyond ASCII, where Airflow's database is MySQL
                _log.warning("No lineage for %s: %s", uri, error)


def _is_collected() -> bool:
    """True if a plugin reads hook lineage, e.g. OpenLineage's.

    Without one, Airflow's collector keeps nothing, and yet imports the asset modules of all installed
    providers when it is made: with Google's 0.3 s of CPU in each task's process (Airflow 3.1 to 3.4). Airflow
    3.1 has no such list, so there it is made.
    """
    try:
        from airflow.sdk.plugins_manager import get_hook_lineage_readers_plugins
    except ImportError:
        return True
    return bool(get_hook_lineage_readers_plugins())


def report_landed(hook: Any, result: "LandedGeneration", manifest: "Manifest") -> None:
    """Report the landed images with their manifest, and the sources they were made from."""
    report(
        hook, reads=source_uris(manifest), writes=(*(image.uri for image in result.images), result.manifest)
    )


def source_uris(manifest: "Manifest") -> list[str]:
    """The URIs of the input images of an edit; empty for other generations, and where the record could not be
    read.
    """
    return [source["uri"] for source in (manifest.submission or {}).get("sources", ())]


def nameable(uris: Iterable[str]) -> list[str]:
    """The URIs that can be assets, in the form of :func:`asset_uri`.

    Data URIs have no name, and Airflow refuses URIs of more than 1,500 characters.
    """
    named = [asset_uri(uri) for uri in uris if not uri.lower().startswith("data:")]
    return [uri for uri in named if len(uri) <= _MAX_CHARACTERS]
