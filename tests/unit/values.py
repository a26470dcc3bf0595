"""The values most unit tests start from, so that a test spells out only what it is about."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from airflow_provider_seedream import exceptions as errors
from airflow_provider_seedream.generations import Generation, GenerationStatus, ResultLinks
from airflow_provider_seedream.ledger.records import Record
from airflow_provider_seedream.model.submissions import Submission, build_submission, check_source
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.polling.policy import PollPolicy

TASK_ID = "0b8c1f0e-5a63-4b0e-9b0c-2f6f3a1d7c11"
KEY = "3d-canary-KEY-4711"
NOW = 1_772_020_800.0  # 2026-02-25T12:00:00Z
ERROR_CLASSES: dict[int, type[errors.SeedreamError]] = {  # of an answer, by its HTTP status
    301: errors.SeedreamResponseError,
    302: errors.SeedreamResponseError,
    304: errors.SeedreamResponseError,
    307: errors.SeedreamResponseError,
    308: errors.SeedreamResponseError,
    400: errors.SeedreamBadRequestError,
    401: errors.SeedreamAuthenticationError,
    402: errors.SeedreamInsufficientCreditsError,
    403: errors.SeedreamAuthenticationError,
    404: errors.SeedreamNotFoundError,
    405: errors.SeedreamBadRequestError,
    413: errors.SeedreamBadRequestError,
    422: errors.SeedreamBadRequestError,
    429: errors.SeedreamRateLimitError,
    499: errors.SeedreamBadRequestError,
    500: errors.SeedreamServerError,
    502: errors.SeedreamServerError,
    503: errors.SeedreamServerError,
    599: errors.SeedreamServerError,
}


def submission(**changes: Any) -> Submission:
    fields: dict[str, Any] = {
        "kind": "generate",
        "prompt": "a leather watch",
        "image_size": "auto_2K",
        "num_images": 1,
        "seed": None,
        "enable_safety_checker": True,
        "take": 1,
    }
    return build_submission(**{**fields, **changes})


def edit(*images: bytes, **changes: Any) -> Submission:
    sources = tuple(check_source(f"file:///in/{number}.png", data) for number, data in enumerate(images, 1))
    return submission(kind="edit", sources=sources, **changes)


def png(width: int = 20, height: int = 15, *, padding_bytes: int = 0) -> bytes:
    """A real PNG; padding goes into a chunk that every reader skips."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\x00" + bytes(width) for _ in range(height)))
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    if padding_bytes:
        chunks.insert(1, (b"paDd", bytes(padding_bytes)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def status(word: str, *images: str | None, reason: str | None = None) -> GenerationStatus:
    results = tuple(ResultLinks(image=image, thumbnail=None) for image in images)
    return GenerationStatus(status=word, progress=None, failure_reason=reason, results=results)


def policy_of(**changes: Any) -> PollPolicy:
    fields: dict[str, Any] = {"deadline_epoch": NOW + 3600, "poke_interval_seconds": 10.0, "num_images": 1}
    return PollPolicy(**{**fields, **changes})


def generation(**changes: Any) -> Generation:
    fields: dict[str, Any] = {
        "seedream_task_id": TASK_ID,
        "kind": "generate",
        "created_at": "2026-02-25T12:00:00Z",
        "num_images": 1,
        "credits": 10,
        "destination": "s3://bucket/watches",
        "name": "hero",
        "record": f"s3://bucket/watches/_seedream/ledger/{'a' * 64}.json",
        "image_size": "auto_2K",
    }
    return Generation(**{**fields, **changes})


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "key": "a" * 64,
        "attempt": 1,
        "outcome": "intent",
        "claim": "c1",
        "destination": "s3://bucket/watches",
        "name": None,
        "submission": submission().describe(),
        "fingerprint": submission().fingerprint,
        "credits": 10,
        "made_by": TaskRef(dag_id="d", run_id="r", task_id="t", try_number=1),
        "intent_at": "2026-02-25T12:00:00Z",
        "settles_at": "2026-02-25T12:02:20Z",
    }
    return Record(**{**fields, **changes})


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
