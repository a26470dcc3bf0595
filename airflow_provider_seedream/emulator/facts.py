"""The vendor's API as this stand-in reads it: paths, sizes, limits, price.

An independent reading on purpose: it never imports the provider's own ``contract`` module, so that a mistake
there is noticed here. ``[seen]`` marks a number that users report, or that the model's owner publishes; the
vendor's page does not have it.
"""

from __future__ import annotations

from typing import Final, Literal

SubmissionKind = Literal["generate", "edit"]

GENERATE_PATH: Final = "/v1/images/seedream/v5/lite/generate/"
EDIT_PATH: Final = "/v1/images/seedream/v5/lite/edit/"
STATUS_PATH: Final = "/v1/generation-request/{seedream_task_id}/status/"
WALLET_PATH: Final = "/account/user/wallet/"

# Outputs hold 3,686,400 to 10,404,496 px, whatever the preset is called: the model owner's sizes at 2K and 3K
# [seen].
IMAGE_SIZES: Final[dict[str, tuple[int, int]]] = {
    "square_hd": (2048, 2048),
    "square": (2048, 2048),
    "portrait_4_3": (1728, 2304),
    "portrait_16_9": (1600, 2848),
    "landscape_4_3": (2304, 1728),
    "landscape_16_9": (2848, 1600),
    "auto_2K": (2048, 2048),
    "auto_3K": (3072, 3072),
}
DEFAULT_IMAGE_SIZE: Final = "auto_2K"
MAX_IMAGES: Final = 6
MAX_SOURCES: Final = 10
MAX_SOURCE_BYTES: Final = 10 * 1024 * 1024  # "10 MB" upstream [seen]; read generously
MAX_SOURCE_ASPECT: Final = 16  # this and the next two: the model owner's reference for 5.0 lite [seen]
MIN_SOURCE_SIDE: Final = 15
MAX_SOURCE_PIXELS: Final = 36_000_000
RATE_WINDOW_SECONDS: Final = 60.0
