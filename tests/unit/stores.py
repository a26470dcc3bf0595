"""An object store in memory whose conditional PUT is atomic, as S3's is, and which fails when told to."""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from airflow.sdk.io.store import attach
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

_numbers = count(1)
Act = Callable[[], Any]
Trouble = Callable[[Act], Any]


class ObjectStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """Objects of its own. The next calls of an operation meet the troubles that were put before them."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Any] = {}
        self.pseudo_dirs: list[str] = [""]
        self.calls: list[str] = []
        self._lock = threading.RLock()
        self._troubles: dict[str, list[Trouble]] = {"pipe": [], "cat": [], "rm": [], "ls": []}

    def trouble(self, operation: str, *troubles: Trouble) -> None:
        self._troubles[operation].extend(troubles)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> Any:
        return self._do("pipe", lambda: super(ObjectStore, self).pipe_file(path, value, mode=mode, **options))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> Any:
        return self._do(
            "cat", lambda: super(ObjectStore, self).cat_file(path, start=start, end=end, **options)
        )

    def rm_file(self, path: str) -> Any:
        return self._do("rm", lambda: super(ObjectStore, self)._rm(path))

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        return self._do("ls", lambda: super(ObjectStore, self).ls(path, detail=detail, **options))

    def _do(self, operation: str, act: Act) -> Any:
        with self._lock:
            self.calls.append(operation)
            troubles = self._troubles[operation]
            return troubles.pop(0)(act) if troubles else act()


class Deaf(ObjectStore):
    """Takes the condition and ignores it, as S3 look-alikes and sshfs do."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> Any:
        return super().pipe_file(path, value, **options)


class Walked(ObjectStore):
    """Lists folder by folder, as disks, SFTP and SMB do: it has no listing of everything below one."""

    find = AbstractFileSystem.find


class NoBucket(ObjectStore):
    """What S3's file system raises where the bucket does not exist."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> Any:
        raise FileNotFoundError("The specified bucket does not exist")


class StoreError(Exception):
    """What some stores raise: no OSError, of a class nobody outside knows."""


def refused(act: Act) -> Any:
    """403, 500: nothing was done."""
    raise StoreError("403 Forbidden")


def forbidden(act: Act) -> Any:
    """403, as s3fs and disks raise it."""
    raise PermissionError("Forbidden")


def done(act: Act) -> Any:
    """No trouble: it is done."""
    return act()


def answer_lost(act: Act) -> Any:
    """It was done, and nobody heard of it."""
    act()
    raise StoreError("connection reset")


def repeated(act: Act) -> Any:
    """The store's client did not hear the first answer, sent the PUT again and met its own object."""
    act()
    return act()


def attached_store(store: ObjectStore | None = None) -> tuple[str, ObjectStore]:
    """A store, fresh by default, and the URI of a folder in it that goes through Airflow's connections as
    s3://conn@bucket does.
    """
    store, conn_id = store or ObjectStore(), f"unit{next(_numbers)}"
    attach(protocol="memory", conn_id=conn_id, fs=store)
    return f"memory://{conn_id}@bucket/watches", store


def precondition_failed() -> OSError:
    """As s3fs raises it: an error of its own, caused by botocore's."""
    error, cause = (
        OSError(22, "At least one of the pre-conditions you specified did not hold"),
        Exception("PreconditionFailed"),
    )
    cause.response = {"ResponseMetadata": {"HTTPStatusCode": 412}}  # type: ignore[attr-defined]
    error.__cause__ = cause
    return error


class Versioned(ObjectStore):
    """As Amazon S3: each object has an ETag, a PUT tells it, and one with ``IfMatch`` fails once the object
    has another.

    ``requests`` lists what went over the wire, as method and path.
    """

    protocol = ("s3",)
    honours_if_match = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, str]] = []
        self._is_writing = False

    def pipe_file(
        self, path: str, value: bytes, mode: str = "overwrite", IfMatch: str | None = None, **options: Any
    ) -> Any:
        with self._lock:
            self.requests.append(("PUT", path))
            if IfMatch and self.honours_if_match and IfMatch != self._etag(path):
                raise precondition_failed()
            self._is_writing = True  # the memory's own look for the file is no request
            try:
                super().pipe_file(path, value, mode=mode, **options)
            finally:
                self._is_writing = False
            return {"ETag": self._etag(path)}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> Any:
        self.requests.append(("GET", path))
        return super().cat_file(path, start=start, end=end, **options)

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        with self._lock:
            if not self._is_writing:
                self.requests.append(("HEAD", path))
            return {**super().info(path), "ETag": self._etag(path)}

    def rm_file(self, path: str) -> Any:
        self.requests.append(("DELETE", path))
        return super().rm_file(path)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self.requests.append(("LIST", path))
        return super().ls(path, detail=detail, **options)

    def _etag(self, path: str) -> str:
        found = self.store.get(self._strip_protocol(path))
        return f'"{sha256(found.getvalue()).hexdigest()[:32]}"' if found else ""


class VersionedOnDisk(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """As :class:`Versioned`, with its objects as files below a folder: they outlive the process that wrote
    them.

    A write is one act, as a PUT is: a link or a rename, which Python's audit events tell.
    """

    protocol = ("s3",)
    cachable = False

    def __init__(self, root: Path, prefix: str) -> None:
        super().__init__()
        self._root = root
        self._prefix = prefix

    def pipe_file(
        self, path: str, value: bytes, mode: str = "overwrite", IfMatch: str | None = None, **options: Any
    ) -> Any:
        file = self._file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = self._root.parent / f"{uuid.uuid4().hex}.aside"
        aside.write_bytes(value)
        with open(self._root.parent / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                if IfMatch and IfMatch != _etag(file.read_bytes() if file.exists() else b""):
                    raise precondition_failed()
                if mode == "create":
                    os.link(aside, file)
                else:
                    os.rename(aside, file)
            finally:
                aside.unlink(missing_ok=True)
        return {"ETag": _etag(value)}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> Any:
        return self._file(path).read_bytes()[start:end]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        file = self._file(path)
        about = file.stat()
        return {
            "name": path,
            "size": about.st_size,
            "type": "file",
            "mtime": about.st_mtime,
            "ETag": _etag(file.read_bytes()),
        }

    def ls(self, path: str, detail: bool = False, **options: Any) -> list[str]:
        return [f"{path}/{entry.name}" for entry in self._file(path).iterdir()]

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def rm_file(self, path: str) -> None:
        self._file(path).unlink()

    def _file(self, path: str) -> Path:
        return self._root / str(path).strip("/").removeprefix(self._prefix).strip("/")


def _etag(data: bytes) -> str:
    return f'"{sha256(data).hexdigest()[:32]}"'


def store_on_disk(root: Path) -> str:
    """The URI of a folder in an object store whose objects lie below ``root``."""
    conn_id = f"unit{next(_numbers)}"
    attach(protocol="memory", conn_id=conn_id, fs=VersionedOnDisk(root, "bucket/watches"))
    return f"memory://{conn_id}@bucket/watches"
