"""Storage URIs as text: ``scheme://connection@bucket/path``, or an absolute path. Does no I/O.

This module does not use ``urlsplit``: for a store ``#`` and ``?`` are letters of a name, so it would check
only half of the name.
"""

import re
from typing import Any

from airflow_provider_seedream.exceptions import SeedreamInputError

LOCAL = ("", "file", "local")
# other names of one kind of store
_KINDS = {**dict.fromkeys(LOCAL, ""), "s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs"}
_REFUSED = ("http", "https", "data")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_PARENT = re.compile(r"(^|[/\\])\.\.([/\\]|$)")


def split_uri(uri: str) -> tuple[str, str]:
    """The scheme in lower case, and the bucket with its path, without the connection.

    ``s3://my_conn@bucket/a#b`` is ``("s3", "bucket/a#b")``; ``/data/a`` is ``("", "/data/a")``.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return "", uri
    head, slash, path = match[2].partition("/")
    return match[1].lower(), head.rpartition("@")[2] + slash + path


def place_of(uri: str) -> tuple[str, str]:
    """The kind of store, and the bucket with its path: equal for URIs that may name one folder.

    ``file:///data/a`` and ``/data/a`` are ``("", "/data/a")``, ``s3a://my_conn@bucket/a`` is ``("s3",
    "bucket/a")``.
    """
    scheme, place = split_uri(uri.rstrip("/"))
    return _KINDS.get(scheme, scheme), place


def connection_of(uri: str) -> str | None:
    """The connection id in a URI: ``my_conn`` of ``s3://my_conn@bucket/a``; None without one."""
    match = _URI.fullmatch(uri)
    return (match[2].partition("/")[0].rpartition("@")[0] or None) if match else None


def check_destination(uri: Any) -> str:
    """Check a destination: a storage URI or an absolute path.

    :param uri: as a user wrote it, in the task or in the connection.
    :returns: the same without blanks around it and without a trailing slash.
    :raises SeedreamInputError: images and records cannot be stored there; nothing was sent.
    """
    if uri is None:
        raise SeedreamInputError(
            "destination is missing: name one in the task or in the connection. "
            "The provider records each payment there, so it cannot run without one."
        )
    if not isinstance(uri, str) or not uri.strip():
        raise SeedreamInputError(
            f"destination must be a storage URI, e.g. s3://my_conn@bucket/folder; got {str(uri)[:80]!r}."
        )
    base = uri.strip().rstrip("/")
    scheme, place = split_uri(base)
    if scheme in _REFUSED or "?" in base or _PARENT.search(place):
        raise SeedreamInputError(
            f"destination must be a plain storage URI without '..' or a query; got {uri[:200]!r}."
        )
    if base.endswith("#"):
        raise SeedreamInputError(
            f"destination must not end in '#': Airflow would open the folder without it; got {uri[:200]!r}."
        )
    if scheme in LOCAL and not place.startswith("/"):
        raise SeedreamInputError(
            f"destination must be absolute: a worker's current folder is arbitrary; got {uri[:200]!r}."
        )
    return base
