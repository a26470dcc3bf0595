"""Which folders the gallery may read: the allow-list ``[seedream] gallery_roots``.

A URI in an XCom is user input, and the web server's storage credentials are not the user's. So a URI is
compared as text, with its connection, and everything a path could mean beyond its letters is refused. An
empty list serves no bytes. Reads no storage.
"""

import re

from airflow.providers.common.compat.sdk import conf

# Airflow drops a # at the end of a path, and no other
_PLAIN = re.compile(r"[^/\\?\x00-\x1f\x7f]*[^/\\?#\x00-\x1f\x7f]")


def gallery_roots() -> tuple[str, ...]:
    """The folders of ``[seedream] gallery_roots``, without trailing slashes; empty: nothing is shown.

    The list is separated by commas or lines, and is read at each page.
    """
    listed = conf.get("seedream", "gallery_roots", fallback="") or ""
    return tuple(root.strip().rstrip("/") for root in re.split(r"[,\n]", listed) if root.strip().rstrip("/"))


def is_below(uri: str, roots: tuple[str, ...]) -> bool:
    """True if a URI names a file below one of the roots, by plain path segments::

        is_below("s3://my_conn@bucket/watches/hero.png", ("s3://my_conn@bucket/watches",))  # True
        is_below("s3://my_conn@bucket/watches/../keys.json", ("s3://my_conn@bucket/watches",))  # False

    ``file:///folder`` and ``/folder`` are the same root.
    """
    file, tops = _without_file(uri), [f"{_without_file(root)}/" for root in roots]
    return any(
        file.startswith(top) and all(map(_is_plain, file.removeprefix(top).split("/"))) for top in tops
    )


def is_bare(name: object) -> bool:
    """True if a name is one plain file name: no slash, no ``..``, no control character, no ``?``, no ``#`` at
    its end.
    """
    return isinstance(name, str) and _is_plain(name)


def _is_plain(segment: str) -> bool:
    """One segment of a path that means nothing beyond its letters. ``::`` would chain file systems in
    fsspec.
    """
    return (
        _PLAIN.fullmatch(segment) is not None
        and segment not in (".", "..")
        and "::" not in segment
        and _is_text(segment)
    )


def _is_text(segment: str) -> bool:
    """True if it can stand in an address: half of a surrogate pair cannot."""
    try:
        segment.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_file(uri: str) -> str:
    return uri.removeprefix("file://") if uri.startswith("file:///") else uri
