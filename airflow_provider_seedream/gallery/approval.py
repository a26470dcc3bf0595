"""Landed images as markdown, for Airflow's approvals, DAG run notes and whatever else renders it.

Loaded with every DAG that asks for it: imports the storage when it runs.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.manifest import Manifest
from airflow_provider_seedream.model.task_ref import Place

_MARKS = re.compile(r"([\\`*_\[\]<>#|~])")


def approval_markdown(landed: LandedGeneration | Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> str:
    """The images of one or more landed generations, each under its prompt, as markdown with the gallery's thumbnails.

    Runs on the worker and reads each manifest. The pictures appear if ``[seedream] gallery_roots`` of the web server names their
    folder, to those who may read the DAG's XComs. Airflow shows them up to 300 pixels wide.

    :param landed: what a sensor returned, or the list that a mapped one did.
    :raises ValueError: when a manifest is missing or is none.
    """
    if isinstance(landed, LandedGeneration | Mapping):
        return _section(landed)
    return "\n\n".join(map(_section, landed))


def _section(landed: LandedGeneration | Mapping[str, Any]) -> str:
    known = landed if isinstance(landed, LandedGeneration) else LandedGeneration.from_dict(dict(landed))
    manifest = _manifest(known)
    prompt = (manifest.submission or {}).get("prompt") or manifest.name
    place = Place.of(manifest.landed_by)
    pictures = [_picture(place, image.number, prompt) for image in manifest.images] if place else []
    return "\n\n".join([_escaped(prompt), " ".join(pictures)])


def _picture(place: Place, number: int, prompt: str) -> str:
    thumbnail, page = place.address("thumb", number), place.address("image", number)
    return f"[![Image {number}: {_escaped(prompt)}]({thumbnail})]({page})"


def _manifest(landed: LandedGeneration) -> Manifest:
    from airflow_provider_seedream.storage import Folder

    folder, _, file = landed.manifest.rpartition("/")
    data = Folder(folder).read(file)
    if data is None:
        raise ValueError(f"{landed.manifest} is not there.")
    return Manifest.from_json(data)


def _escaped(text: str) -> str:
    """A prompt as plain text on one line: whatever markdown is in it stays visible."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))
