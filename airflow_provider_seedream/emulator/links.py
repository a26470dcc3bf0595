"""Pre-signed links in the S3 style: the query alone allows reading the object until the link expires.

Signing and checking only; knows no server and no generation. Every signing gives a different link, as a fresh
status call does. The signature covers the exact text, so that a client which rewrites an escape is refused.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from typing import Literal
from urllib.parse import parse_qs, urlencode

LinkProblem = Literal["unsigned", "forged", "expired"]
_SIGNATURE = "&X-Amz-Signature="
_FILE_NAME = re.compile(r".*?-(?P<index>\d+)(?P<thumbnail>_thumb)?-[0-9a-f]{12}\.[a-z]+")
# As clients like to rewrite them: an unreserved letter and a tilde that are escaped, lower-case hexadecimal,
# an escaped slash, UTF-8; and a parenthesis and a plus sign that are not escaped.
_ESCAPED, _PLAIN = "Im%61ge%20%7E%28a%2fb%2B(c+d)%c3%a9", "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectName:
    """The object that a path of the storage names: an image or the thumbnail of a result::

        object_name("/seedream-results/6f2c.../image-0_thumb-0123456789ab.png").thumbnail is True

    :param index: number of the result, from 0.
    """

    seedream_task_id: str
    index: int
    thumbnail: bool

    def path(self, suffix: str, *, escaped: bool = False) -> str:
        """A path that no other result has.

        :param suffix: the ending of the file, without the dot.
        :param escaped: with percent-escapes that a client must send as they stand.
        """
        unique = sha256(f"{self.seedream_task_id}/{self.index}/{self.thumbnail}".encode()).hexdigest()[:12]
        tail = "_thumb" if self.thumbnail else ""
        stem = _ESCAPED if escaped else _PLAIN
        return f"/seedream-results/{self.seedream_task_id}/{stem}-{self.index}{tail}-{unique}.{suffix}"


def object_name(path: str) -> ObjectName | None:
    """The object that a path names, with its escapes read or not; None for any other path."""
    bucket, _, rest = path.lstrip("/").partition("/")
    task_id, _, file_name = rest.partition("/")
    found = _FILE_NAME.fullmatch(file_name)
    if bucket != "seedream-results" or found is None:
        return None
    return ObjectName(
        seedream_task_id=task_id, index=int(found["index"]), thumbnail=found["thumbnail"] is not None
    )


class Signer:
    """Makes and checks links with a secret of this process, so links of an earlier process are refused.

    Example::

        signer = Signer(secrets.token_bytes(32))
        link = signer.sign("/seedream-results/...", now=0.0, lifetime_seconds=3600)
        assert signer.check(link, now=3599.0) is None
        assert signer.check(link, now=3600.0) == "expired"
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._numbers = count(1)

    def sign(self, path: str, now: float, lifetime_seconds: float) -> str:
        """The path with a query that allows reading it for ``lifetime_seconds``. A number in it makes each
        link another one.

        :param now: epoch seconds, the emulator's clock.
        """
        day = datetime.fromtimestamp(now, UTC)
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"seedream/{day:%Y%m%d}/auto/s3/aws4_request",
            "X-Amz-Date": f"{day:%Y%m%dT%H%M%SZ}",
            "X-Amz-Expires": f"{lifetime_seconds:.0f}",
            "X-Amz-Nonce": str(next(self._numbers)),
            "X-Expires-Epoch": f"{now + lifetime_seconds:.3f}",
        }
        target = f"{path}?{urlencode(query)}"
        return f"{target}{_SIGNATURE}{self._signature(target)}"

    def check(self, target: str, now: float) -> LinkProblem | None:
        """The problem of a link, or None.

        :param target: path and query exactly as they arrived: a client that has rewritten an escape holds a
            forged link.
        """
        signed, found, signature = target.partition(_SIGNATURE)
        if not found:
            return "unsigned"
        if not hmac.compare_digest(self._signature(signed), signature):
            return "forged"
        return "expired" if now >= float(parse_qs(signed.partition("?")[2])["X-Expires-Epoch"][0]) else None

    def _signature(self, target: str) -> str:
        return hmac.new(self._secret, target.encode(), sha256).hexdigest()
