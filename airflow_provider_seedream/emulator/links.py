"""Pre-signed links in the S3 style: whoever holds the query may read the object until it expires.

Signing and checking only; knows no server and no generation. Every signing gives a different link, as a fresh status
call does.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from typing import Literal
from urllib.parse import urlencode

LinkProblem = Literal["unsigned", "forged", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectName:
    """Which object a storage path names."""

    seedream_task_id: str
    index: int
    thumbnail: bool

    def path(self, suffix: str) -> str:
        tail = "_thumb" if self.thumbnail else ""
        return f"/seedream-results/{self.seedream_task_id}/{self.index}{tail}.{suffix}"


def object_name(path: str) -> ObjectName | None:
    """The object a path names, or None when it is none of ours."""
    bucket, _, rest = path.lstrip("/").partition("/")
    task_id, _, file_name = rest.partition("/")
    stem = file_name.partition(".")[0]
    number = stem.removesuffix("_thumb")
    if bucket != "seedream-results" or not number.isdecimal():
        return None
    return ObjectName(seedream_task_id=task_id, index=int(number), thumbnail=stem != number)


class Signer:
    """Makes and checks links with a secret of this process."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._numbers = count(1)

    def sign(self, path: str, now: float, lifetime_seconds: float) -> str:
        """The path with its query."""
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Date": datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ"),
            "X-Amz-Expires": f"{lifetime_seconds:.0f}",
            "X-Amz-Nonce": str(next(self._numbers)),
            "X-Expires-Epoch": f"{now + lifetime_seconds:.3f}",
        }
        return f"{path}?{urlencode({**query, 'X-Amz-Signature': self._signature(path, query)})}"

    def check(self, path: str, query: Mapping[str, str], now: float) -> LinkProblem | None:
        """What is wrong with a link, or None."""
        if "X-Amz-Signature" not in query:
            return "unsigned"
        signed = {name: value for name, value in query.items() if name != "X-Amz-Signature"}
        if not hmac.compare_digest(self._signature(path, signed), query["X-Amz-Signature"]):
            return "forged"
        return "expired" if now >= float(query["X-Expires-Epoch"]) else None

    def _signature(self, path: str, query: Mapping[str, str]) -> str:
        return hmac.new(self._secret, f"{path}?{urlencode(sorted(query.items()))}".encode(), sha256).hexdigest()
