"""The vendor's API as this stand-in reads it: paths, sizes, limits, price.

An independent reading on purpose: it never imports the provider's own ``contract`` module, so that a mistake there is
noticed here.
"""

from __future__ import annotations

from typing import Final, Literal

SubmissionKind = Literal["generate", "edit"]

GENERATE_PATH: Final = "/v1/images/seedream/v5/lite/generate/"
EDIT_PATH: Final = "/v1/images/seedream/v5/lite/edit/"
STATUS_PATH: Final = "/v1/generation-request/{seedream_task_id}/status/"
WALLET_PATH: Final = "/account/user/wallet/"

IMAGE_SIZES: Final[dict[str, tuple[int, int]]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
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
CREDITS_PER_IMAGE: Final = 10
RATE_WINDOW_SECONDS: Final = 60.0
