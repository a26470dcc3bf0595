"""Lineage in OpenLineage's form: datasets with their sizes, and a run facet that says which generation it was
and what it cost.

Imported by OpenLineage's own extractor alone, so its classes are there. Never imported while a DAG is parsed.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.openlineage.facet import (
    Dataset,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
    RunFacet,
)
from airflow.providers.openlineage.extractors import OperatorLineage
from attrs import define

from airflow_provider_seedream.observability.asset_uris import asset_uri
from airflow_provider_seedream.observability.lineage import nameable, source_uris

if TYPE_CHECKING:
    from airflow_provider_seedream.generations import LandedGeneration, LandedImage
    from airflow_provider_seedream.manifest import Manifest


@define
class SeedreamRunFacet(RunFacet):
    """A landed generation. The prompt is in the manifest, which is the user's own file::

        OperatorLineage(run_facets={"seedream": SeedreamRunFacet(seedreamTaskId="b1c2d3", credits=20, ...)})

    :param credits: the price; None for a bare id.
    :param imagesRequested: None where it is not known how many were asked for.
    :param manifest: its URI, without the connection id.
    """

    seedreamTaskId: str  # noqa: N815 - OpenLineage spells facets this way
    model: str
    kind: str | None
    credits: int | None
    imagesRequested: int | None  # noqa: N815
    imagesLanded: int  # noqa: N815
    manifest: str


def lineage_of_files(reads: Iterable[str], writes: Iterable[str] = ()) -> "OperatorLineage[Any, Any]":
    """The files that an edit has read before its images land, or the tables of a batch.

    :param reads: storage URIs; data URIs are ignored.
    :param writes: storage URIs.
    """
    return OperatorLineage(inputs=_datasets(reads), outputs=_datasets(writes))


def lineage_of_landing(result: "LandedGeneration", manifest: "Manifest") -> "OperatorLineage[Any, Any]":
    """The landed images with their sizes, the manifest, and the sources they were made from."""
    facet = SeedreamRunFacet(
        seedreamTaskId=result.seedream_task_id,
        model=manifest.model,
        kind=manifest.kind,
        credits=result.credits,
        imagesRequested=manifest.images_requested,
        imagesLanded=len(result.images),
        manifest=asset_uri(result.manifest),
    )
    return OperatorLineage(
        inputs=_datasets(source_uris(manifest)),
        outputs=[*map(_image, result.images), *_datasets([result.manifest])],
        run_facets={"seedream": facet},
    )


def _image(image: "LandedImage") -> OutputDataset:
    namespace, name = _name(image.uri)
    size = OutputStatisticsOutputDatasetFacet(size=image.size_bytes, fileCount=1)
    return OutputDataset(namespace=namespace, name=name, outputFacets={"outputStatistics": size})


def _datasets(uris: Iterable[str]) -> list[Dataset]:
    return [Dataset(namespace=namespace, name=name) for namespace, name in map(_name, nameable(uris))]


def _name(uri: str) -> tuple[str, str]:
    """Namespace and name as OpenLineage spells files: ``file`` and a path, or ``s3://bucket`` and a key."""
    scheme, _, place = asset_uri(uri).partition("://")
    if scheme == "file":
        return "file", place
    bucket, _, key = place.partition("/")
    return f"{scheme}://{bucket}", key
