"""Files on a disk or a mount: each gets its final name only when it is whole, and survives a power cut.

Syncing a file is not enough: its name belongs to the folder, so a power cut may lose it. Therefore folders
are synced as well.
"""

import ctypes
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from airflow_provider_seedream.storage.exclusive import NotExclusiveError

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h
# EIO: Debian's rclone mount 1.60 for a link, as the library under it has no other answer for "not
# implemented".
_NO_LINKS = (errno.EPERM, errno.EIO, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
_NO_RENAME = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
# file systems without it; folders one may not read
_NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM)
_LOCK_SECONDS = 5.0  # a lock is held for one write, so a process that holds it longer was stopped
_synced: set[str] = set()  # folders whose own names this process has synced


@contextmanager
def publishing(path: str, publish: Callable[[str, str], None]) -> Iterator[BinaryIO]:
    """Context manager: a temporary file in the same folder. After the block it is synced and gets its final
    name in one step.

    :param path: the final name; folders above it are made.
    :param publish: :func:`publish_new` or ``os.replace``.
    """
    folder = os.path.dirname(path)
    _make_folders(folder)
    aside = f"{folder}/.{uuid.uuid4().hex}.tmp"
    try:
        with open(aside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with _syncing(folder):
            publish(aside, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(aside)


def publish_new(aside: str, path: str) -> None:
    """Give a finished file its final name, unless another file has the name.

    :raises FileExistsError: another file has the name.
    :raises NotExclusiveError: the file system can neither link nor rename exclusively, e.g. a mounted object
        store. ``O_EXCL`` does not help there: each machine that mounts the bucket checks only its own cache,
        so several writers would win.
    """
    try:
        os.link(aside, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_new(aside, path)


@contextmanager
def locked(path: str, *, is_needed: bool = False) -> Iterator[None]:
    """Hold the lock of a file, so that only one process at a time replaces it. Without the file, or without
    locks, continue.

    :param is_needed: do not continue without it.
    :raises TimeoutError: a process that was stopped holds the lock.
    :raises OSError: the lock is needed, and the mount has none or the file does not exist.
    """
    file = _lock(path)
    if file is None and is_needed:
        raise OSError(errno.ENOLCK, f"{path} cannot be locked: it does not exist, or its mount has no locks")
    try:
        yield
    finally:
        if file:
            file.close()


def _lock(path: str) -> BinaryIO | None:
    """The open and locked file; None if it does not exist, or if the mount has no locks.

    Another process may replace the file while this one waits for its lock. Then the lock is of a file without
    a name, so it is taken again.

    :raises TimeoutError: after 5 s.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            file = open(path, "r+b")  # noqa: SIM115 - the caller closes it
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:  # a mount without locks; or the file went away
            file.close()
            return None
        file.close()  # another process replaced it before we had the lock
    raise TimeoutError(f"{path} is locked by a process that does not go on")


def _rename_new(aside: str, path: str) -> None:
    """Rename, unless another file has the name. For file systems without hard links, e.g. SMB shares.

    :raises FileExistsError: another file has the name.
    :raises NotExclusiveError: the mount cannot do this in one step.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux 3.15, glibc 2.28
    if rename is None or not rename(
        _AT_FDCWD, os.fsencode(aside), _AT_FDCWD, os.fsencode(path), _RENAME_NOREPLACE
    ):
        number = errno.ENOSYS if rename is None else 0
    else:
        number = ctypes.get_errno()
    if number in _NO_RENAME:
        raise NotExclusiveError(
            f"{os.path.dirname(path)} is a mount without hard links and without exclusive rename, as mounted "
            "object stores are: two workers could both create the same record, and both would pay. Name the "
            "store itself, e.g. s3://my_conn@bucket/folder"
        )
    if number:
        raise OSError(number, os.strerror(number), path)


def _make_folders(folder: str) -> None:
    """Make a folder, and sync its name and the names of all folders above it, once per process.

    The folders above are synced too, as another process may have made one of them without having synced it
    yet.
    """
    missing = folder
    while not os.path.isdir(missing):
        _synced.discard(missing)
        missing = os.path.dirname(missing)
    if missing != folder:
        os.makedirs(folder, exist_ok=True)
    while folder not in _synced and not os.path.ismount(folder):
        with _syncing(os.path.dirname(folder)):
            pass
        _synced.add(folder)
        folder = os.path.dirname(folder)


@contextmanager
def _syncing(folder: str) -> Iterator[None]:
    """Sync a folder after the block. It is opened before the block, so that a failing ``open`` fails
    before the change.
    """
    descriptor = None
    with _unless_impossible():
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
        if descriptor is not None:
            with _unless_impossible():
                os.fsync(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def _unless_impossible() -> Iterator[None]:
    """Context manager: go on where the file system cannot sync folders, or where the user may not open
    one.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
