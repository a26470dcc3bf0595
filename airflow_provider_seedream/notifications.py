"""A landed generation as a message with its thumbnails, for any notifier of the deployment (mail, Slack,
...).

The notifier sends it; this module only composes it. Thumbnails are copied to the worker's disk while the
message is being sent.
"""

import html
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.manifest import Manifest, ManifestImage, read_manifest
from airflow_provider_seedream.model.counting import counted

# of thumbnails together: mail servers commonly take 10 to 25 MB, and base64 adds a third
MAX_MESSAGE_BYTES = 5 * 1024 * 1024
_MAX_PROMPT = 500
_MAX_NAMES = 3  # in a subject


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedMessage:
    """The parts of a message, for a notifier. They are final text: a notifier must not render them, as a
    prompt may hold ``{{ }}``.

    ::

        with landed_message(landed) as message:
            mail = {"subject": message.subject, "html_content": message.html, "files": message.files}
            SmtpNotifier(to="art@example.com", from_email="airflow@example.com", **mail).notify(context)

    :param text: plain, for a mail or a log.
    :param slack: the same for Slack, where ``<!channel>`` in a prompt would call everybody.
    :param html: the body of a mail; shows ``files`` by ``cid:`` and their names, which Airflow's SMTP hook
        gives them.
    :param files: paths of the thumbnails on this machine, gone after the ``with`` block.
    """

    subject: str
    text: str
    slack: str
    html: str
    files: list[str]


