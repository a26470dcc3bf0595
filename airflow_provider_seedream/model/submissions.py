"""A validated request: its body, its fingerprint (equal requests are paid once) and its price.

All fields are checked when the value is built, so a Submission that exists is valid. Never imports HTTP,
storage or Airflow.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airflow_provider_seedream.model import contract
from airflow_provider_seedream.model.contract import ImageSize, Kind
from airflow_provider_seedream.model.field_checks import (
    check_image_size,
    check_num_images,
    check_prompt,
    check_safety,
    check_seed,
    check_take,
)
from airflow_provider_seedream.model.names import composed
from airflow_provider_seedream.model.source_texts import check_source_count

_B64_CHUNK = 3 * 256 * 1024  # a multiple of 3, so that the chunks' base64 can be joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One input image of an edit::

        check_source("s3://my_conn@bucket/watch.png", data).media_type  # "image/png"

    :param origin: the place that it was read from: a URI, a path, or ``data:`` for a data URI.
    :param data: the file as it is, at most 10 MiB.
    :param sha256: of ``data``; it is part of the request's fingerprint.
    :param media_type: told by the bytes, e.g. ``image/png``.
    """

    origin: str
    data: bytes
    sha256: str
    media_type: str

    def describe(self) -> dict[str, Any]:
        """The fields for the ledger and the manifest: without the bytes."""
        return {
            "uri": self.origin,
            "sha256": self.sha256,
            "size_bytes": len(self.data),
            "media_type": self.media_type,
        }

    def data_uri(self) -> Iterator[bytes]:
        """``data:image/...;base64,...`` in pieces, so that no second copy of the whole is held."""
        yield self._data_uri_head()
        for start in range(0, len(self.data), _B64_CHUNK):
            yield base64.b64encode(memoryview(self.data)[start : start + _B64_CHUNK])

    @property
    def data_uri_bytes(self) -> int:
        """The length of :meth:`data_uri` in bytes, without encoding: base64 makes 4 bytes of each 3 that
        begin.
        """
        return len(self._data_uri_head()) + 4 * math.ceil(len(self.data) / 3)

    def _data_uri_head(self) -> bytes:
        return f"data:{self.media_type};base64,".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One paid request. Build it with :func:`build_submission`, which validates::

        fields = {
            "image_size": "auto_2K",
            "num_images": 2,
            "seed": None,
            "enable_safety_checker": True,
            "take": 1,
        }
        build_submission(kind="generate", prompt="a watch", **fields).fingerprint

    :param num_images: 1 to 6; the price is 10 credits for each [doc].
    :param seed: None leaves it to the API.
    :param sources: of an edit 1 to 10 images; empty otherwise.
    :param take: 1 for the first set of images; a larger number makes it another request, deliberately.
    """

    kind: Kind
    prompt: str
    image_size: ImageSize
    num_images: int
    seed: int | None
    enable_safety_checker: bool
    sources: tuple[Source, ...]
    take: int

    @property
    def fingerprint(self) -> str:
        """sha256 over everything that makes it the same request: parameters, source bytes and ``take``.

        The prompt counts in its composed form (NFC): "é" is the same as "e" and an accent. It is sent as
        written.
        """
        return self._fingerprint(composed(self.prompt))

    @property
    def fingerprint_as_written(self) -> str:
        """The fingerprint that 0.2.0 gave: another one where the prompt is not in its composed form."""
        return self._fingerprint(self.prompt)

    def _fingerprint(self, prompt: str) -> str:
        facts = {
            **self.parameters(),
            "prompt": prompt,
            "kind": self.kind,
            "model": contract.MODEL,
            "take": self.take,
        }
        facts["sources"] = [source.sha256 for source in self.sources]
        return sha256_json(facts)

    def parameters(self) -> dict[str, Any]:
        """The API's fields except the image bytes."""
        fields: dict[str, Any] = {
            "prompt": self.prompt,
            "image_size": self.image_size,
            "num_images": self.num_images,
            "enable_safety_checker": self.enable_safety_checker,
        }
        return fields if self.seed is None else {**fields, "seed": self.seed}

    def describe(self) -> dict[str, Any]:
        """The request as the ledger and the manifest keep it."""
        return {
            **self.parameters(),
            "seed": self.seed,
            "kind": self.kind,
            "take": self.take,
            "sources": [source.describe() for source in self.sources],
        }

    def body(self) -> Iterator[bytes]:
        """The JSON body in pieces. ASCII only, so that lengths are the same in characters and bytes."""
        for part in self._body_parts():
            if isinstance(part, Source):
                yield from part.data_uri()
            else:
                yield part

    @property
    def body_bytes(self) -> int:
        """The length of :meth:`body` in bytes, without encoding the sources: they may be 100 MB."""
        return sum(
            part.data_uri_bytes if isinstance(part, Source) else len(part) for part in self._body_parts()
        )

    def _body_parts(self) -> Iterator[bytes | Source]:
        """The JSON body, with each source where its data URI belongs."""
        head = json.dumps(self.parameters())
        if not self.sources:
            yield head.encode()
            return
        yield head[:-1].encode() + b', "image_urls": ['
        for number, source in enumerate(self.sources):
            yield b', "' if number else b'"'
            yield source
            yield b'"'
        yield b"]}"


def sha256_json(value: Any) -> str:
    """sha256 of a value's canonical JSON, in hexadecimal. Records are named by it, so the form never
    changes.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def build_submission(
    *,
    kind: Kind,
    prompt: Any,
    image_size: Any,
    num_images: Any,
    seed: Any,
    enable_safety_checker: Any,
    take: Any,
    sources: tuple[Source, ...] = (),
) -> Submission:
    """A :class:`Submission` from the values that a user wrote.

    :param kind: ``generate`` or ``edit``; an edit needs ``sources``.
    :raises SeedreamInputError: naming the field and its rule; nothing was sent.
    """
    if kind == "edit":
        check_source_count(sources)
    return Submission(
        kind=kind,
        prompt=check_prompt(prompt),
        image_size=check_image_size(image_size),
        num_images=check_num_images(num_images),
        seed=check_seed(seed),
        enable_safety_checker=check_safety(enable_safety_checker),
        sources=sources,
        take=check_take(take),
    )


def submission_of(asked: Any, sources: tuple[Source, ...]) -> Submission:
    """The :class:`Submission` of an operator, or of a row of a table, which have its fields as attributes.

    :raises SeedreamInputError: naming the field and its rule.
    """
    return build_submission(
        kind=asked.kind,
        prompt=asked.prompt,
        image_size=asked.image_size,
        num_images=asked.num_images,
        seed=asked.seed,
        enable_safety_checker=asked.enable_safety_checker,
        take=asked.take,
        sources=sources,
    )


def check_source(origin: str, data: bytes) -> Source:
    """A :class:`Source` from bytes: type by magic bytes, whole, size and aspect ratio as the API takes them.

    :raises SeedreamInputError: naming the source and the rule.
    """
    # image formats: not while a DAG is parsed
    from airflow_provider_seedream.model.source_rules import check_source_image

    facts = check_source_image(origin, data)
    return Source(
        origin=origin, data=data, sha256=hashlib.sha256(data).hexdigest(), media_type=facts.media_type
    )
