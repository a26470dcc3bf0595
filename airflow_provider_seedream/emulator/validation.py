"""The request fields, rule by rule, as the contract's table has them.

Pure: raises ``InvalidFieldError`` naming the field. Unknown fields are not refused (the vendor probably
ignores them) but reported back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.emulator import facts
from airflow_provider_seedream.emulator.sources import BadSourceError, Source, read_source

_COMMON_FIELDS = frozenset({"prompt", "image_size", "num_images", "seed", "enable_safety_checker"})


class InvalidFieldError(Exception):
    """A field breaks a rule of the contract::

        InvalidFieldError("num_images", "must be at least 1 and at most 6")

    :param field: its name in the body; ``non_field_errors`` for the body itself.
    :param rule: what the field must be, for people.
    """

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The fields of a request that keeps every rule, with the API's defaults filled in::

        validate("generate", {"prompt": "a watch"}).num_images == 1

    :param sources: of an edit, checked and measured.
    :param unknown_fields: names that the API does not document, sorted.
    :param seed: None if the request has none; the emulator then draws one.
    :param image_size: a key of ``facts.IMAGE_SIZES``.
    """

    kind: facts.SubmissionKind
    prompt: str
    image_size: str
    num_images: int
    seed: int | None
    enable_safety_checker: bool
    sources: tuple[Source, ...] = ()
    unknown_fields: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """The payload without its bulk, for the books."""
        payload: dict[str, Any] = {
            "prompt": self.prompt,
            "image_size": self.image_size,
            "num_images": self.num_images,
            "seed": self.seed,
            "enable_safety_checker": self.enable_safety_checker,
        }
        if self.kind == "edit":
            payload["image_urls"] = [source.describe() for source in self.sources]
        return payload


def validate(kind: facts.SubmissionKind, body: object) -> Submission:
    """Read the JSON body of a submission. Blocking for an edit, as its images are decoded.

    :raises InvalidFieldError: for the first rule that is broken.
    :param kind: an edit needs ``image_urls``; for a generation that field is unknown.
    :param body: the parsed JSON, of any type.
    """
    if not isinstance(body, dict):
        raise InvalidFieldError("non_field_errors", "the body must be a JSON object")
    allowed = _COMMON_FIELDS | {"image_urls"} if kind == "edit" else _COMMON_FIELDS
    # A text that is not blank and can be encoded as UTF-8.
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise InvalidFieldError("prompt", "required, a string")
    if not prompt.strip():
        raise InvalidFieldError("prompt", "may not be blank")
    # JSON can spell half a pair; UTF-8 cannot.
    if any("\ud800" <= mark <= "\udfff" for mark in prompt):
        raise InvalidFieldError("prompt", "has half a surrogate pair, which is no character")
    size = body.get("image_size", facts.DEFAULT_IMAGE_SIZE)
    if not isinstance(size, str) or size not in facts.IMAGE_SIZES:
        raise InvalidFieldError("image_size", f"must be one of {', '.join(facts.IMAGE_SIZES)}")
    return Submission(
        kind=kind,
        prompt=prompt,
        image_size=size,
        num_images=_integer(body, "num_images", 1, facts.MAX_IMAGES) if "num_images" in body else 1,
        seed=_integer(body, "seed", 0, None) if "seed" in body else None,
        enable_safety_checker=_flag(body, "enable_safety_checker"),
        sources=_sources(body) if kind == "edit" else (),
        unknown_fields=tuple(sorted(set(body) - allowed)),
    )


def _integer(body: Mapping[str, Any], field: str, low: int, high: int | None) -> int:
    """A JSON integer within its bounds; ``true`` and ``2.0`` are none."""
    value = body[field]
    # Python's True is an integer; JSON's is not.
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidFieldError(field, "must be an integer")
    if value < low or (high is not None and value > high):
        raise InvalidFieldError(
            field, f"must be at least {low}" + ("" if high is None else f" and at most {high}")
        )
    return value


def _flag(body: Mapping[str, Any], field: str) -> bool:
    """A JSON boolean; true where the field is missing."""
    value = body.get(field, True)
    if not isinstance(value, bool):
        raise InvalidFieldError(field, "must be a boolean")
    return value


def _sources(body: Mapping[str, Any]) -> tuple[Source, ...]:
    """1 to 10 source images."""
    urls = body.get("image_urls")
    if not isinstance(urls, list) or not 1 <= len(urls) <= facts.MAX_SOURCES:
        raise InvalidFieldError("image_urls", f"required, 1 to {facts.MAX_SOURCES} data URIs")
    return tuple(_source(number, url) for number, url in enumerate(urls))


def _source(number: int, url: object) -> Source:
    """One source image; an error names its number, from 0."""
    try:
        return read_source(url)
    except BadSourceError as bad:
        raise InvalidFieldError("image_urls", f"item {number}: {bad}") from bad