@contextmanager
def landed_message(
    landed: LandedGeneration | Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    max_bytes: int = MAX_MESSAGE_BYTES,
) -> Iterator[LandedMessage]:
    """The message about one or more landed generations, with its thumbnails as files for the length of the
    ``with`` block::

        with landed_message(ti.xcom_pull("land")) as message:
            print(message.subject)  # Seedream: 2 images, hero

    :param landed: a LandedGeneration, as a sensor or an operator with ``wait=True`` returns it; the list of a
        mapped task; or rows of a batch, as ``chosen_rows`` returns them: of each the images that it names,
        which may be fewer than were landed.
    :param max_bytes: of all thumbnails together; those that exceed it are left out, and their images are
        named in text.
    :raises ValueError: a manifest is missing or invalid, or the list is empty.
    """
    several = [landed] if isinstance(landed, LandedGeneration | Mapping) else list(landed)
    # An empty list is an error: a message about no images would be sent in silence.
    if not several:
        raise ValueError("The list of landed generations is empty, so there is nothing to notify about.")
    with tempfile.TemporaryDirectory(prefix="seedream-") as local:
        sections, left = [], max_bytes
        for number, one in enumerate(several, 1):
            section = _read(one, Path(local), prefix=f"{number}_" if len(several) > 1 else "", max_bytes=left)
            # The bound holds for the whole message: a mail server refuses it as a whole.
            left -= sum(path.stat().st_size for path in section.shown.values())
            sections.append(section)
        count = sum(len(section.images) for section in sections)
        names = ", ".join(section.manifest.name for section in sections[:_MAX_NAMES]) + (
            ", ..." if sections[_MAX_NAMES:] else ""
        )
        subject = f"Seedream: {count} {'image' if count == 1 else 'images'}, {names}"
        text = "\n\n".join(_text(section) for section in sections)
        yield LandedMessage(
            # A line break in a subject would begin another header of the mail.
            subject=" ".join(subject.split()),
            text=text,
            slack=html.escape(text, quote=False),  # &, < and > are all that Slack reads
            html="\n".join(_html(section) for section in sections),
            files=[str(path) for section in sections for path in section.shown.values()],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One generation: where its manifest lies, the facts in it, and the thumbnails by their image's number.

    :param only: file names of the images that the message is about; None: all of the manifest.
    """

    uri: str
    manifest: Manifest
    shown: dict[int, Path]
    only: frozenset[str] | None

    @property
    def prompt(self) -> str:
        """The prompt, at most 500 characters of it; blank for a rescued bare id."""
        return str((self.manifest.submission or {}).get("prompt") or "")[:_MAX_PROMPT]

    @property
    def images(self) -> list[tuple[ManifestImage, str]]:
        """Those of the manifest, which may have become more since the XCom was written, each with its URI."""
        folder = self.uri.rpartition("/")[0]
        return [(image, f"{folder}/{image.file}") for image in _of(self.manifest, self.only)]

    @property
    def facts(self) -> list[str]:
        """The sentences below the images: how many came, their price, and the manifest."""
        manifest = self.manifest
        came = (
            f"Only {len(manifest.images)} of {manifest.images_requested} images came."
            if manifest.missing_images
            else ""
        )
        cost = manifest.credits if manifest.billed_credits is None else manifest.billed_credits
        price = "" if cost is None else f"{counted(cost, 'credit')}."
        return [fact for fact in (came, price, f"Manifest: {self.uri}") if fact]


def _read(
    landed: LandedGeneration | Mapping[str, Any], local: Path, *, prefix: str, max_bytes: int
) -> _Section:
    """One generation: its manifest read, and its thumbnails copied as far as they fit."""
    from airflow_provider_seedream.storage.folder import Folder

    uri, only = _named(landed)
    manifest = read_manifest(uri)
    folder = Folder(uri.rpartition("/")[0])
    shown: dict[int, Path] = {}  # the thumbnails by their image's number, as many as fit
    left = max_bytes
    for image in _of(manifest, only):
        thumbnail = image.thumbnail or ""
        size = folder.size_bytes(thumbnail) if thumbnail else None
        # One that is too large is left out, and smaller ones behind it may still fit.
        if size is None or size > left or (data := folder.read(thumbnail)) is None:
            continue
        left -= size
        shown[image.number] = local / f"{prefix}image_{image.number}.thumb{Path(thumbnail).suffix}"
        shown[image.number].write_bytes(data)
    return _Section(uri=uri, manifest=manifest, shown=shown, only=only)


def _named(landed: LandedGeneration | Mapping[str, Any]) -> tuple[str, frozenset[str] | None]:
    """The URI of the manifest; of a batch's row also the file names of its images, of which a person may
    have chosen some.
    """
    if (
        not isinstance(landed, LandedGeneration)
        and isinstance(landed.get("row"), int)
        and isinstance(landed.get("manifest"), str)
    ):
        return landed["manifest"], frozenset(str(uri).rpartition("/")[2] for uri in landed["images"])
    known = landed if isinstance(landed, LandedGeneration) else LandedGeneration.from_dict(dict(landed))
    return known.manifest, None


def _of(manifest: Manifest, only: frozenset[str] | None) -> list[ManifestImage]:
    return [image for image in manifest.images if only is None or image.file in only]


def _text(section: _Section) -> str:
    """A generation in plain lines."""
    lines = [f"{_words(image)}: {uri}" for image, uri in section.images]
    return "\n".join(line for line in (section.prompt, *lines, *section.facts) if line)


def _html(section: _Section) -> str:
    """A generation as paragraphs of HTML."""
    figures = [_figure(image, uri, section.shown) for image, uri in section.images]
    facts = html.escape(" ".join(section.facts))
    return "\n".join([f"<p>{html.escape(section.prompt)}</p>", *figures, f"<p>{facts}</p>"])


def _figure(image: ManifestImage, uri: str, shown: dict[int, Path]) -> str:
    """One image: its thumbnail where it fitted, its size, and its URI."""
    words = html.escape(_words(image))
    source = shown.get(image.number)
    picture = f'<img src="cid:{source.name}" alt="{words}" style="max-width: 320px"><br>' if source else ""
    return f"<p>{picture}{words}<br><code>{html.escape(uri)}</code></p>"


def _words(image: ManifestImage) -> str:
    return f"Image {image.number}, {image.width} x {image.height}"
