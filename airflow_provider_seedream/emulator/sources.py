"""The source images of an edit: reads data URIs, and keeps their facts and small thumbnails, not their bytes.

Reads at most what the contract allows; raises ``BadSourceError`` in words a person understands. Blocking: run
it off the event loop.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from airflow_provider_seedream.emulator import facts
from airflow_provider_seedream.emulator.pillow import Image

_DATA_URI = re.compile(r"data:(image/[a-z0-9.+-]+);base64,")  # in lower case [seen]
_FORMATS: dict[str, str] = {
    "image/jpeg": "JPEG",
    "image/jpg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/gif": "GIF",
}
_READABLE = tuple(sorted(set(_FORMATS.values())))
THUMBNAIL_PIXELS = 256


class BadSourceError(Exception):
    """A source image that the vendor would refuse; the text is the rule, for people.

    Example::

        raise BadSourceError("the bytes are PNG, the data URI says image/jpeg")
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One accepted source image of an edit, without its bytes::

        source = read_source("data:image/png;base64,iVBORw0K...")
        print(source.width, source.height, source.size_bytes)

    :param sha256: of the decoded bytes, to compare with the file that a test has sent.
    :param thumbnail: a PNG of at most 256 px a side, which the drawn result shows.
    :param media_type: as the data URI says it, and the bytes agree.
    :param size_bytes: of the decoded image.
    """

    media_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    thumbnail: bytes  # PNG

    def describe(self) -> dict[str, Any]:
        """Its facts for the books: everything but the thumbnail."""
        return {
            "media_type": self.media_type,
            "width": self.width,
            "height": self.height,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
        }


def read_source(url: object) -> Source:
    """Check a data URI by the rules that users report [seen].

    :raises BadSourceError: no data URI in lower case, a wrong media type, damaged bytes, too large, too small
        or too narrow.
    :param url: an item of ``image_urls``, of any type, as it comes from a client.
    :returns: its facts and a thumbnail. The bytes are dropped: ten sources of 10 MB would fill the books.
    """
    media_type, content = _decoded(url)
    if len(content) > facts.MAX_SOURCE_BYTES:
        raise BadSourceError(f"{len(content)} bytes; at most {facts.MAX_SOURCE_BYTES}")
    picture = _opened(media_type, content)
    width, height = picture.size
    if min(width, height) < facts.MIN_SOURCE_SIDE:
        raise BadSourceError(f"{width}x{height}: each side must have at least {facts.MIN_SOURCE_SIDE} px")
    if width * height > facts.MAX_SOURCE_PIXELS:
        raise BadSourceError(f"{width}x{height}: at most {facts.MAX_SOURCE_PIXELS} px in all")
    if not 1 / facts.MAX_SOURCE_ASPECT <= width / height <= facts.MAX_SOURCE_ASPECT:
        raise BadSourceError(f"{width}x{height}: the aspect must lie between 1:16 and 16:1")
    return Source(
        media_type=media_type,
        width=width,
        height=height,
        size_bytes=len(content),
        sha256=sha256(content).hexdigest(),
        thumbnail=_thumbnail(picture),
    )


def _decoded(url: object) -> tuple[str, bytes]:
    """Media type and bytes.

    :raises BadSourceError: no data URI of a known type, or damaged base64.
    """
    found = _DATA_URI.match(url) if isinstance(url, str) else None
    if found is None or not isinstance(url, str):
        raise BadSourceError("must be a string data:image/...;base64,...")
    media_type = found[1]
    if media_type not in _FORMATS:
        raise BadSourceError(f"{media_type} is not supported")
    try:
        return media_type, base64.b64decode(url[found.end() :], validate=True)
    except binascii.Error as bad:
        raise BadSourceError("the base64 cannot be decoded") from bad


def _opened(media_type: str, content: bytes) -> Image.Image:
    """The image, its header read.

    :raises BadSourceError: not an image, or of another type than the data URI says.
    """
    try:
        with warnings.catch_warnings():
            # The size is judged by the contract's own rule a moment later.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=_READABLE)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as bad:
        raise BadSourceError("the bytes are not a readable image") from bad
    # MPO: the JPEG of many phones, with a preview behind it
    seen = "JPEG" if picture.format == "MPO" else picture.format
    if seen != _FORMATS[media_type]:
        raise BadSourceError(f"the bytes are {seen}, the data URI says {media_type}")
    return picture


def _thumbnail(picture: Image.Image) -> bytes:
    """A small PNG. Decodes the whole image, which is how damage is found.

    :raises BadSourceError: the image data is damaged.
    """
    try:
        # A JPEG is decoded at a fraction of its size, which saves most of the time.
        picture.draft("RGB", (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        small = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as bad:
        raise BadSourceError("the image data is damaged") from bad
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    target = io.BytesIO()
    small.save(target, "PNG")
    return target.getvalue()
