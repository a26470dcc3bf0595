"""Conditional replace on object stores: a PUT that fails if the object has changed since it was read."""

from typing import Any


def unchanged(fs: Any, path: str) -> dict[str, Any]:
    """The arguments that make a PUT fail if the object changes from now on; empty if the store has no such condition."""
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if not protocols & {"s3", "abfs"}:
        return {}
    fs.invalidate_cache()
    try:
        found = fs.info(path)
    except FileNotFoundError:
        return {}
    if "s3" in protocols:
        return {"IfMatch": found["ETag"]} if found.get("ETag") else {}
    from azure.core import MatchConditions

    return {"etag": found["etag"], "match_condition": MatchConditions.IfNotModified} if found.get("etag") else {}
