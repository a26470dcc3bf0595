"""Landed images as markdown: thumbnails of the gallery, each with a link to its page there. For questions to
a person.

Reads no storage. The address of a picture names the task instance that landed it, so that the gallery can
check who may see it.
"""

from airflow_provider_seedream.manifest import Manifest, ManifestImage
from airflow_provider_seedream.model.markdown import as_text
from airflow_provider_seedream.model.task_ref import Page, TaskRef

_PICTURE: tuple[Page, Page] = ("thumb", "image")


def place_of(manifest: Manifest) -> TaskRef:
    """The task instance under which the gallery finds the images: the one that landed them, or the one that
    runs this.

    The second applies if another DAG run landed them (``reuse="content"``): the reader of this run needs an
    address in this run.

    :raises ValueError: the manifest does not name dag, run, task and map index.
    """
    owner = TaskRef.of(manifest.belongs_to)
    if owner is None:
        raise ValueError(
            f"{manifest.name}.json does not name the DAG of its images, so the gallery cannot show them."
        )
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
