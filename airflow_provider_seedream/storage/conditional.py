"""Conditional replace on object stores: a PUT that fails if the object has changed since it was read or
written.

S3 calls the condition If-Match, Azure a match condition; both compare the object's version, its ETag. Never
imports Airflow.
"""

import hashlib
from typing import Any, Literal

from airflow_provider_seedream.storage.exclusive import answered
from airflow_provider_seedream.storage.recent import Recent

MAX_VERSIONS = 2_000  # twice as many requests as a batch may have in flight; about 300 bytes each
# How a store wants to see a version in If-Match. HTTP quotes it (RFC 9110, 8.8.3). Ceph's gateway compares it
# letter by letter with what it stores, which has no quotes: seen with 16.2, where a quoted version is
# answered with 412 even if it is the right one.
Form = Literal["quoted", "bare"]
FORMS: tuple[Form, ...] = ("quoted", "bare")
_WRONG = '"00000000000000000000000000000000"'  # no store gives this version to an object


def version_of(fs: Any, path: str) -> str | None:
    """The version (ETag) of an object now; None if the object or the condition does not exist in this
    store.
    """
    if not has_conditions(fs):
        return None
    fs.invalidate_cache()
    try:
        return _version(fs.info(path))
    except FileNotFoundError:
        return None


def told(fs: Any, answer: Any) -> str | None:
    """The version that the answer to a PUT names; None if the store has no conditions, or the answer lacks
    it.
    """
    return _version(answer) if has_conditions(fs) and isinstance(answer, dict) else None


def condition(fs: Any, version: str, form: Form) -> dict[str, Any]:
    """The arguments that make a PUT fail unless the object still has this version."""
    if "s3" in _protocols(fs):
        return {"IfMatch": version if form == "quoted" else version.strip('"')}
    from azure.core import MatchConditions

    return {"etag": version, "match_condition": MatchConditions.IfNotModified}


def has_conditions(fs: Any) -> bool:
    """True for the libraries that pass a condition on: those of S3 and of Azure."""
    return bool(_protocols(fs) & {"s3", "abfs"})


def form_that_holds(fs: Any, path: str) -> Form | None:
    """The form in which the store accepts the right version of this object and refuses a wrong one; None if
    there is none.

    Asks the store: 2 PUTs and a HEAD, one PUT more for the second form. Some S3 look-alikes take the
    condition and ignore it, so the version alone must not decide there. An error of the moment proves
    nothing: only 412 (Precondition Failed) is a refusal.
    """
    if not has_conditions(fs) or not _is_refused(fs, path, condition(fs, _WRONG, "quoted")):
        return None
    version = version_of(fs, path)
    if version is None:
        return None
    return next((form for form in FORMS if _is_accepted(fs, path, condition(fs, version, form))), None)


def _is_refused(fs: Any, path: str, given: dict[str, Any]) -> bool:
    try:
        fs.pipe_file(path, b"third\n", **given)
    except Exception as error:
        return answered(error, 412)
    return False


def _is_accepted(fs: Any, path: str, given: dict[str, Any]) -> bool:
    try:
        fs.pipe_file(path, b"fourth\n", **given)
    except Exception:  # stores raise many classes: then this process reads before it replaces
        return False
    return True


class Versions:
    """The versions (ETags) of files that this process wrote itself, for the next PUT of the same file.

    ::

        versions.keep(
            "_seedream/ledger/3f...9a.json", data, told(fs, fs.pipe_file(path, data, mode="create"))
        )
        versions.of("_seedream/ledger/3f...9a.json", data)  # '"5d41..."': no read is needed to replace it

    A file of another process is not here, so it is read before it is replaced.
    """

    def __init__(self) -> None:
        self._kept: Recent[tuple[bytes, str]] = Recent(MAX_VERSIONS)

    def keep(self, name: str, data: bytes, version: str | None) -> None:
        """Remember the version of a file that was just written. Without a version the file is forgotten.

        :param data: its content; only a hash of it is kept.
        """
        if version:
            self._kept.keep(name, (hashlib.sha256(data).digest(), version))
        else:
            self._kept.drop(name)

    def of(self, name: str, data: bytes) -> str | None:
        """The version that this content got when this process wrote it; None if another content or process
        was last.
        """
        digest, version = self._kept.get(name) or (b"", "")
        return version if digest == hashlib.sha256(data).digest() else None


def _version(facts: dict[str, Any]) -> str | None:
    return facts.get("ETag") or facts.get("etag")


def _protocols(fs: Any) -> set[str]:
    """The protocols of a file system, which has one or several."""
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
