"""The input images of an edit, read from the user's storage and checked before anything is sent.

Runs on the worker at POST time. Links are refused, not fetched: they could lead into your own network.
"""

import base64
import binascii
import re
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamError, SeedreamInputError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.source_texts import (
    check_no_link,
    check_pick,
    check_source_count,
    is_data_uri,
    picked,
    source_list,
)
from airflow_provider_seedream.model.submissions import Source, check_source

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)


def read_sources(images: Any, pick: Any = None) -> tuple[Source, ...]:
    """Read and check the images of an edit::

        read_sources(["s3://bucket/watch.png", "data:image/png;base64,iVBORw0..."], pick=1)

    :param images: a list of storage URIs, local paths or data URIs; or the result of a task that landed
        images.
    :param pick: numbers of the wanted images, counted from 1; None for all.
    :raises SeedreamInputError: an image is against the rules; the text names the image and the rule.
    :raises SeedreamError: a storage does not answer; a retry reads again.
    """
    wanted = picked(source_list(images, counted=False), check_pick(pick))
    check_source_count(wanted)
    sources: list[Source] = []
    for number, image in enumerate(wanted, 1):
        if is_data_uri(image):  # named by its number, as its text is long
            sources.append(check_source(f"data: (image {number})", _decode(number, image)))
        else:
            sources.append(check_source(image, _read(image)))
    return tuple(sources)


def _decode(number: int, image: str) -> bytes:
    """The bytes in a data URI.

    :param number: of the image, from 1, for the error.
    :raises SeedreamInputError: the text is no data URI of an image, or its base64 is broken.
    """
    head = _DATA_URI.match(image)
    if head is None:
        raise SeedreamInputError(
            f"images: image {number} is no data URI of the form data:image/...;base64,..."
        )
    try:
        # many encoders break lines
        return base64.b64decode("".join(image[head.end() :].split()), validate=True)
    except binascii.Error as error:
        raise SeedreamInputError(
            f"images: image {number} is a data URI with broken base64 ({error})."
        ) from None


def _read(uri: str) -> bytes:
    """The bytes of a stored image, but at most one more than is allowed: enough to refuse it.

    :raises SeedreamInputError: there is no such file.
    :raises SeedreamError: the store failed; the text carries its error.
    """
    check_no_link(uri)
    from airflow_provider_seedream.hooks.first_mistakes import named
    from airflow_provider_seedream.storage.airflow_paths import airflow_path

    try:
        path = airflow_path(uri)
        with path.fs.open(path.path, "rb") as file:
            data: bytes = file.read(contract.MAX_SOURCE_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise SeedreamInputError(f"images: there is no file {uri}.") from None
    except Exception as error:  # each store has its own error classes
        failed = SeedreamError(
            f"images: {uri} cannot be read.",
            verdict="STORAGE FAILED",
            cause=f"{type(error).__name__}: {error}",
        )
        failed.on_retry = "A retry reads it again."
        raise named(failed, error, uri) from error
    return data
