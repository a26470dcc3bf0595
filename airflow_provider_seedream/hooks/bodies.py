"""The body of a download, whole in memory and bounded, decoded where its store compressed it.

Object stores send ``Content-Encoding`` as metadata of the object and ignore ``Accept-Encoding``.
Values that are no compression (``aws-chunked``, ``utf-8``, ``binary``) stand in such metadata too: they are
ignored.
"""

import zlib

import requests
from urllib3.exceptions import DecodeError

_GZIP = ("gzip", "x-gzip")
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_CODINGS = 3


def read_body(answer: requests.Response, max_bytes: int) -> bytes:
    """The body of a download, after decoding, at most ``max_bytes`` of it.

    :param answer: a streamed answer whose body was not touched yet.
    :param max_bytes: one more than is allowed: a body of that length is too large.
    :raises urllib3.exceptions.HTTPError: it was cut, on the way or inside its compression.
    """
    codings = [coding.strip().lower() for coding in answer.headers.get("Content-Encoding", "").split(",")]
    # The raw bytes, in one piece where the length is declared: every other way copies them or costs page
    # faults. Compressed, images may be larger than they are: gzip adds 5 bytes to each block of 16 kB, and
    # its frame.
    pieces, missing = [], max_bytes + (max_bytes // 1000 + 1000 if any(codings) else 0)
    while missing and (piece := answer.raw.read(missing, decode_content=False)):
        pieces.append(piece)
        missing -= len(piece)
    body = b"".join(pieces)
    for coding in reversed(codings[-_MAX_CODINGS:]):
        if coding in _GZIP and body.startswith(_GZIP_MAGIC):
            # some stores keep the header when they decompress
            body = _gunzipped(body, max_bytes)
    return body[:max_bytes]


def _gunzipped(body: bytes, max_bytes: int) -> bytes:
    """The bytes inside a gzip file, at most ``max_bytes``: a small file may hold gigabytes."""
    pieces, missing = [], max_bytes
    while missing and body.startswith(_GZIP_MAGIC):  # a gzip file may have several members
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            piece = member.decompress(body, missing)
        except zlib.error:
            raise DecodeError("broken gzip") from None
        pieces.append(piece)
        missing -= len(piece)
        if missing and not member.eof:
            raise DecodeError("gzip that is cut off")
        body = member.unused_data
    return b"".join(pieces)
