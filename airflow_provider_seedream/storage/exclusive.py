"""Whether a store creates a file only if it does not exist yet: the ledger pays once because of that alone.

Some stores take the condition and ignore it, so that of sixteen racing creates sixteen win. The probe asks the store itself.
"""

import errno
import uuid
from typing import Any, Protocol

PROBES = "_seedream/probes"


class NotExclusiveError(OSError):
    """Two tries could both create the same file here, and both would pay. The text says why, and where they could not."""


class _Folder(Protocol):
    base: str

    def create(self, name: str, data: bytes) -> bool: ...
    def delete(self, name: str) -> None: ...


def probe(folder: _Folder, fs: Any) -> str:
    """Create a file and create it again with other bytes: 2 PUTs, 1 GET. Returns its name; the caller deletes it (1 DELETE).

    :param fs: None for a disk: what is asked is a link, not the library.
    :raises NotExclusiveError: both were accepted, or the file system only checks before it writes.
    :raises Exception: of the store's own class, if it does not answer clearly.
    """
    if fs and _checks_then_writes(fs):
        raise not_exclusive(folder.base, f"its library ({type(fs).__name__}) checks whether a file exists and then writes it")
    name = f"{PROBES}/{uuid.uuid4().hex}"
    folder.create(name, b"first\n")
    try:
        if folder.create(name, b"second\n"):
            raise not_exclusive(folder.base, "it accepted a second create of the same file")
    except NotExclusiveError:
        folder.delete(name)
        raise
    return name


def not_exclusive(base: str, why: str) -> NotExclusiveError:
    return NotExclusiveError(
        f"{base} cannot keep the ledger: {why}, so two workers could both pay for one request. "
        "Known to hold: Amazon S3, Google Cloud Storage, Azure Blob Storage, Ceph, SeaweedFS, OpenStack Swift, local disks, NFS. "
        "Test another destination with: airflow seedream check DESTINATION"
    )


def is_unsupported(error: BaseException | None) -> bool:
    """Whether a store, or its library, says that it has no conditional writes: 501, in each library's words."""
    while error is not None:
        response = getattr(error, "response", None)
        answered = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        if 501 in (answered, getattr(error, "status_code", None), getattr(error, "code", None)):
            return True
        if isinstance(error, NotImplementedError) or getattr(error, "errno", None) == errno.ENOSYS:
            return True
        if isinstance(error, TypeError) and "'mode'" in str(error):  # a library older than the keyword
            return True
        error = error.__cause__
    return False


def _checks_then_writes(fs: Any) -> bool:
    """fsspec's base class does, for every file system without a way of its own: SMB, WebHDFS, FTP and others."""
    from fsspec import AbstractFileSystem

    return getattr(fs.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file
