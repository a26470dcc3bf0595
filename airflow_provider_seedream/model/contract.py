"""The API as facts: paths, field rules, limits, prices and lifetimes, each with its source.

[doc] is the vendor's own page, [seen] is reported by authors of public clients. Holds no behaviour; imports
nothing of ours.
"""

import re
from typing import Final, Literal, TypeGuard

MODEL: Final = "seedream-v5-lite"
DEFAULT_BASE_URL: Final = "https://api.3daistudio.com"  # [doc]
VERSION_PATH: Final = "/v1"  # part of the paths below [doc]; other clients count it to the base URL [seen]

Kind = Literal["generate", "edit"]
# The trailing slash is part of every path; a POST without it is not expected to work [doc].
SUBMIT_PATHS: Final[dict[Kind, str]] = {
    "generate": "/v1/images/seedream/v5/lite/generate/",
    "edit": "/v1/images/seedream/v5/lite/edit/",
}
STATUS_PATH: Final = "/v1/generation-request/{seedream_task_id}/status/"  # [doc]
WALLET_PATH: Final = "/account/user/wallet/"  # [doc], not under /v1

ImageSize = Literal[
    "square_hd",
    "square",
    "portrait_4_3",
    "portrait_16_9",
    "landscape_4_3",
    "landscape_16_9",
    "auto_2K",
    "auto_3K",
]
DEFAULT_IMAGE_SIZE: Final[ImageSize] = "auto_2K"  # [doc]
MIN_IMAGES: Final = 1  # [doc]
MAX_IMAGES: Final = 6  # [doc]
MIN_SOURCES: Final = 1  # [doc]
MAX_SOURCES: Final = 10  # [doc]
# Per source, from the model owner's reference for Seedream 5.0 lite (Volcengine Ark) [seen]; 1:3 was Seedream
# 3.0's rule.
MAX_SOURCE_BYTES: Final = 10 * 1024 * 1024
MAX_SOURCE_RATIO: Final = 16  # 1:16 to 16:1
MIN_SOURCE_SIDE: Final = 15  # pixels: "above 14"
MAX_SOURCE_PIXELS: Final = 36_000_000

CREDITS_PER_IMAGE: Final = 10  # at any size, taken at submit [doc]
DEFAULT_REQUESTS_PER_MINUTE: Final = 3  # [doc]
SECONDS_PER_IMAGE: Final = 20.0  # the faster end of "20 to 40 s per image" [doc],
SLOW_SECONDS_PER_IMAGE: Final = 40.0  # and the slower; more for auto_3K and batches [doc]
RESULTS_LIFETIME_SECONDS: Final = 24 * 3600  # results are gone after 24 h [doc]
USUAL_SETTLING_SECONDS: Final = 12.0  # links often follow FINISHED by 3 to 12 s [seen]
SETTLING_SECONDS: Final = 120.0  # links may follow FINISHED by up to ~2 minutes [seen]

# Safety rejections carry free text only [seen]; no field tells them apart.
_SURELY_MODERATION = re.compile(r"safety(?!_checker)|moderat|nsfw|content.?polic(?:y|ies)", re.IGNORECASE)
_PERHAPS_MODERATION = re.compile(r"(?<!case.)sensitive|inappropriate|prohibited", re.IGNORECASE)
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def is_moderation(text: str | None, *, of_a_key: bool = False) -> bool:
    """True if a failure's free text speaks of the safety checker.

    :param text: the API's failure reason; None or empty means no.
    :param of_a_key: True for a 403, whose words may be about the key as well: "access prohibited" is no
        moderation then.
    """
    if not text:
        return False
    return bool(_SURELY_MODERATION.search(text) or (not of_a_key and _PERHAPS_MODERATION.search(text)))


def is_seedream_task_id(value: object) -> TypeGuard[str]:
    """True if a value can be an id: a UUID [doc], kept wide enough for other tokens, safe in paths and file
    names.
    """
    return isinstance(value, str) and _TASK_ID.fullmatch(value) is not None
