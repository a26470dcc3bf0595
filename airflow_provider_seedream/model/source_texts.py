"""The input images of an edit as people write them: storage URIs, paths, data URIs, plain base64, landed
images.

Reads none of them: this runs while a DAG is parsed. Never imports storage.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model import contract

MAX_ADDRESS_CHARACTERS = 4096  # of a path on Linux (PATH_MAX); keys of object stores have at most 1,024 bytes
_NUMBERS = re.compile(r"\s*\[?\s*\d{1,4}(\s*,\s*\d{1,4})*\s*\]?\s*")
_BASE64_HEAD = re.compile(r"[A-Za-z0-9+/\s]{64}")  # an image of the smallest size that is taken has more


def check_source_count(sources: Any) -> None:
    """Check that there is a list of 1 to 10 images. :raises SeedreamInputError: naming the rule; nothing was
    sent.
    """
    _check_is_list(sources)
    if not contract.MIN_SOURCES <= len(sources) <= contract.MAX_SOURCES:
        raise SeedreamInputError(
            f"images must hold {contract.MIN_SOURCES} to {contract.MAX_SOURCES} images; got {len(sources)}."
        )


def source_list(images: Any, *, counted: bool = True) -> list[str]:
    """The images as storage URIs, paths or data URIs, without blanks around them.

    Takes a list of those, of images in plain base64, of landed images and of LandedGenerations, each of which
    gives all its images; or one landed image, or one LandedGeneration. A mapped task returns such a list.

    :param counted: check that there are 1 to 10 of them.
    :raises SeedreamInputError: for anything else, a bare string above all.
    """
    if not isinstance(images, Mapping):
        _check_is_list(images)
    found = [*_flat(images)]
    for image in found:
        if not isinstance(image, str) or not image.strip():
            raise SeedreamInputError(
                "images must hold storage URIs, paths, data URIs or what a Seedream sensor returned "
                f"(a Generation has no images yet: wait for it first); got {str(image)[:80]!r}."
            )
    if counted:
        check_source_count(found)
    return [_address(number, image.strip()) for number, image in enumerate(found, 1)]


def check_pick(value: Any) -> tuple[int, ...] | None:
    """Numbers of images, counted from 1 as in the names of landed files; None for all of them.

    Example: ``2``, ``[1, 3]``, and ``"[1, 3]"``, as a template renders.

    :raises SeedreamInputError: when it is anything else.
    """
    if value is None:
        return None
    numbers = (
        [int(digits) for digits in re.findall(r"\d+", value)]
        if isinstance(value, str) and _NUMBERS.fullmatch(value)
        else value
    )
    listed = numbers if isinstance(numbers, Sequence) and not isinstance(numbers, str) else [numbers]
    if not listed or any(type(number) is not int or number < 1 for number in listed):
        raise SeedreamInputError(
            f"pick must be the number of an image, counted from 1, or a list of them; got {value!r:.80}."
        )
    return tuple(listed)


def picked(images: list[str], pick: tuple[int, ...] | None) -> list[str]:
    """The images that were picked, in the order of ``pick``; all of them where it is None.

    :raises SeedreamInputError: there is no image of a number.
    """
    if pick and max(pick) > len(images):
        raise SeedreamInputError(f"pick names image {max(pick)}, but images holds {len(images)}.")
    return images if pick is None else [images[number - 1] for number in pick]


def is_data_uri(image: str) -> bool:
    """True if a text holds the image itself: never quote it, as it may have megabytes."""
    return image[:5].lower() == "data:"


def check_no_link(image: str) -> str:
    """The same text. :raises SeedreamInputError: it is an http(s) link, which nothing here downloads: it
    could lead into your own network.
    """
    if image[:8].lower().startswith(("http://", "https://")):
        raise SeedreamInputError(
            "images: http(s) links are not read; put the image into storage and name it there."
        )
    return image


def _check_is_list(images: Any) -> None:
    """Refuse a single text: it would be read as a list of its letters."""
    if isinstance(images, str | bytes) or not isinstance(images, Sequence):
        # what a mapped task returned is no list
        raise SeedreamInputError(f"images must be a list of images, not {type(images).__name__}.")


def _flat(images: Any) -> Iterator[Any]:
    """Each image of lists, of LandedGenerations and of lists of them."""
    if isinstance(images, Mapping) and "images" in images:
        yield from _flat(images["images"])
    elif isinstance(images, Mapping):
        yield images.get("uri", images)
    elif isinstance(images, Sequence) and not isinstance(images, str | bytes):
        for image in images:
            yield from _flat(image)
    else:
        yield images


def _address(number: int, text: str) -> str:
    """One image as a URI, a path or a data URI.

    :raises SeedreamInputError: the text is too long for an address, and no image in base64.
    """
    if is_data_uri(text):
        return text
    if media_type := _type_in_base64(text):
        return f"data:{media_type};base64,{text}"
    if len(text) > MAX_ADDRESS_CHARACTERS:  # a store would quote it whole in its error
        raise SeedreamInputError(
            f"images: image {number} is a text of {len(text):,} characters, too long for a URI or a path, "
            f"and no image in base64. It begins with {text[:40]!r}."
        )
    return text


def _type_in_base64(text: str) -> str | None:
    """The media type of an image in plain base64, as it would stand behind ``data:...;base64,``; None for
    any other text.
    """
    head = _BASE64_HEAD.match(text)
    if head is None:
        return None
    letters = "".join(head[0].split())
    try:
        data = base64.b64decode(letters[: len(letters) // 4 * 4], validate=True)
    except binascii.Error:
        return None
    # not while a DAG is parsed
    from airflow_provider_seedream.model.images import foreign_format, media_type_of

    # the check of its bytes names it
    return media_type_of(data) or ("image/unknown" if foreign_format(data) else None)
