"""Conditional replace on object stores: a PUT that fails if the object has changed since it was read or
written.

S3 calls the condition If-Match, Azure a match condition; both compare the object's version, its ETag. Never
imports Airflow.
"""

import hashlib
from typing import Any

from airflow_provider_seedream.storage.exclusive import answered
from airflow_provider_seedream.storage.recent import Recent

Condition = dict[str, Any]
MAX_VERSIONS = 2_000  # twice as many requests as a batch may have in flight; about 300 bytes each
_WRONG = '"00000000000000000000000000000000"'  # no store gives this version to an object


def unchanged(fs: Any, path: str) -> Condition:
    """The arguments that make a PUT fail if the object changes from now on. Asks the store for its version.

    :param fs: an fsspec file system.
    :returns: keywords for ``pipe_file``; empty if the store has no such condition, or the object does not
        exist.
    """
    if not has_conditions(fs):
        return {}
    fs.invalidate_cache()
    try:
        found = fs.info(path)
    except FileNotFoundError:
        return {}
    return _condition(fs, found.get("ETag") or found.get("etag"))


def told(fs: Any, answer: Any) -> Condition:
    """The arguments that make a PUT fail once the object differs from what the answered PUT wrote.

    :param answer: of the store's library to that PUT; empty if it lacks the version.
    """
    if not has_conditions(fs) or not isinstance(answer, dict):
        return {}
    return _condition(fs, answer.get("ETag") or answer.get("etag"))


def has_conditions(fs: Any) -> bool:
    """True for the libraries that pass a condition on: those of S3 and of Azure."""
    return bool(_protocols(fs) & {"s3", "abfs"})


def refuses_a_wrong_version(fs: Any, path: str) -> bool:
    """True if the store refuses to replace an object whose version is another than the PUT names: 1 PUT.

    Some S3 look-alikes take the condition and ignore it, so the version alone must not decide there. An error of the moment proves
    nothing: only 412 (Precondition Failed) is a refusal.
    """
    if not has_conditions(fs):
        return False
    try:
        fs.pipe_file(path, b"third\n", **_condition(fs, _WRONG))
    except Exception as error:
        return answered(error, 412)
    return False


class Versions:
    """The versions (ETags) of files that this process wrote itself, for the next PUT of the same file.

    ::

        versions.keep("_seedream/ledger/3f...9a.json", data, told(fs, fs.pipe_file(path, data, mode="create")))
        versions.of("_seedream/ledger/3f...9a.json", data)  # {"IfMatch": '"5d41..."'}: no read is needed to replace it

    A file of another process is not here, so it is read before it is replaced.
    """

    def __init__(self) -> None:
        self._kept: Recent[tuple[bytes, Condition]] = Recent(MAX_VERSIONS)

    def keep(self, name: str, data: bytes, condition: Condition) -> None:
        """Remember the version of a file that was just written. An empty condition makes the file forgotten.

        :param data: its content; only a hash of it is kept.
        """
        if condition:
            self._kept.keep(name, (hashlib.sha256(data).digest(), condition))
        else:
            self._kept.drop(name)

    def of(self, name: str, data: bytes) -> Condition:
        """The condition "still what this process wrote"; empty if it did not write this content."""
        digest, condition = self._kept.get(name) or (b"", {})
        return condition if digest == hashlib.sha256(data).digest() else {}


def _condition(fs: Any, version: str | None) -> Condition:
    """The version as keywords of the store's library."""
    if not version:
        return {}
    if "s3" in _protocols(fs):
        return {"IfMatch": version}
    from azure.core import MatchConditions

    return {"etag": version, "match_condition": MatchConditions.IfNotModified}


def _protocols(fs: Any) -> set[str]:
    """The protocols of a file system, which has one or several."""
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
