"""Tests whether a store creates a file only if it does not exist yet. Paying once depends on this property.

Some stores accept the condition and ignore it: of sixteen racing creates, sixteen win. So the probe writes
and sees what happens.
"""

import errno
import uuid
from typing import Any, Protocol

PROBES = "_seedream/probes"
MAX_CREATES = 3  # of a store whose error is not FileExistsError: as many refusals in a row


class NotExclusiveError(OSError):
    """The storage cannot create files exclusively, so two tries could create the same record and both would
    pay.

    ::

        s3://bucket/folder cannot keep the ledger: it accepted a second create of the same file, so two
        workers could both pay ...
    """


class _Folder(Protocol):
    """The parts of a `Folder` that the probe needs, so that this module does not import the package."""

    base: str

    def create(self, name: str, data: bytes) -> bool: ...
    def try_create(self, name: str, data: bytes) -> Exception | None: ...
    def read(self, name: str) -> bytes | None: ...
    def delete(self, name: str) -> None: ...


def probe(folder: _Folder, fs: Any) -> str:
    """Create a file and create it again with other bytes: 2 PUTs, 1 GET. Returns its name; the caller deletes
    it (1 DELETE).

    :param fs: the file system; None for a disk, where links decide and not a library.
    :raises NotExclusiveError: both creates were accepted, or the library checks first and then writes, so two
        may win.
    :raises Exception: of the store's own class, if it does not answer clearly.
    """
    if fs and _checks_then_writes(fs):
        raise not_exclusive(
            folder.base, f"its library ({type(fs).__name__}) checks whether a file exists and then writes it"
        )
    name = f"{PROBES}/{uuid.uuid4().hex}"
    folder.create(name, b"first\n")
    if not _refuses(folder, name):
        folder.delete(name)
        raise not_exclusive(folder.base, "it accepted a second create of the same file")
    return name


def _refuses(folder: _Folder, name: str) -> bool:
    """True if the store refuses a create because the file exists. An error of the moment is no refusal, so it
    is asked again.
    """
    for _ in range(MAX_CREATES):
        error = folder.try_create(name, b"second\n")
        if error is None:
            return False
        if isinstance(error, FileExistsError):
            break
    return folder.read(name) == b"first\n"


def not_exclusive(base: str, why: str) -> NotExclusiveError:
    """The error of a storage that cannot keep the ledger.

    :param base: URI of the folder.
    :param why: a clause that follows the colon.
    """
    return NotExclusiveError(
        f"{base} cannot keep the ledger: {why}, so two workers could both pay for one request. Known to "
        "hold: Amazon S3, Google Cloud Storage, Azure Blob Storage, Ceph, SeaweedFS, OpenStack Swift, local "
        "disks, NFS. Test another destination with: python -m airflow_provider_seedream check DESTINATION"
    )


def is_unsupported(error: BaseException | None) -> bool:
    """True if a store or its library says that it has no conditional writes: a 501, in the form of each
    library.
    """
    if answered(error, 501):
        return True
    while error is not None:
        if isinstance(error, NotImplementedError) or getattr(error, "errno", None) == errno.ENOSYS:
            return True
        if isinstance(error, TypeError) and "'mode'" in str(error):  # a library older than the keyword
            return True
        error = error.__cause__
    return False


def answered(error: BaseException | None, status: int) -> bool:
    """True if an error of a store's library, or one that caused it, stands for an answer with this HTTP
    status.
    """
    while error is not None:
        response = getattr(error, "response", None)  # botocore
        said = (
            response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        )
        if status in (said, getattr(error, "status_code", None), getattr(error, "code", None)):
            # Azure; gcsfs
            return True
        error = error.__cause__
    return False


def _checks_then_writes(fs: Any) -> bool:
    """True for SMB, WebHDFS, FTP and others that inherit fsspec's own ``pipe_file``: it checks first and
    then writes.
    """
    from fsspec import AbstractFileSystem

    return getattr(fs.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file
