"""What bytes are: the kind of image by its magic bytes, its size by its header, whether its end is there.

Pure, and never trusts a file name or a Content-Type. Decodes no pixels.
"""

import io
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """Width and height in pixels, and the media type the bytes have."""

    media_type: str
    width: int
    height: int


def inspect_image(data: bytes) -> ImageFacts | None:
    """The facts of an image, or None where the bytes are no image of a known kind."""
    import imagesize

    media_type = _media_type(data)
    if media_type is None:
        return None
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except Exception:  # a broken header of any kind means no image
        return None
    if width <= 0 or height <= 0:
        return None
    return ImageFacts(media_type=media_type, width=int(width), height=int(height))


def is_whole(data: bytes, facts: ImageFacts) -> bool:
    """Whether the end that the format prescribes is there: a server may declare the length of a cut file."""
    if facts.media_type == "image/png":
        return b"IEND" in data[-64:]
    if facts.media_type == "image/jpeg":
        return b"\xff\xd9" in data[-4096:]
    if facts.media_type == "image/webp":
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return True


def _media_type(data: bytes) -> str | None:
    for media_type, magic in _MAGIC:
        if data.startswith(magic) and (magic != b"RIFF" or data[8:12] == b"WEBP"):
            return media_type
    return None
