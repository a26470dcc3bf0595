"""Conditional replace on object stores: a PUT that fails once the object is no longer the one that was looked at."""

from typing import Any


def unchanged(fs: Any, path: str) -> dict[str, Any]:
    """What makes a PUT through this file system conditional on the object of this moment; empty where it knows no such thing."""
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
