"""Inspects image bytes: the format by the magic bytes, the size by the header, completeness by the structure.

It ignores file names and Content-Types, and decodes no pixels. Never imports an HTTP library, storage or
Airflow.
"""

import io
import re
from dataclasses import dataclass

from airflow_provider_seedream.model.structure import bmp_size, is_complete

# media type -> the first bytes; WEBP is told apart from other RIFF files below
_MAGIC: tuple[tuple[str, bytes], ...] = (
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/webp", b"RIFF"),
    ("image/gif", b"GIF8"),
    ("image/bmp", b"BM"),
    ("image/tiff", b"II*\x00"),
    ("image/tiff", b"MM\x00*"),
)
EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
}
# Formats that people take for images of a known kind -> how their files begin.
_FOREIGN: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    # the brand, then those it is compatible with
    ("AVIF", re.compile(rb"....ftyp(....){0,16}?(avif|avis)", re.DOTALL)),
    ("HEIC", re.compile(rb"....ftyp(....){0,16}?(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n")),
    ("JPEG 2000", re.compile(rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  \r\n\x87\n")),
    ("BigTIFF", re.compile(rb"II\+\x00|MM\x00\+")),
    ("PDF", re.compile(rb"%PDF-")),
    ("PostScript", re.compile(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("Photoshop", re.compile(rb"8BPS")),
    ("video", re.compile(rb"....ftyp|\x1a\x45\xdf\xa3", re.DOTALL)),
    (
        "SVG",
        re.compile(
            rb"(\xef\xbb\xbf)?\s*(<\?xml.*?\?>\s*|<!--.*?-->\s*|<!DOCTYPE\s+svg.*?>\s*)*<svg[\s/>]",
            re.DOTALL | re.I,
        ),
    ),
    ("HTML", re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", re.IGNORECASE)),
)
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """Width and height in pixels, and the media type of the bytes.

    Example::

        # ImageFacts(width=2048, height=2048, media_type="image/png"), or None for other bytes
        inspect_image(data)
    """

    media_type: str
    width: int
    height: int


def inspect_image(data: bytes) -> ImageFacts | None:
    """The facts of an image, or None where the bytes are no image of a known kind."""
    media_type = media_type_of(data)
    if media_type is None:
        return None
    try:
        width, height = _size(data, media_type)
    except Exception:  # a broken header of any kind means no image
        return None
    if width <= 0 or height <= 0:
        return None
    return ImageFacts(media_type=media_type, width=int(width), height=int(height))


def is_whole(data: bytes, facts: ImageFacts) -> bool:
    """True if the image is there up to its end: a server may declare the length of a cut file. Bytes behind
    the end may follow.

    :param facts: of the same bytes.
    """
    return is_complete(data, facts.media_type)


def foreign_format(data: bytes) -> str | None:
    """The name of a format that the API does not take, for an error that helps: ``HEIC``, ``SVG``. None if it
    is not known.

    >>> foreign_format(b"%PDF-1.7")
    'PDF'
    """
    head = data[:_HEAD_BYTES]
    return next((name for name, begins in _FOREIGN if begins.match(head)), None)


def _size(data: bytes, media_type: str) -> tuple[int, int]:
    """Width and height as the header says."""
    if media_type == "image/bmp":
        return bmp_size(data)  # imagesize reads the 12-byte header of OS/2 as if it were Microsoft's
    import imagesize

    # as stored: 2.x would swap them by the EXIF orientation
    width, height = imagesize.get(io.BytesIO(data), exif_rotation=False)
    return int(width), int(height)


def media_type_of(data: bytes) -> str | None:
    """The media type by the first bytes; None for any other format."""
    for media_type, magic in _MAGIC:
        if data.startswith(magic) and (magic != b"RIFF" or data[8:12] == b"WEBP"):
            return media_type
    return None
