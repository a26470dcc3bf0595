"""Landed images as markdown, for Airflow's approvals, DAG run notes and any other page that renders markdown.

Runs on a worker and reads manifests only, never images. DAG files import this module, so the storage is
imported when it runs.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_seedream.gallery.markdown import as_code, as_text
from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.manifest import Manifest, ManifestImage, read_manifest
from airflow_provider_seedream.model.task_ref import Page, TaskRef

_PICTURE: tuple[Page, Page] = ("thumb", "image")


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
    missing = [f"Only {len(manifest.images)} of {manifest.images_requested} images came."] if manifest.missing_images else []
    return "\n\n".join([as_code(prompt), *missing, pictures])


def place_of(manifest: Manifest) -> TaskRef:
    """The task instance under which the gallery finds the images: the one that landed them, or the one that
    runs this.

    The second applies if another DAG run landed them (``reuse="content"``): the reader of this run needs an
    address in this run.

    :raises ValueError: the manifest does not name dag, run, task and map index.
    """
    owner = TaskRef.of(manifest.belongs_to)
    if owner is None:
        raise ValueError(f"{manifest.name}.json does not name the DAG of its images, so the gallery can show them to nobody.")
    here = _here()
    return owner if here is None or (here.dag_id, here.run_id) == (owner.dag_id, owner.run_id) else here


def _here() -> TaskRef | None:
    """The task instance that runs this; None outside a task, as in a test or a notebook."""
    from airflow.sdk import get_current_context

    try:
        return TaskRef.running(get_current_context())
    except RuntimeError:
        return None


def picture(place: TaskRef, image: ManifestImage, prompt: str, *, name: str | None = None) -> str:
    """A thumbnail that leads to the image's page in the gallery, as markdown on one line.

    :param place: the task instance whose page shows the image.
    :param prompt: becomes the text for screen readers; its markdown is escaped.
    :param name: of the row, where the place is a batch.
    """
    thumbnail, page = (place.address(kind, image.number, name, image.sha256) for kind in _PICTURE)
    return f"[![Image {image.number}: {as_text(prompt)}]({thumbnail})]({page})"
