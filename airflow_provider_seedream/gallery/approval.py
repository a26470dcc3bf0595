"""Landed images as markdown, for Airflow's approvals, DAG run notes and whatever else renders it.

Loaded with every DAG that asks for it: imports the storage when it runs.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_seedream.gallery.markdown import as_code, as_text
from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.manifest import Manifest, ManifestImage, read_manifest
from airflow_provider_seedream.model.task_ref import Page, TaskRef

_PICTURE: tuple[Page, Page] = ("thumb", "image")


def approval_markdown(landed: LandedGeneration | Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> str:
    """The images of one or more landed generations, each under its prompt, as markdown with the gallery's thumbnails.

    Runs on the worker and reads each manifest. The pictures appear if ``[seedream] gallery_roots`` of the web server names their
    folder, to those who may read the DAG's XComs. Airflow shows them up to 300 pixels wide.

    The addresses hold the hashes of the images, so a picture is what it was when this text was made, or it is not there.

    :param landed: what a sensor returned, or the list that a mapped one did.
    :raises ValueError: when a manifest is missing, is none, or names no DAG: then nobody could be shown its images.
    """
    if isinstance(landed, LandedGeneration | Mapping):
        return _section(landed)
    return "\n\n".join(map(_section, landed))


def _section(landed: LandedGeneration | Mapping[str, Any]) -> str:
    known = landed if isinstance(landed, LandedGeneration) else LandedGeneration.from_dict(dict(landed))
    manifest = read_manifest(known.manifest)
    prompt = str((manifest.submission or {}).get("prompt") or manifest.name)
    place = place_of(manifest)
    pictures = " ".join(picture(place, image, prompt) for image in manifest.images)
    missing = [f"Only {len(manifest.images)} of {manifest.images_requested} images came."] if manifest.missing_images else []
    return "\n\n".join([as_code(prompt), *missing, pictures])


def place_of(manifest: Manifest) -> TaskRef:
    """Where the gallery finds the images: at the task that landed them, or in the DAG run that asks, if that is another one."""
    owner = TaskRef.of(manifest.belongs_to)
    if owner is None:
        raise ValueError(f"{manifest.name}.json does not name the DAG of its images, so the gallery can show them to nobody.")
    here = _here()
    return owner if here is None or (here.dag_id, here.run_id) == (owner.dag_id, owner.run_id) else here


def _here() -> TaskRef | None:
    """The task instance that runs this, if one does."""
    from airflow.sdk import get_current_context

    try:
        ti = get_current_context()["ti"]
    except RuntimeError:
        return None
    return TaskRef(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=-1 if ti.map_index is None else ti.map_index)


def picture(place: TaskRef, image: ManifestImage, prompt: str, *, name: str | None = None) -> str:
    """A thumbnail that leads to the image's page in the gallery. :param name: of the row, where the place is a batch."""
    thumbnail, page = (place.address(kind, image.number, name, image.sha256) for kind in _PICTURE)
    return f"[![Image {image.number}: {as_text(prompt)}]({thumbnail})]({page})"
