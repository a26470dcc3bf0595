"""A landed generation as a message with its thumbnails, to be sent through whatever notifier the deployment has.

Talks to no mail or chat server itself. Thumbnails are copied to the worker's disk for as long as the message is being sent.
"""

import html
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.manifest import Manifest, ManifestImage

MAX_MESSAGE_BYTES = 5 * 1024 * 1024  # of thumbnails together: mail servers commonly take 10 to 25 MB, and base64 adds a third
_MAX_PROMPT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedMessage:
    """What a notifier needs. All of it is final text: let no notifier render it, as a prompt may hold ``{{ }}``.

    :param html: the body of a mail; shows ``files`` by ``cid:`` and their names, which Airflow's SMTP hook gives them.
    :param files: paths of the thumbnails on this machine, gone after the ``with`` block.
    """

    subject: str
    text: str
    html: str
    files: list[str]


@contextmanager
def landed_message(landed: LandedGeneration | Mapping[str, Any], *, max_bytes: int = MAX_MESSAGE_BYTES) -> Iterator[LandedMessage]:
    """The message about a landed generation, and its thumbnails as files.

    :param landed: what a sensor, or an operator with ``wait=True``, returned.
    :param max_bytes: of thumbnails together; those that do not fit are left out, and named like images without one.
    :raises ValueError: when the manifest is missing or is none.
    """
    from airflow_provider_seedream.storage import Folder

    known = landed if isinstance(landed, LandedGeneration) else LandedGeneration.from_dict(dict(landed))
    base, _, file = known.manifest.rpartition("/")
    folder = Folder(base)
    data = folder.read(file)
    if data is None:
        raise ValueError(f"{known.manifest} is not there.")
    manifest = Manifest.from_json(data)
    with tempfile.TemporaryDirectory(prefix="seedream-") as local:
        shown = _copy(folder, manifest, Path(local), max_bytes)
        yield _message(known, manifest, shown)


def _copy(folder: Any, manifest: Manifest, local: Path, max_bytes: int) -> dict[int, Path]:
    """The thumbnails by their image's number, as many as fit."""
    shown: dict[int, Path] = {}
    left = max_bytes
    for image in manifest.images:
        size = folder.size_bytes(image.thumbnail) if image.thumbnail else None
        if size is None or size > left or (data := folder.read(image.thumbnail)) is None:
            continue
        left -= size
        shown[image.number] = local / Path(str(image.thumbnail)).name
        shown[image.number].write_bytes(data)
    return shown


def _message(landed: LandedGeneration, manifest: Manifest, shown: dict[int, Path]) -> LandedMessage:
    prompt = str((manifest.submission or {}).get("prompt") or "")[:_MAX_PROMPT]
    count = len(manifest.images)
    subject = f"Seedream: {count} {'image' if count == 1 else 'images'}, {manifest.name}"
    facts = [f"{manifest.credits} credits." if manifest.credits is not None else "", f"Manifest: {landed.manifest}"]
    lines = [f"{_words(image)}: {uri.uri}" for image, uri in zip(manifest.images, landed.images, strict=True)]
    figures = [_figure(image, uri.uri, shown) for image, uri in zip(manifest.images, landed.images, strict=True)]
    return LandedMessage(
        subject=" ".join(subject.split()),
        text="\n".join(line for line in (prompt, *lines, *facts) if line),
        html="\n".join([f"<p>{html.escape(prompt)}</p>", *figures, f"<p>{html.escape(' '.join(facts).strip())}</p>"]),
        files=[str(path) for path in shown.values()],
    )


def _figure(image: ManifestImage, uri: str, shown: dict[int, Path]) -> str:
    words = html.escape(_words(image))
    source = shown.get(image.number)
    picture = f'<img src="cid:{html.escape(source.name)}" alt="{words}" style="max-width: 320px"><br>' if source else ""
    return f"<p>{picture}{words}<br><code>{html.escape(uri)}</code></p>"


def _words(image: ManifestImage) -> str:
    return f"Image {image.number}, {image.width} x {image.height}"
