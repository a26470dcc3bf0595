"""The bytes of an image or its thumbnail as an answer, and how long a browser may keep them.

An address with the hash of an image leads to these bytes or to none. Never decides who may see them: the
routes do.
"""

import hashlib
import re
from urllib.parse import quote

from fastapi import HTTPException, Request, Response

from airflow_provider_seedream.gallery.cards import Card
from airflow_provider_seedream.gallery.reading import CannotShowError, read_image
from airflow_provider_seedream.manifest import ManifestImage


def send(
    request: Request,
    card: Card,
    image: ManifestImage,
    *,
    is_thumbnail: bool = False,
    forever: bool,
    attachment: bool = False,
) -> Response:
    """The bytes of an image or its thumbnail.

    :param forever: whether the address holds the hash: then it leads to these bytes or to none, and a browser
        may keep them.
    """
    headers = _headers(image.sha256, is_thumbnail=is_thumbnail, forever=forever)
    if has(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    file = (image.thumbnail if is_thumbnail else None) or image.file
    try:
        data, media_type = read_image(card.folder, file)
    except CannotShowError:
        raise HTTPException(404) from None
    if file == image.file and hashlib.sha256(data).hexdigest() != image.sha256:
        raise HTTPException(404)  # the file was replaced: its bytes are not those that the page describes
    if attachment:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file, safe='')}"
    return Response(data, media_type=media_type, headers=headers)


def unchanged(sha256: str, *, is_thumbnail: bool = False) -> Response:
    """A browser that names the hash has these bytes: storage need not be asked."""
    return Response(status_code=304, headers=_headers(sha256, is_thumbnail=is_thumbnail, forever=True))


def _headers(sha256: str, *, is_thumbnail: bool, forever: bool) -> dict[str, str]:
    keep = "private, max-age=31536000, immutable" if forever else "private, no-cache"
    return {"ETag": etag_of(sha256, is_thumbnail=is_thumbnail), "Cache-Control": keep}


def etag_of(sha256: str, *, is_thumbnail: bool = False) -> str:
    """The image's hash; that of a thumbnail is another, as it has other bytes at the same image."""
    return f'"{sha256}{"-thumb" if is_thumbnail else ""}"'


def has(request: Request, etag: str) -> bool:
    """True if the browser has these bytes already: it sends a list of tags, each perhaps weak, or ``*``."""
    sent = request.headers.get("If-None-Match", "")
    return sent.strip() == "*" or etag in re.findall(r'"[^"]*"', sent)
