"""Landed images as markdown, for Airflow's approvals, DAG run notes and any other page that renders markdown.

Runs on a worker and reads manifests only, never images. DAG files import this module, so the storage is
imported when it runs.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.landing.pictures import picture, place_of
from airflow_provider_seedream.manifest import read_manifest
from airflow_provider_seedream.model.markdown import as_code


def approval_markdown(landed: LandedGeneration | Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> str:
    """The images of one or more landed generations, each under its prompt, as markdown with the gallery's
    thumbnails::

        @task
        def show(landed: dict) -> str:
            return approval_markdown(landed)

        ApprovalOperator(task_id="approve", subject="Publish these?", body=show(land.output))

    Runs on the worker and reads each manifest. The pictures appear if ``[seedream] gallery_roots`` of the web
    server names their folder, to those who may read the DAG's XComs. Airflow shows them up to 300 pixels
    wide.

    The addresses hold the hashes of the images. A replaced image is therefore missing from the text, never
    exchanged.

    :param landed: what a sensor returned, or the list that a mapped one did.
    :returns: one section for each generation: the prompt as code, a line about missing images, and the
        pictures.
    :raises ValueError: a manifest is missing, is no manifest, or names no DAG, so no permission could be
        checked for its images.
    """
    if isinstance(landed, LandedGeneration | Mapping):
        return _section(landed)
    return "\n\n".join(map(_section, landed))


def _section(landed: LandedGeneration | Mapping[str, Any]) -> str:
    """One generation: its prompt, a line if images are missing, and its pictures."""
    known = landed if isinstance(landed, LandedGeneration) else LandedGeneration.from_dict(dict(landed))
    manifest = read_manifest(known.manifest)
    prompt = str((manifest.submission or {}).get("prompt") or manifest.name)
    place = place_of(manifest)
    pictures = " ".join(picture(place, image, prompt) for image in manifest.images)
    missing = (
        [f"Only {len(manifest.images)} of {manifest.images_requested} images came."]
        if manifest.missing_images
        else []
    )
    return "\n\n".join([as_code(prompt), *missing, pictures])
