"""The rules for one input image of an edit, checked before anything is sent: the API would take the credits
first.

The limits are the model owner's, see ``contract``. Imports no HTTP library, storage or Airflow.
"""

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.images import ImageFacts, foreign_format, inspect_image, is_whole

_TAKEN = "JPEG, PNG, WEBP, BMP, TIFF or GIF"


def check_source_image(origin: str, data: bytes) -> ImageFacts:
    """The facts of an image that the API takes.

    :param origin: where it was read from, for the error.
    :param data: the whole file, at most 10 MiB.
    :returns: media type, width and height in pixels.
    :raises SeedreamInputError: naming the image and the rule; nothing was sent.
    """
    if not data:
        raise SeedreamInputError(f"images: {origin} is empty (0 bytes).")
    if len(data) > contract.MAX_SOURCE_BYTES:
        raise SeedreamInputError(
            f"images: {origin} has more than {contract.MAX_SOURCE_BYTES} bytes, the most that is taken."
        )
    facts = inspect_image(data)
    if facts is None:
        name = foreign_format(data)
        what = (
            f"a file of type {name}. The API takes {_TAKEN}: convert it to PNG or JPEG."
            if name
            else f"not a {_TAKEN} image."
        )
        raise SeedreamInputError(f"images: {origin} is {what}")
    if not is_whole(data, facts):
        raise SeedreamInputError(
            f"images: {origin} is not whole: its {len(data)} bytes end before the {facts.media_type} image "
            "does. Copy it again from where it came from."
        )
    size, short, long = (
        f"{facts.width}x{facts.height}",
        min(facts.width, facts.height),
        max(facts.width, facts.height),
    )
    if short < contract.MIN_SOURCE_SIDE:
        raise SeedreamInputError(
            f"images: {origin} is {size}; each side must have at least {contract.MIN_SOURCE_SIDE} pixels."
        )
    if long > contract.MAX_SOURCE_RATIO * short:
        raise SeedreamInputError(f"images: {origin} is {size}; aspect must be 1:16 to 16:1.")
    if facts.width * facts.height > contract.MAX_SOURCE_PIXELS:
        raise SeedreamInputError(
            f"images: {origin} is {size}, {facts.width * facts.height:,} pixels; at most "
            f"{contract.MAX_SOURCE_PIXELS:,} are taken."
        )
    return facts
