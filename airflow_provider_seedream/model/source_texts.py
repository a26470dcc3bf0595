"""How people write the input images of an edit: storage URIs, paths, data URIs, plain base64, landed images. Reads none of them."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.images import foreign_format, media_type_of

MAX_ADDRESS_CHARACTERS = 4096  # of a path on Linux (PATH_MAX); keys of object stores have at most 1,024 bytes
_BASE64_HEAD = re.compile(r"[A-Za-z0-9+/\s]{64}")  # an image of the smallest size that is taken has more


def check_source_count(sources: Any) -> None:
    if isinstance(sources, str | bytes) or not isinstance(sources, Sequence):  # what a mapped task returned is no list
        raise SeedreamInputError(f"images must be a list of images, not {type(sources).__name__}.")
    if not contract.MIN_SOURCES <= len(sources) <= contract.MAX_SOURCES:
        raise SeedreamInputError(f"images must hold {contract.MIN_SOURCES} to {contract.MAX_SOURCES} images; got {len(sources)}.")


def source_list(images: Any) -> list[str]:
    """The images as storage URIs, paths or data URIs, without blanks around them.

    Takes a list of those, of images in plain base64, of landed images, or a whole LandedGeneration.

    :raises SeedreamInputError: for anything else, a bare string above all.
    """
    if isinstance(images, dict) and "images" in images:
        images = images["images"]
    check_source_count(images)
    found: list[Any] = [image.get("uri") if isinstance(image, dict) else image for image in images]
    if wrong := [image for image in found if not isinstance(image, str) or not image.strip()]:
        raise SeedreamInputError(f"images must hold storage URIs, paths or data URIs; got {str(wrong[0])[:80]!r}.")
    return [_address(number, image.strip()) for number, image in enumerate(found, 1)]


def is_data_uri(image: str) -> bool:
    """Whether a text holds the image itself: never quote it."""
    return image[:5].lower() == "data:"


def check_no_link(image: str) -> str:
    if image[:8].lower().startswith(("http://", "https://")):
        raise SeedreamInputError("images: http(s) links are not read; put the image into storage and name it there.")
    return image


def _address(number: int, text: str) -> str:
    if is_data_uri(text):
        return text
    if media_type := _type_in_base64(text):
        return f"data:{media_type};base64,{text}"
    if len(text) > MAX_ADDRESS_CHARACTERS:  # a store would quote it whole in its error
        raise SeedreamInputError(
            f"images: image {number} is a text of {len(text):,} characters, too long for a URI or a path, and no image in base64. "
            f"It begins with {text[:40]!r}."
        )
    return text


def _type_in_base64(text: str) -> str | None:
    """The media type of an image in plain base64, as it would stand behind ``data:...;base64,``; None for any other text."""
    head = _BASE64_HEAD.match(text)
    if head is None:
        return None
    letters = "".join(head[0].split())
    try:
        data = base64.b64decode(letters[: len(letters) // 4 * 4], validate=True)
    except binascii.Error:
        return None
    return media_type_of(data) or ("image/unknown" if foreign_format(data) else None)  # the check of its bytes names it
